"""Hand spans and metrics to OpenTelemetry's API, where it is installed; what it does with them is its configuration."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from sacnb._auth.policy import RefreshEvent
from sacnb._wire.telemetry import Event, FailureEvent, RequestEvent, RetryEvent

_SCOPE: Final = "sacnb"


class OpenTelemetry:
    """Turns events into metrics and spans with a ``tracer`` and a ``meter`` of OpenTelemetry's API.

    Any: the package is not among our dependencies, so its types are not at hand.
    """

    def __init__(self, tracer: Any, meter: Any, *, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._tracer = tracer
        self._time_ns = time_ns
        self._requests = meter.create_counter("sacnb.requests", unit="1", description="requests sent")
        self._duration = meter.create_histogram("sacnb.request.duration", unit="s", description="time per request")
        self._bytes = meter.create_counter("sacnb.bytes", unit="By", description="bytes received")
        self._retries = meter.create_counter("sacnb.retries", unit="1", description="requests sent again, by cause")
        self._waited = meter.create_counter("sacnb.waited", unit="s", description="time waited for retries")
        self._refreshes = meter.create_counter("sacnb.token.refreshes", unit="1", description="token renewals")
        self._coalesced = meter.create_counter("sacnb.token.coalesced", unit="1", description="waits that were shared")
        self._failures = meter.create_counter("sacnb.failures", unit="1", description="requests failed for good")
        self._rows = meter.create_counter("sacnb.rows", unit="1", description="rows received")

    def span(self, name: str) -> AbstractContextManager[object]:
        """A span around a user-level operation, as the current one."""
        span: AbstractContextManager[object] = self._tracer.start_as_current_span(f"sacnb.{name}")
        return span

    def __call__(self, event: Event) -> None:
        """Count an event; a request becomes a span of its own as well, within the operation's."""
        if isinstance(event, RequestEvent):
            self._take_request(event)
        elif isinstance(event, RetryEvent):
            self._retries.add(1, {"cause": event.cause, "operation": event.operation})
            self._waited.add(event.delay_s, {"cause": event.cause})
        elif isinstance(event, FailureEvent):
            self._failures.add(1, {"error.type": event.error_kind, "operation": event.operation})
        elif isinstance(event, RefreshEvent):
            self._refreshes.add(1, {"reason": event.reason, "outcome": event.outcome})
            self._coalesced.add(event.coalesced, {"reason": event.reason})
        else:
            self._rows.add(event.rows)

    def _take_request(self, event: RequestEvent) -> None:
        # The names of OpenTelemetry's semantic conventions for HTTP clients; the address is redacted already.
        result = (
            {"http.response.status_code": event.status}
            if event.status is not None
            else {"error.type": event.error_kind or "unknown"}
        )
        common = {"http.request.method": event.method, "operation": event.operation, **result}
        self._requests.add(1, common)
        self._bytes.add(event.bytes_received, {"operation": event.operation})
        self._duration.record(event.elapsed_s, common)
        # It is over when we hear of it, so the span is written with times of its own.
        ended_ns = self._time_ns()
        span = self._tracer.start_span(
            event.method,
            start_time=ended_ns - int(event.elapsed_s * 1e9),
            attributes={**common, "url.full": event.url, "sap.request_id": event.request_id or ""},
        )
        span.end(end_time=ended_ns)


def discover() -> OpenTelemetry | None:
    """An exporter to OpenTelemetry, if its API is installed."""
    try:
        trace = importlib.import_module("opentelemetry.trace")
        metrics = importlib.import_module("opentelemetry.metrics")
    except ImportError:
        return None
    return OpenTelemetry(trace.get_tracer(_SCOPE), metrics.get_meter(_SCOPE))
