"""The objects users hold: a tenant, its models, and queries of their facts."""

from __future__ import annotations

from sacnb._tenant.connection import Connection, ModelEntry, TokenStatus, list_models
from sacnb._tenant.connector import connect
from sacnb._tenant.doctor import Check, Diagnosis, diagnose
from sacnb._tenant.facts import Facts
from sacnb._tenant.model import Model
from sacnb._tenant.tenant import Tenant

__all__ = [
    "Check",
    "Connection",
    "Diagnosis",
    "Facts",
    "Model",
    "ModelEntry",
    "Tenant",
    "TokenStatus",
    "connect",
    "diagnose",
    "list_models",
]
