"""The page and the dashboard name the metrics that the code sends, as a Prometheus has them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader

from sacnb._auth import RefreshEvent
from sacnb._wire import Telemetry
from sacnb._wire.telemetry import FailureEvent, OpenTelemetry, RequestEvent, RetryEvent

UNITS = {"s": "_seconds", "By": "_bytes"}


def prometheus(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name)


@pytest.fixture(scope="module")
def sent() -> dict[str, Any]:
    """Each metric with its kind, unit and attributes, by its name."""
    reader = InMemoryMetricReader()
    exporter = OpenTelemetry(trace.NoOpTracer(), MeterProvider([reader]).get_meter("sacnb"), trace)
    telemetry = Telemetry(exporter=exporter)
    for status, kind in ((200, None), (None, "read_timeout")):
        telemetry.on_request(RequestEvent("op", "GET", "https://t.example/x", status, kind, 1.0, 1, None, None))
    telemetry.on_retry(RetryEvent("op", "429", 2.5, 1, 4, "t"))
    telemetry.on_failure(FailureEvent("op", "ServerError", 503, "t"))
    telemetry.on_refresh(RefreshEvent("id", "expired", "success", coalesced=1))
    telemetry.on_rows(1)
    data = reader.get_metrics_data()
    assert data is not None
    found = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        is_histogram = isinstance(metric.data, Histogram)
        attributes = {name for point in metric.data.data_points for name in point.attributes or ()}
        stem = prometheus(metric.name) + UNITS.get(metric.unit, "")
        found[metric.name] = {
            "in Prometheus": stem if is_histogram else f"{stem}_total",
            "kind": "histogram" if is_histogram else "counter",
            "unit": metric.unit,
            "attributes": attributes,
        }
    return found


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs/dashboard.json").read_text(encoding="utf-8"))
    return found


def test_the_page_lists_all_metrics(rows, documents, sent: dict[str, Any]) -> None:
    listed = {}
    for name, there, kind, unit, attributes in rows(documents["docs/telemetry.md"].section("Metrics")):
        names = set() if attributes == "none" else {one.strip(" `") for one in attributes.split(",")}
        listed[name.strip("`")] = {"in Prometheus": there.strip("`"), "kind": kind, "unit": unit, "attributes": names}
    assert listed == sent


def test_the_dashboard_shows_all_metrics_and_no_others(dashboard: dict[str, Any], sent: dict[str, Any]) -> None:
    known = {one["in Prometheus"]: {prometheus(name) for name in one["attributes"]} for one in sent.values()}
    shown = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for name, labels in re.findall(r"((?:sacnb|http)_\w+)\{([^}]*)\}", target["expr"]):
                metric = re.sub(r"_seconds_(count|bucket)$", "_seconds", name)
                shown.add(metric)
                by = re.findall(r"by \(([^)]*)\)", target["expr"])
                used = {one.strip() for one in ",".join(by).split(",")} | set(re.findall(r"(\w+)(?:=|!)", labels))
                used |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                assert used - {"", "job", "le"} <= known[metric], target["expr"]
    assert shown == set(known)


def test_the_dashboard_can_be_laid_out(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(dashboard["panels"])))
    assert used == variables
