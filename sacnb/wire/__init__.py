"""Send a request and get a good answer or one of our errors: ``session``, ``retry``, ``redact``, ``telemetry``."""

from __future__ import annotations

from sacnb.wire.answer import Answer
from sacnb.wire.context import DispatchContext, build_context
from sacnb.wire.retry import RetryPlan
from sacnb.wire.session import SacSession
from sacnb.wire.telemetry import Telemetry, TelemetrySummary

__all__ = ["Answer", "DispatchContext", "RetryPlan", "SacSession", "Telemetry", "TelemetrySummary", "build_context"]
