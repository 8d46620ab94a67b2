"""Count requests, retries and failures, call hooks with them, and stamp the log. Nothing leaves the machine.

Where OpenTelemetry's API is installed it gets spans and metrics; its own configuration decides where they go.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from sacnb._auth.guard import RefreshEvent
from sacnb._fork import renew_after_fork
from sacnb._redact import RedactingFilter
from sacnb._rendering import Preview, Previewed, fact_table

_trace_id: Final[ContextVar[str | None]] = ContextVar("sacnb_trace_id", default=None)


def current_trace_id() -> str | None:
    """Return the id of the user-level operation this thread works for; ``None`` outside of one.

    A new thread inherits it through ``contextvars.copy_context().run``.
    """
    return _trace_id.get()


class _Stamp(RedactingFilter):
    """Add ``trace_id`` and ``request_id`` (SAC's, where one is known) to every record, and redact it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id = getattr(record, "trace_id", None) or _trace_id.get()
        record.request_id = getattr(record, "request_id", None)
        return super().filter(record)


_stamp: Final = _Stamp()


def room_logger(room: str) -> logging.Logger:
    """Return the logger ``sacnb.<room>``, whose records carry ``trace_id`` and ``request_id`` and hold no secret."""
    logger = logging.getLogger(f"sacnb.{room}")
    logger.addFilter(_stamp)  # does nothing the second time
    return logger


log = room_logger("wire")
# The rooms below this one cannot ask for it, and those above need not.
for _room in ("auth", "cache", "frames", "lab", "notebook", "planning", "pull", "replay", "tenant", "track", "write"):
    room_logger(_room)
logging.getLogger("sacnb").addFilter(_stamp)


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A request was sent, and answered (``status``) or not (``error_kind``); ``url`` is redacted."""

    operation: str
    method: str
    url: str
    status: int | None
    error_kind: str | None
    elapsed_s: float
    bytes_received: int
    request_id: str | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class RetryEvent:
    """A request will be sent again after ``delay_s`` seconds; ``cause`` is a status (``"429"``) or an error kind.

    ``attempt`` is the number of the failed attempt, from 1; ``max_attempts`` the number allowed.
    """

    operation: str
    cause: str
    delay_s: float
    attempt: int
    max_attempts: int
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class FailureEvent:
    """A request failed after all retries, with the error class ``error_kind``."""

    operation: str
    error_kind: str
    status: int | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class RowsEvent:
    """``rows`` rows were received and decoded."""

    rows: int
    trace_id: str | None


Event = RequestEvent | RetryEvent | FailureEvent | RowsEvent | RefreshEvent
Hook = Callable[[Event], None]


class Exporter(Protocol):
    """Receiver of spans and metrics, such as OpenTelemetry."""

    def span(self, name: str) -> AbstractContextManager[object]:
        """Return a span around a user-level operation, as the current one."""
        ...

    def __call__(self, event: Event) -> None:
        """Handle an event."""
        ...


@dataclass(frozen=True, slots=True)
class TelemetrySummary(Previewed):
    """Counters of one connection. ``bytes`` are as received, compressed; ``seconds_waited`` are waits for retries.

    ``coalesced`` counts callers that waited for a token renewal which another one ran.
    """

    requests: int
    retries: Mapping[str, int]
    refreshes: Mapping[str, int]
    refresh_failures: int
    coalesced: int
    escalations: int
    failures: int
    rows: int
    bytes: int
    seconds_waited: float

    def __str__(self) -> str:
        return "\n".join(f"{name:<16}{value}" for name, value in self._facts().items())

    __repr__ = __str__

    def _preview(self) -> Preview:
        return fact_table("What this connection did", self._facts())

    def _facts(self) -> dict[str, str]:
        def listed(counts: Mapping[str, int]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"

        return {
            "requests": f"{self.requests:,} ({self.failures:,} failed after all retries)",
            "retries": f"{listed(self.retries)} ({self.seconds_waited:.1f} s waited)",
            "token renewals": f"{listed(self.refreshes)} ({self.refresh_failures:,} failed)",
            "renewals shared": f"{self.coalesced:,}",
            "escalations": f"{self.escalations:,}",
            "rows": f"{self.rows:,}",
            "bytes": f"{self.bytes:,}",
        }


class Telemetry:
    """Counters and hooks of one connection; safe for threads.

    A hook receives every event, in the thread where it happens; one that fails is reported in the log and otherwise
    ignored, since somebody's progress bar must not cost a pull. ``exporter`` gets the events too, and the operations as
    spans.
    """

    def __init__(self, *, exporter: Exporter | None = None) -> None:
        self._exporter = exporter
        self._hooks: tuple[Hook, ...] = (exporter,) if exporter is not None else ()
        self.after_fork()
        renew_after_fork(self)
        self._totals: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._refreshes: Counter[str] = Counter()
        self._seconds_waited = 0.0

    def __repr__(self) -> str:
        return f"<Telemetry: {self._totals['requests']:,} requests, {len(self._hooks)} hooks; summary() has all>"

    def after_fork(self) -> None:
        """Take a new lock: a thread of the parent may have held it."""
        # Reentrant: the garbage collector may close a dropped pull here, and that removes its hook.
        self._lock = threading.RLock()

    def add_hook(self, hook: Hook) -> Callable[[], None]:
        """Call *hook* with every event from now on; return a function that takes it off again."""
        with self._lock:
            self._hooks += (hook,)

        def remove() -> None:
            with self._lock:
                # By identity and not by equality: the same function may have been added twice.
                self._hooks = tuple(kept for kept in self._hooks if kept is not hook)

        return remove

    @contextmanager
    def operation(self, name: str) -> Iterator[str]:
        """Yield the trace id of a user-level operation, which everything within carries.

        A nested operation belongs to the outer one.
        """
        outer = _trace_id.get()
        if outer is not None:
            yield outer
            return
        trace_id = uuid.uuid4().hex
        reset = _trace_id.set(trace_id)
        try:
            with self._exporter.span(name) if self._exporter is not None else nullcontext():
                yield trace_id
        finally:
            _trace_id.reset(reset)

    def on_request(self, event: RequestEvent) -> None:
        """Count a request."""
        with self._lock:
            self._totals["requests"] += 1
            self._totals["bytes"] += event.bytes_received
        self._tell(event)

    def on_retry(self, event: RetryEvent) -> None:
        """Count a retry."""
        with self._lock:
            self._retries[event.cause] += 1
            self._seconds_waited += event.delay_s
        self._tell(event)

    def on_failure(self, event: FailureEvent) -> None:
        """Count a request that failed after all retries."""
        with self._lock:
            self._totals["failures"] += 1
        self._tell(event)

    def on_refresh(self, event: RefreshEvent) -> None:
        """Count a token renewal; the guard's listener."""
        with self._lock:
            if event.outcome == "retrying":
                self._retries["token"] += 1
                self._seconds_waited += event.delay_s
            else:
                self._totals["coalesced"] += event.coalesced
                self._totals["escalations"] += event.escalated
                if event.outcome == "success":
                    self._refreshes[event.reason] += 1
                else:
                    self._totals["refresh_failures"] += 1
        self._tell(event)

    def on_rows(self, rows: int) -> None:
        """Count rows that were received and decoded."""
        with self._lock:
            self._totals["rows"] += rows
        self._tell(RowsEvent(rows, _trace_id.get()))

    def summary(self) -> TelemetrySummary:
        """Return the counters; printing them gives a small table."""
        with self._lock:
            totals = self._totals
            return TelemetrySummary(
                requests=totals["requests"],
                retries=dict(self._retries),
                refreshes=dict(self._refreshes),
                refresh_failures=totals["refresh_failures"],
                coalesced=totals["coalesced"],
                escalations=totals["escalations"],
                failures=totals["failures"],
                rows=totals["rows"],
                bytes=totals["bytes"],
                seconds_waited=self._seconds_waited,
            )

    def _tell(self, event: Event) -> None:
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                log.exception("A telemetry hook failed.")


_SCOPE: Final = "sacnb"
# As OpenTelemetry's conventions advise for requests; the last ones, since SAC takes minutes for some pages.
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300)


