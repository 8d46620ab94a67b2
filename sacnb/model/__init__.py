"""One model: what it holds, its members, and questions about its facts."""

from __future__ import annotations

from sacnb.model.connection import Connection, ModelEntry, list_models
from sacnb.model.facts import Facts
from sacnb.model.model import Model

__all__ = ["Connection", "Facts", "Model", "ModelEntry", "list_models"]
