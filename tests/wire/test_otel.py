"""What OpenTelemetry's own SDK gets, in its exporters in memory; and its conventions for HTTP clients."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes
from opentelemetry.semconv.metrics import http_metrics

from sacnb._auth import RefreshEvent
from sacnb._wire import Telemetry
from sacnb._wire.telemetry import FailureEvent, OpenTelemetry, RequestEvent, RetryEvent


class Collected:
    """Telemetry whose spans and metrics end up in memory."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meter = MeterProvider([self._reader]).get_meter("sacnb")
        exporter = OpenTelemetry(tracers.get_tracer("sacnb"), meter, trace, time_ns=lambda: 10_000_000_000)
        self.telemetry = Telemetry(exporter=exporter)

    def spans(self) -> list[Any]:
        return list(self._spans.get_finished_spans())

    def metrics(self) -> dict[str, Any]:
        found = self._reader.get_metrics_data()
        scopes = [] if found is None else [scope for one in found.resource_metrics for scope in one.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[float, Mapping[str, Any]]]:
        points = self.metrics()[name].data.data_points
        return [(getattr(one, "value", getattr(one, "sum", None)), dict(one.attributes)) for one in points]


@pytest.fixture
def collected() -> Collected:
    return Collected()


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


def tell_all(telemetry: Telemetry) -> None:
    """One event of each kind."""
    telemetry.on_request(request())
    telemetry.on_retry(RetryEvent("op", "429", 2.5, 1, 4, "t"))
    telemetry.on_failure(FailureEvent("op", "ServerError", 503, "t"))
    telemetry.on_refresh(RefreshEvent("id", "expired", "success", coalesced=63))
    telemetry.on_rows(50_000)


COMMON = {
    http_attributes.HTTP_REQUEST_METHOD: "GET",
    server_attributes.SERVER_ADDRESS: "t.example",
    server_attributes.SERVER_PORT: 443,
    "sacnb.operation": "op",
}


def test_a_request_is_a_client_span_within_that_of_its_operation(collected: Collected) -> None:
    with collected.telemetry.operation("pull"):
        collected.telemetry.on_request(request())
    sent, pull = collected.spans()
    assert (pull.name, pull.parent, pull.kind) == ("sacnb.pull", None, trace.SpanKind.INTERNAL)
    assert (sent.name, sent.kind, sent.parent.span_id) == ("GET", trace.SpanKind.CLIENT, pull.context.span_id)
    assert (sent.start_time, sent.end_time) == (7_500_000_000, 10_000_000_000)
    assert sent.status.status_code is trace.StatusCode.UNSET
    assert sent.attributes == {
        **COMMON,
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        url_attributes.URL_FULL: "https://t.example/x?access_token=***",
        "sacnb.request_id": "r-1",
    }


@pytest.mark.parametrize(
    ("options", "error_type"),
    [
        ({"status": None, "error_kind": "read_timeout", "request_id": None}, "read_timeout"),
        ({"status": 503}, "503"),
        ({"status": 404}, "404"),
        ({"status": 200, "error_kind": "truncated"}, "truncated"),
    ],
)
def test_a_request_that_failed_has_the_type_of_its_error(
    options: dict[str, Any], error_type: str, collected: Collected
) -> None:
    collected.telemetry.on_request(request(**options))
    (sent,) = collected.spans()
    assert sent.status.status_code is trace.StatusCode.ERROR
    assert sent.attributes[error_attributes.ERROR_TYPE] == error_type
    assert sent.attributes.get(http_attributes.HTTP_RESPONSE_STATUS_CODE) == options["status"]
    ((_, attributes),) = collected.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)
    assert attributes[error_attributes.ERROR_TYPE] == error_type
    assert url_attributes.URL_FULL not in attributes  # each address would be a series of its own


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("http://127.0.0.1:8080/x", "127.0.0.1", 8080),
        ("http://t.example/x", "t.example", 80),
        ("https://[::1]/", "::1", 443),
    ],
)
def test_the_server_is_named(url: str, address: str, port: int, collected: Collected) -> None:
    collected.telemetry.on_request(request(url=url))
    attributes = collected.spans()[0].attributes
    assert (attributes["server.address"], attributes["server.port"]) == (address, port)


def test_every_event_is_counted(collected: Collected) -> None:
    tell_all(collected.telemetry)
    operation = {"sacnb.operation": "op"}
    cause = {**operation, "sacnb.cause": "429"}
    assert {name: (one.unit, collected.points(name)) for name, one in collected.metrics().items()} == {
        "http.client.request.duration": ("s", [(2.5, {**COMMON, "http.response.status_code": 200})]),
        "sacnb.received": ("By", [(100, operation)]),
        "sacnb.retries": ("{request}", [(1, cause)]),
        "sacnb.waited": ("s", [(2.5, cause)]),
        "sacnb.failures": ("{request}", [(1, {**operation, "error.type": "ServerError"})]),
        "sacnb.rows": ("{row}", [(50_000, {})]),
        "sacnb.token.renewals": ("{renewal}", [(1, {"sacnb.reason": "expired", "sacnb.outcome": "success"})]),
        "sacnb.token.coalesced": ("{caller}", [(63, {"sacnb.reason": "expired"})]),
    }
    (duration,) = collected.metrics()["http.client.request.duration"].data.data_points
    assert duration.explicit_bounds[:3] == (0.005, 0.01, 0.025)
    assert duration.explicit_bounds[-1] == 300


def test_nested_operations_are_one_span(collected: Collected) -> None:
    with collected.telemetry.operation("pull"), collected.telemetry.operation("page"):
        pass
    assert [span.name for span in collected.spans()] == ["sacnb.pull"]


def test_an_operation_that_fails_is_a_span_with_its_error(collected: Collected) -> None:
    with pytest.raises(ValueError, match="no"), collected.telemetry.operation("pull"):
        raise ValueError("no")
    assert collected.spans()[0].status.status_code is trace.StatusCode.ERROR


def test_the_api_alone_does_nothing() -> None:
    """Without an SDK the API gives tracers and meters that keep nothing."""
    assert importlib.metadata.version("opentelemetry-api")
    exporter = OpenTelemetry(trace.NoOpTracer(), __import__("opentelemetry.metrics").metrics.NoOpMeter("x"), trace)
    tell_all(Telemetry(exporter=exporter))


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
