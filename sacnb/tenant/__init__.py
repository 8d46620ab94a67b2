"""One tenant, connected: its models, its token, its telemetry."""

from __future__ import annotations

from sacnb.tenant.connector import connect
from sacnb.tenant.doctor import Check, Diagnosis, diagnose
from sacnb.tenant.tenant import Tenant, TokenStatus

__all__ = ["Check", "Diagnosis", "Tenant", "TokenStatus", "connect", "diagnose"]
