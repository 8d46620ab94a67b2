"""The panel: its buttons, texts and traits, without a browser."""

from __future__ import annotations

import json
import logging
import re
import threading
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets
import polars as pl
import pytest

from sacnb import col
from sacnb._pull import Progress
from sacnb._tenant import Model, Tenant
from sacnb.errors import Cancelled, ForbiddenError, SacError, SettingsError, UnknownNameError
from sacnb.notebook import RefreshPanel
from sacnb.notebook.words import token_text
from sacnb.sandbox import Column, Sandbox, start, table_model

ConnectTo = Callable[..., Tenant]
PATIENCE_S = 30  # the events come at once, unless something is broken


@dataclass
class Timers:
    """Timers that the test fires."""

    planned: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def after(self, delay_s: float, action: Callable[[], None]) -> Callable[[], None]:
        entry = (delay_s, action)
        self.planned.append(entry)
        return lambda: self.planned.remove(entry) if entry in self.planned else None

    def fire(self) -> None:
        (entry,) = self.planned
        self.planned.remove(entry)
        entry[1]()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def jobs(sandbox: Sandbox, connect_to: ConnectTo) -> Model:
    return connect_to(sandbox, page_size=1000).model("US_EMPLOYMENT")


@pytest.fixture
def make(timers: Timers) -> Iterator[Callable[..., RefreshPanel]]:
    """Make panels with timers of the test, and close them at the end."""
    panels: list[RefreshPanel] = []

    def make(model: Model, *, where: Any = None, **options: Any) -> RefreshPanel:
        panel = RefreshPanel(model.facts(where=where), after=timers.after, **options)
        panels.append(panel)
        return panel

    yield make
    for panel in panels:
        panel.close()


