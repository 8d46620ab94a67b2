"""Send a request and get a good answer or one of our errors: ``session`` is the door, ``exchange`` the order."""

from __future__ import annotations

from sacnb._wire.context import DispatchContext, build_context
from sacnb._wire.message import Answer
from sacnb._wire.retry import RetryPlan
from sacnb._wire.session import SacSession
from sacnb._wire.telemetry import Telemetry, TelemetrySummary

__all__ = ["Answer", "DispatchContext", "RetryPlan", "SacSession", "Telemetry", "TelemetrySummary", "build_context"]
