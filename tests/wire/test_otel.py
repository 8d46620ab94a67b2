"""OpenTelemetry, played by a few lines that record what they are told."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sacnb._auth import RefreshEvent
from sacnb._wire import Telemetry
from sacnb._wire.telemetry import FailureEvent, OpenTelemetry, RequestEvent, RetryEvent


class Meter:
    def __init__(self) -> None:
        self.records: list[tuple[str, float, dict[str, Any]]] = []

    def create_counter(self, name: str, *, unit: str, description: str) -> Any:
        assert unit
        assert description
        meter = self

        class Instrument:
            def add(self, amount: float, attributes: dict[str, Any] | None = None) -> None:
                meter.records.append((name, amount, attributes or {}))

            record = add

        return Instrument()

    create_histogram = create_counter


class Tracer:
    def __init__(self) -> None:
        self.current: list[str] = []
        self.spans: list[dict[str, Any]] = []

    @contextmanager
    def start_as_current_span(self, name: str) -> Iterator[None]:
        self.current.append(name)
        yield
        self.current.pop()

    def start_span(self, name: str, *, start_time: int, attributes: dict[str, Any]) -> Any:
        span = {"name": name, "parent": list(self.current), "start": start_time, **attributes}
        self.spans.append(span)

        class Span:
            def end(self, end_time: int) -> None:
                span["end"] = end_time

        return Span()


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def tracer() -> Tracer:
    return Tracer()


@pytest.fixture
def telemetry(meter: Meter, tracer: Tracer) -> Telemetry:
    return Telemetry(exporter=OpenTelemetry(tracer, meter, time_ns=lambda: 10_000_000_000))


def request(**options: Any) -> RequestEvent:
    given = {
        "operation": "op",
        "method": "GET",
        "url": "https://t.example/x?access_token=***",
        "status": 200,
        "error_kind": None,
        "elapsed_s": 2.5,
        "bytes_received": 100,
        "request_id": "r-1",
        "trace_id": "t",
    }
    return RequestEvent(**{**given, **options})


def test_a_request_is_counted_and_becomes_a_span_of_its_operation(
    telemetry: Telemetry, meter: Meter, tracer: Tracer
) -> None:
    with telemetry.operation("pull"):
        telemetry.on_request(request())
    telemetry.on_request(request(status=None, error_kind="read_timeout", request_id=None))
    common = {"http.request.method": "GET", "operation": "op"}
    good, bad = {**common, "http.response.status_code": 200}, {**common, "error.type": "read_timeout"}
    assert meter.records == [
        ("sacnb.requests", 1, good),
        ("sacnb.bytes", 100, {"operation": "op"}),
        ("sacnb.request.duration", 2.5, good),
        ("sacnb.requests", 1, bad),
        ("sacnb.bytes", 100, {"operation": "op"}),
        ("sacnb.request.duration", 2.5, bad),
    ]
    first, second = tracer.spans
    assert first == {
        "name": "GET",
        "parent": ["sacnb.pull"],
        "start": 7_500_000_000,
        "end": 10_000_000_000,
        "url.full": "https://t.example/x?access_token=***",
        "sap.request_id": "r-1",
        **good,
    }
    assert second["parent"] == []


def test_the_other_events_are_counted(telemetry: Telemetry, meter: Meter) -> None:
    telemetry.on_retry(RetryEvent("op", "429", 2.5, 1, 4, "t"))
    telemetry.on_failure(FailureEvent("op", "ServerError", 503, "t"))
    telemetry.on_refresh(RefreshEvent("id", "expired", "success", coalesced=63))
    telemetry.on_rows(50_000)
    assert meter.records == [
        ("sacnb.retries", 1, {"cause": "429", "operation": "op"}),
        ("sacnb.waited", 2.5, {"cause": "429"}),
        ("sacnb.failures", 1, {"error.type": "ServerError", "operation": "op"}),
        ("sacnb.token.refreshes", 1, {"reason": "expired", "outcome": "success"}),
        ("sacnb.token.coalesced", 63, {"reason": "expired"}),
        ("sacnb.rows", 50_000, {}),
    ]


def test_nested_operations_are_one_span(telemetry: Telemetry, tracer: Tracer) -> None:
    with telemetry.operation("pull"), telemetry.operation("page"):
        assert tracer.current == ["sacnb.pull"]


def test_it_is_found_where_it_is_installed_and_not_missed_where_it_is_not() -> None:
    """In a process of its own, since it is about what can be imported."""
    program = textwrap.dedent(
        """
        import sys, types
        from sacnb._wire.telemetry import discover

        class Blocked:
            def find_spec(self, name, *_):
                if name.partition(".")[0] == "opentelemetry":
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Blocked())
        assert discover() is None

        class Anything:
            def __getattr__(self, name):
                return lambda *args, **options: Anything()

        asked = []
        trace, metrics = types.ModuleType("opentelemetry.trace"), types.ModuleType("opentelemetry.metrics")
        trace.get_tracer = lambda name: asked.append(name) or Anything()
        metrics.get_meter = lambda name: asked.append(name) or Anything()
        sys.modules["opentelemetry"] = types.ModuleType("opentelemetry")
        sys.modules["opentelemetry.trace"], sys.modules["opentelemetry.metrics"] = trace, metrics
        assert discover() is not None
        assert asked == ["sacnb", "sacnb"]
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