def parts(widget: Any) -> list[Any]:
    """Return a widget and all its parts."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def button(panel: RefreshPanel, name: str) -> Any:
    (found,) = [part for part in parts(panel) if isinstance(part, widgets.Button) and part.description == name]
    return found


def text(panel: RefreshPanel) -> str:
    """Return all text of the panel."""
    return "\n".join(part.value for part in parts(panel) if isinstance(part, widgets.HTML))


def advance(panel: RefreshPanel) -> Any:
    """Return the row with the bar and its text."""
    (found,) = [part for part in panel.children if widgets.FloatProgress in map(type, getattr(part, "children", ()))]
    return found


def finished(panel: RefreshPanel) -> threading.Event:
    """Return an event that is set when the running or next refresh has ended."""
    ended = threading.Event()
    panel.observe(lambda change: ended.set() if not change.new else None, "busy")
    return ended


# -- refreshing -------------------------------------------------------------------------------------------------------


def test_no_facts_are_requested_before_the_first_refresh(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    assert not any("FactData" in entry.path for entry in sandbox.log)
    assert (panel.result, panel.error, panel.busy, panel.status) == (None, None, False, "not refreshed yet")
    assert "not refreshed yet" in text(panel)


def test_a_click_refreshes_in_the_background_and_the_traits_follow(
    jobs: Model, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs, where={"Sector": "31"})
    ended = finished(panel)
    threads: list[str] = []
    panel.observe(lambda _: threads.append(threading.current_thread().name), "result")
    button(panel, "Refresh").click()
    assert ended.wait(PATIENCE_S)
    assert threads == ["sacnb-panel"]
    assert len(panel.result) == 228
    assert panel.error is None
    at = panel.result.info.last_refresh_time.astimezone()
    assert panel.status.startswith(f"fresh, 228 rows, {at:%H:%M} UTC")
    assert panel.status in text(panel)


def test_traits_change_in_a_fixed_order(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs, grain="year", agg="mean")
    seen: list[tuple[str, Any]] = []
    panel.observe(lambda change: seen.append((change.name, change.new)), ["result", "tidy", "status", "busy"])
    panel.refresh(wait=True)
    assert [name for name, _ in seen] == ["busy", "status", "result", "tidy", "status", "busy"]
    assert seen[0] == ("busy", True)
    assert seen[1] == ("status", "refreshing")
    assert seen[-1] == ("busy", False)


def test_a_second_click_during_a_refresh_does_nothing(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    reached, go_on = threading.Event(), threading.Event()

    def hold(change: Any) -> None:
        if change.new == "refreshing":
            reached.set()
            go_on.wait(PATIENCE_S)

    panel.observe(hold, "status")
    button(panel, "Refresh").click()
    assert reached.wait(PATIENCE_S)
    button(panel, "Refresh").click()
    panel.refresh()
    go_on.set()
    panel.refresh(wait=True)  # waits for the one that runs
    assert not panel.busy
    assert sandbox.counts["facts_requests"] == 4  # pages of one refresh


def test_an_observer_of_the_end_can_start_the_next_refresh(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs, where={"Sector": "31"})
    twice = threading.Event()
    results: list[Any] = []

    def again(change: Any) -> None:
        if not change.new:
            results.append(panel.result)
            if len(results) == 1:
                panel.refresh()
            else:
                twice.set()

    panel.observe(again, "busy")
    panel.refresh()
    assert twice.wait(PATIENCE_S)
    panel.refresh(wait=True)
    assert panel.error is None
    assert results[0] is not results[1]


def test_a_refresh_queries_sac_despite_a_young_result(
    sandbox: Sandbox, connect_to: ConnectTo, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(connect_to(sandbox, cache_max_age_s=3600).model("US_EMPLOYMENT"))
    panel.refresh(wait=True)
    before = sandbox.counts["facts_requests"]
    panel.refresh(wait=True)
    assert sandbox.counts["facts_requests"] > before


def test_the_tidy_frame_has_the_requested_grain(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs, where={"Sector": "31"}, grain="year", agg="mean")
    panel.refresh(wait=True)
    assert panel.tidy.grain == "year"
    assert panel.tidy.frame.equals(panel.result.tidy("year", agg="mean").frame)
    assert "US_EMPLOYMENT by year" in text(panel)


def test_rows_that_cannot_be_tidy_are_shown_nevertheless(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs, where={"Sector": "31"}, grain="day")
    panel.refresh(wait=True)
    assert len(panel.result) == 228
    assert panel.tidy is None
    assert "Ask for month or quarter or year" in text(panel)
    assert panel.status.startswith("fresh, 228 rows")


def test_the_chart_follows_each_refresh(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs, where={"Sector": ["20", "31"], "Version": "public.Actual"}, grain="year", plot={"unit": "k"})
    drawn: list[Any] = []
    panel.observe(lambda change: drawn.append(change.new), "chart")
    assert panel.chart is None
    assert "<img" not in text(panel)
    for _ in range(2):
        panel.refresh(wait=True)
    assert len(drawn) == 2
    assert panel.chart.description.startswith("Line chart. US_EMPLOYMENT: Employees.")
    assert re.findall(r'<img class="(sacnb-\w+)" style="[^"]*" alt="Line chart', text(panel)) == [
        "sacnb-light",
        "sacnb-dark",
    ]


def test_what_cannot_be_drawn_is_explained_and_no_failure(
    sandbox: Sandbox, connect_to: ConnectTo, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(connect_to(sandbox, page_size=5000).model("PLANNING"), plot=True)
    panel.refresh(wait=True)
    assert (panel.chart, panel.error) == (None, None)
    assert "No chart: The result also varies in" in text(panel)
    assert panel.status.startswith("fresh")


@pytest.mark.parametrize(
    ("plot", "words"), [("line", "plot is 'line'"), ({"theme": "dark"}, "plot has 'theme'"), (1, "plot is 1")]
)
def test_plot_is_checked_at_once(jobs: Model, make: Callable[..., RefreshPanel], plot: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make(jobs, plot=plot)


# -- progress --------------------------------------------------------------------------------------------------------


def test_progress_is_shown_in_words_and_by_a_bar(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs)
    (bar,) = [part for part in parts(panel) if isinstance(part, widgets.FloatProgress)]
    said: list[str] = []
    shares: list[float] = []
    advance(panel).children[1].observe(lambda change: said.append(change.new), "value")
    bar.observe(lambda change: shares.append(change.new), "value")
    panel.refresh(wait=True)
    assert any("3,420 of 3,420 rows, 4 pages" in line for line in said)
    assert shares[-1] == 1.0
    assert said[-1] == ""
    assert advance(panel).layout.display == "none"


def test_progress_is_gone_in_the_end_even_without_rows(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs, where={"Sector": []})
    panel.refresh(wait=True)
    assert len(panel.result) == 0
    assert panel.status.startswith("fresh, 0 rows")
    assert advance(panel).layout.display == "none"


def test_frequent_progress_is_shown_now_and_then(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs)
    said: list[str] = []
    advance(panel).children[1].observe(lambda change: said.append(change.new), "value")
    for page in range(1, 101):
        panel._on_progress(Progress(page * 1000, page, 100_000, page / 100))
    assert len(said) == 6
    assert "1,000 of 100,000 rows" in said[0]  # the first one always: the next page may take long
    assert "100,000 of 100,000 rows" in said[-1]  # the last one always


def test_a_retry_is_shown_with_its_reason_and_wait(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    said: list[str] = []
    advance(panel).children[1].observe(lambda change: said.append(change.new), "value")
    sandbox.misbehave("throttle_seconds", times=1, on="facts", retry_after_s=7)
    panel.refresh(wait=True)
    assert any("SAC answered 429; retrying in 7 s (2 of 4)" in line for line in said)
    assert panel.status.startswith("fresh")


def test_retries_of_other_downloads_are_not_shown(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    said: list[str] = []
    advance(panel).children[1].observe(lambda change: said.append(change.new), "value")
    sandbox.misbehave("throttle_seconds", times=1, on="facts")
    jobs.facts(where={"Sector": "31"}).fetch()
    assert said == []


# -- stopping --------------------------------------------------------------------------------------------------------


def test_cancel_stops_in_the_middle_of_a_slow_page_and_keeps_the_data(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    panel.refresh(wait=True)
    before = panel.result
    sandbox.misbehave("slow_bytes", on="facts", chunks=1000, pause_s=0.2)  # minutes, for a page
    ended = finished(panel)
    panel.refresh()
    button(panel, "Cancel").click()
    assert ended.wait(PATIENCE_S)
    assert panel.result is before
    assert panel.error is None
    assert panel.status.startswith("cancelled; showing data from ")
    sandbox.behave()
    panel.refresh(wait=True)
    assert panel.status.startswith("fresh")


def test_cancel_without_a_refresh_does_nothing(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs)
    button(panel, "Cancel").click()
    assert panel.status == "not refreshed yet"
    panel.refresh(wait=True)
    assert panel.status.startswith("fresh")


def test_closing_stops_and_joins_the_thread(jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]) -> None:
    sandbox.misbehave("slow_bytes", on="facts", chunks=1000, pause_s=0.2)
    before = set(threading.enumerate())
    with make(jobs) as panel:
        panel.refresh()
        assert panel.busy
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("sacnb-panel")]
    assert not panel.busy
    assert panel.status in {"not refreshed yet", "refreshing"}
    with pytest.raises(SacError, match="closed"):
        panel.refresh()
    panel.close()


def test_closing_leaves_no_widget_and_no_listener_behind(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    def alive() -> int:
        return len(widgets.Widget.get_manager_state()["state"])

    telemetry = jobs.facts().connection.context.telemetry
    before = alive(), telemetry._hooks
    panel = make(jobs, every_minutes=5)
    assert (alive() > before[0], telemetry._hooks == before[1]) == (True, False)
    panel.close()
    assert (alive(), telemetry._hooks) == before


# -- when SAC fails --------------------------------------------------------------------------------------------------


def test_old_data_is_shown_with_its_age_and_the_reason(
    jobs: Model, sandbox: Sandbox, time: Any, make: Callable[..., RefreshPanel], capsys: pytest.CaptureFixture[str]
) -> None:
    panel = make(jobs)
    panel.refresh(wait=True)
    fresh = panel.result
    time.advance(52 * 60 + 5)
    sandbox.misbehave("error_503")
    panel.refresh(wait=True)
    assert panel.result.stale
    assert panel.result.arrow().equals(fresh.arrow())
    then, now = fresh.info.last_refresh_time.astimezone(), time.now().astimezone()
    shown = f"{then:%H:%M}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
    assert panel.status.startswith(f"SAC did not answer; showing data from {shown} UTC")
    assert f", 52 minutes old at {now:%H:%M}" in panel.status
    assert text(panel).count("Reason: ") == 1
    assert "Reason: " in panel._repr_html_()  # a reader of the file does not see the rest of the panel
    assert capsys.readouterr().out == ""  # a print from this thread would turn up below some other cell
    sandbox.behave()
    panel.refresh(wait=True)
    assert "Reason: " not in text(panel)
    assert panel.status.startswith("fresh")


def test_a_refusal_is_shown_with_its_remedy_and_the_data_stays(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    panel.refresh(wait=True)
    before = panel.result
    sandbox.misbehave("forbidden", on="facts")
    panel.refresh(wait=True)
    assert isinstance(panel.error, ForbiddenError)
    assert panel.result is before
    assert panel.status.startswith("failed; showing data from ")
    assert "ForbiddenError: " in text(panel)
    assert panel.error.hint is not None
    assert 'role="alert"' in text(panel)


def test_the_first_refresh_may_fail_too(jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs)
    sandbox.misbehave("error_500", on="facts")
    panel.refresh(wait=True)
    assert panel.status == "failed; no data yet"
    assert "no earlier result" in text(panel)


def test_a_resumed_download_shows_the_age_of_its_data(
    jobs: Model, sandbox: Sandbox, time: Any, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    sandbox.misbehave("error_500", on="facts", after=2)
    panel.refresh(wait=True)
    assert panel.status == "failed; no data yet"
    sandbox.behave()
    time.advance(3 * 3600 + 60)
    panel.refresh(wait=True)
    assert len(panel.result) == 3420
    assert panel.status.startswith("resumed, 3,420 rows; showing data from ")
    assert "3 hours old" in panel.status
    panel.refresh(wait=True)
    assert panel.status.startswith("fresh")


def test_a_failing_observer_is_shown_and_stops_nothing(
    jobs: Model, make: Callable[..., RefreshPanel], caplog: pytest.LogCaptureFixture
) -> None:
    panel = make(jobs)

    def broken(_: Any) -> None:
        raise KeyError("no such column")

    panel.observe(broken, "result")
    with caplog.at_level(logging.ERROR, "sacnb.notebook"):
        panel.refresh(wait=True)
    assert panel.status.startswith("fresh")
    assert not panel.busy
    assert "An observer of &#x27;result&#x27; failed." in text(panel)
    assert "no such column" in text(panel)
    assert "no such column" in caplog.text


# -- the token -------------------------------------------------------------------------------------------------------


def test_the_token_is_shown_with_its_expiry_and_renewed_by_a_click(
    jobs: Model, sandbox: Sandbox, time: Any, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    guard = panel.facts.connection.context.guard
    first = guard.peek()
    assert first is not None
    assert token_text(first, time.now()) in text(panel)
    time.advance(600)
    issued = sandbox.counts["tokens_issued"]
    panel.renew(wait=True)
    assert sandbox.counts["tokens_issued"] == issued + 1
    assert guard.peek() is not first
    assert token_text(guard.peek(), time.now()) in text(panel)


def test_a_click_on_renew_does_not_wait_for_the_token(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    issued = sandbox.counts["tokens_issued"]
    button(panel, "Renew token").click()
    panel.renew(wait=True)  # the same one: it waits for that
    assert sandbox.counts["tokens_issued"] == issued + 1


def test_a_failed_renewal_is_shown_until_one_succeeds(
    jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs)
    sandbox.misbehave("token_500")
    panel.renew(wait=True)
    assert "RefreshError" in text(panel)
    assert panel.error is not None
    sandbox.behave()
    panel.renew(wait=True)
    assert "RefreshError" not in text(panel)


def test_an_expired_token_is_shown_as_such(
    sandbox: Sandbox, time: Any, make: Callable[..., RefreshPanel], jobs: Model
) -> None:
    _ = jobs.schema
    time.advance(2 * 3600)
    assert "the next request gets a new one" in text(make(jobs))


# -- automatic refreshes ---------------------------------------------------------------------------------------------


def test_automatic_refreshes_are_planned_one_after_the_other(
    jobs: Model, timers: Timers, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs, where={"Sector": "31"}, every_minutes=15)
    assert [delay for delay, _ in timers.planned] == [900]
    ended = finished(panel)
    timers.fire()
    assert ended.wait(PATIENCE_S)
    panel.refresh(wait=True)
    assert len(panel.result) == 228
    assert [delay for delay, _ in timers.planned] == [900]


def test_automatic_refreshes_end_with_the_box_or_the_panel(
    jobs: Model, timers: Timers, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs, every_minutes=0.5)
    (box,) = [part for part in parts(panel) if isinstance(part, widgets.Checkbox)]
    assert box.description == "Every 0.5 minutes"
    box.value = False
    assert timers.planned == []
    panel.refresh(wait=True)
    assert timers.planned == []
    box.value = True
    assert [delay for delay, _ in timers.planned] == [30]
    panel.close()
    assert timers.planned == []


def test_by_default_nothing_is_planned(jobs: Model, timers: Timers, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs)
    panel.refresh(wait=True)
    assert timers.planned == []


# -- appearance, and secrets -----------------------------------------------------------------------------------------


def test_every_control_has_a_text_for_its_name_and_none_is_ever_disabled(
    jobs: Model, make: Callable[..., RefreshPanel]
) -> None:
    panel = make(jobs, every_minutes=5)
    controls = [p for p in parts(panel) if isinstance(p, widgets.Button | widgets.Checkbox)]
    assert len(controls) == 4
    disabled: list[Any] = []
    for control in controls:
        assert control.description.strip()
        if control.has_trait("disabled"):
            control.observe(disabled.append, "disabled")
    panel.refresh(wait=True)
    assert disabled == []


def test_text_of_a_server_is_escaped(connect_to: ConnectTo, make: Callable[..., RefreshPanel]) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[31m"
    rows = pl.DataFrame({"Who": [name], "Amount": [1.0]})
    columns = [Column("Who", key=True), Column("Amount", "Edm.Double")]
    with start(models=[table_model("EVIL", columns=columns, rows=rows)]) as server:
        panel = make(connect_to(server).model("EVIL"), where=col("Who") != "<script>")
        panel.refresh(wait=True)
        assert "&lt;img src=x" in text(panel)
        assert not {"<img", "\x1b"} & {one for one in ("<img", "\x1b") if one in text(panel) + panel._repr_html_()}


def test_the_outputs_are_the_same_each_time(jobs: Model, make: Callable[..., RefreshPanel], shell: Any) -> None:
    outputs = []
    for _ in range(2):
        panel = make(jobs, where={"Sector": "31"})
        panel.refresh(wait=True)
        bundle, _ = shell.display_formatter.format(panel)
        assert bundle.pop("application/vnd.jupyter.widget-view+json")["model_id"] == panel.model_id
        outputs.append(bundle)
    assert outputs[0] == outputs[1]
    assert outputs[0]["text/plain"] == "RefreshPanel('US_EMPLOYMENT')"
    assert "228 rows" in outputs[0]["text/html"]
    assert "<script" not in outputs[0]["text/html"]
    panel.close()
    bundle, _ = shell.display_formatter.format(panel)
    assert bundle == outputs[0]


def test_no_secret_is_in_its_state_or_its_outputs(
    sandbox: Sandbox, connect_to: ConnectTo, make: Callable[..., RefreshPanel]
) -> None:
    tenant = connect_to(sandbox)
    panel = make(tenant.model("US_EMPLOYMENT"))
    seen: list[str] = []

    def look() -> None:
        state = widgets.Widget.get_manager_state()["state"]
        seen.append(json.dumps(state, default=str) + repr(panel) + panel._repr_html_() + str(panel.error))

    panel.refresh(wait=True)
    look()
    for trouble in ("error_500", "unauthorized", "html_login", "token_invalid_client"):
        sandbox.misbehave(trouble)
        panel.renew(wait=True)
        panel.refresh(wait=True)
        look()
        sandbox.behave()
    guard = panel.facts.connection.context.guard
    secrets = tenant.settings.client_secret.reveal(), guard.ensure().token.value.reveal()
    assert "US_EMPLOYMENT" in seen[0]
    assert not [secret for secret in secrets for text in seen if secret in text]


@pytest.mark.parametrize(
    ("options", "says"),
    [({"grain": "months"}, "grain is 'months'"), ({"every_minutes": 0}, "every_minutes is 0")],
)
def test_invalid_options_are_refused_at_once(
    jobs: Model, make: Callable[..., RefreshPanel], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        make(jobs, **options)


def test_a_model_makes_its_panel_and_refuses_a_wrong_query_at_once(jobs: Model) -> None:
    with jobs.refresh_panel(grain="year", agg="mean", where={"Sector": "31"}, since="2014") as panel:
        assert isinstance(panel, RefreshPanel)
        panel.refresh(wait=True)
        assert panel.tidy.frame["date"].dt.year().unique().to_list() == [2014, 2015]
    with pytest.raises(UnknownNameError, match="Did you mean 'Sector'"):
        jobs.refresh_panel(where={"Sektor": "31"})


def test_a_cancelled_refresh_is_no_error(jobs: Model, make: Callable[..., RefreshPanel]) -> None:
    panel = make(jobs)
    panel.observe(lambda change: panel.cancel() if change.new == "refreshing" else None, "status")
    panel.refresh(wait=True)
    assert not isinstance(panel.error, Cancelled)
    assert panel.status == "cancelled; no data yet"


# -- while a token is awaited ----------------------------------------------------------------------------------------


def threads_of(*names: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(names)]


@pytest.mark.parametrize("action", ["cancel", "close"])
@pytest.mark.parametrize("start", ["refresh", "renew"])
def test_cancelling_and_closing_end_the_wait_for_a_token(
    start: str, action: str, jobs: Model, sandbox: Sandbox, make: Callable[..., RefreshPanel]
) -> None:
    _ = jobs.schema
    guard = jobs.facts().connection.context.guard
    token = guard.peek()
    assert token is not None
    panel = make(jobs)
    guard.reject(token)
    sandbox.misbehave("slow_bytes", on="token", chunks=1000, pause_s=1.0)
    before = sandbox.counts["misbehaved_slow_bytes"]
    getattr(panel, start)()
    while sandbox.counts["misbehaved_slow_bytes"] == before:
        threads_of("sacnb-panel")[0].join(0.01)
    began = clock.monotonic()
    getattr(panel, action)()
    for thread in threads_of("sacnb-panel"):
        thread.join(PATIENCE_S)
    assert clock.monotonic() - began < 5  # a second on a quiet machine; the endpoint takes a quarter of an hour
    assert not threads_of("sacnb-panel")
    assert panel.error is None