class OpenTelemetry:
    """Turn events into metrics and spans of OpenTelemetry, by its conventions for HTTP clients where they fit.

    ``trace`` is the module ``opentelemetry.trace``, handed in because the package may not be installed.
    docs/telemetry.md lists all that is sent.
    """

    def __init__(self, tracer: Any, meter: Any, trace: Any, *, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._tracer = tracer
        self._trace = trace
        self._time_ns = time_ns
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS_S,
        )

        def counter(name: str, unit: str, description: str) -> Any:
            return meter.create_counter(f"sacnb.{name}", unit=unit, description=description)

        self._received = counter("received", "By", "Bytes received, compressed.")
        self._retries = counter("retries", "{request}", "Requests sent again.")
        self._waited = counter("waited", "s", "Time waited before requests were sent again.")
        self._failures = counter("failures", "{request}", "Requests that failed after all retries.")
        self._rows = counter("rows", "{row}", "Rows received and decoded.")
        self._renewals = counter("token.renewals", "{renewal}", "Token renewals, by reason and outcome.")
        self._coalesced = counter("token.coalesced", "{caller}", "Callers that waited for a renewal of another one.")

    def span(self, name: str) -> AbstractContextManager[object]:
        """Return a span around a user-level operation, as the current one."""
        span: AbstractContextManager[object] = self._tracer.start_as_current_span(f"sacnb.{name}")
        return span

    def __call__(self, event: Event) -> None:
        """Count an event; a request becomes a span of its own as well, within the operation's."""
        if isinstance(event, RequestEvent):
            self._take_request(event)
        elif isinstance(event, RetryEvent):
            about = {"sacnb.operation": event.operation, "sacnb.cause": event.cause}
            self._retries.add(1, about)
            self._waited.add(event.delay_s, about)
        elif isinstance(event, FailureEvent):
            self._failures.add(1, {"sacnb.operation": event.operation, "error.type": event.error_kind})
        elif isinstance(event, RefreshEvent):
            self._renewals.add(1, {"sacnb.reason": event.reason, "sacnb.outcome": event.outcome})
            self._coalesced.add(event.coalesced, {"sacnb.reason": event.reason})
        else:
            self._rows.add(event.rows)

    def _take_request(self, event: RequestEvent) -> None:
        origin = urlsplit(event.url)  # it is redacted already
        common: dict[str, Any] = {
            "http.request.method": event.method,
            "server.address": origin.hostname or "",
            "server.port": origin.port or (443 if origin.scheme == "https" else 80),
            "sacnb.operation": event.operation,
        }
        if event.status is not None:
            common["http.response.status_code"] = event.status
        error = event.error_kind or (str(event.status) if event.status is None or event.status >= 400 else None)
        if error is not None:
            common["error.type"] = error
        self._received.add(event.bytes_received, {"sacnb.operation": event.operation})
        self._duration.record(event.elapsed_s, common)
        # It is over when we hear of it, so the span is written with times of its own.
        ended_ns = self._time_ns()
        known = {} if event.request_id is None else {"sacnb.request_id": event.request_id}
        span = self._tracer.start_span(
            event.method,
            kind=self._trace.SpanKind.CLIENT,
            start_time=ended_ns - int(event.elapsed_s * 1e9),
            attributes={**common, **known, "url.full": event.url},
        )
        if error is not None:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end(end_time=ended_ns)


def discover() -> OpenTelemetry | None:
    """Return an exporter to OpenTelemetry, if its API is installed."""
    try:
        trace = importlib.import_module("opentelemetry.trace")
        metrics = importlib.import_module("opentelemetry.metrics")
    except ImportError:
        return None
    return OpenTelemetry(trace.get_tracer(_SCOPE), metrics.get_meter(_SCOPE), trace)
