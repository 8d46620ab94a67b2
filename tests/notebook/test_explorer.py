"""The explorer: the choice, the result, and code that returns the same frame; without a browser."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as widgets
import polars as pl
import polars.testing
import pytest

from sacnb._tenant import Tenant, connector
from sacnb.errors import NotFoundError, SacError
from sacnb.notebook import Explorer
from sacnb.notebook.choice import Choice, python_code, sql_code
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
# The explorer tells it above the table; printed in its thread, it would reach nobody.
pytestmark = pytest.mark.filterwarnings("ignore::sacnb.errors.MixedVersionsWarning")


@pytest.fixture
def tenant(sandbox: Sandbox, connect_to: ConnectTo) -> Tenant:
    return connect_to(sandbox, page_size=5000)


@pytest.fixture(autouse=True)
def _embedded(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the explorer's code connect to the same sandbox: tests of writing change the embedded one."""
    monkeypatch.setattr(connector._embedded, "sandbox", sandbox)


@pytest.fixture
def explore(tenant: Tenant) -> Iterator[Callable[..., Explorer]]:
    """Make explorers that have loaded their lists, and close them at the end."""
    made: list[Explorer] = []

    def explore(model: str | None = None) -> Explorer:
        made.append(tenant.explore(model))
        made[-1].wait()
        return made[-1]

    yield explore
    for explorer in made:
        explorer.close()


def parts(widget: Any) -> list[Any]:
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def control(explorer: Explorer, name: str) -> Any:
    (found,) = [part for part in parts(explorer) if getattr(part, "description", None) == name]
    return found


def choose(explorer: Explorer, **values: Any) -> None:
    """Choose as a user does, one control after the other; underscores in names are blanks."""
    for name, value in values.items():
        control(explorer, name.replace("_", " ").capitalize()).value = value
        explorer.wait()


def text(explorer: Explorer) -> str:
    return "\n".join(part.value for part in parts(explorer) if isinstance(part, widgets.HTML))


def labels(explorer: Explorer, name: str) -> list[str]:
    return [label for label, _ in control(explorer, name).options]


def frame_of(code: str) -> pl.DataFrame:
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    namespace["sac"].close()
    frame: pl.DataFrame = namespace["frame"]
    return frame


def test_models_are_listed_and_one_is_looked_at_when_it_is_chosen(
    explore: Callable[..., Explorer], sandbox: Sandbox
) -> None:
    explorer = explore()
    assert "US employment by sector (US_EMPLOYMENT)" in labels(explorer, "Model")
    assert not any("metadata" in entry.path for entry in sandbox.log)
    assert (explorer.query, explorer.code, explorer.status) == (None, "", "choose a model")
    choose(explorer, model="PLANNING")
    assert labels(explorer, "Dimensions") == ["Version", "Date", "Account", "CostCenter", "Region"]
    assert labels(explorer, "Measures") == ["SignedData"]
    assert labels(explorer, "Versions") == ["Actual (public.Actual)", "Plan (public.Plan)"]
    assert explorer.query == Choice("PLANNING")
    assert not any("FactData" in entry.path for entry in sandbox.log)


def test_members_are_a_tree_that_can_be_searched(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, filter_by="Sector")
    assert labels(explorer, "Members")[:3] == [
        "Total nonfarm (00) ▾",
        "\u00a0" * 4 + "Total private (05) ▾",
        "\u00a0" * 8 + "Goods-producing (06) ▾",
    ]
    assert "21 of 21 members" in text(explorer)
    choose(explorer, search="DURABLE")
    assert [label.strip("\u00a0 ▾") for label in labels(explorer, "Members")][-2:] == [
        "Durable goods (31)",
        "Nondurable goods (32)",
    ]
    assert "2 of 21 members" in text(explorer)
    choose(explorer, members=("31",))
    choose(explorer, search="retail")
    choose(explorer, members=("31", "42"))  # what was chosen before stays on show
    assert explorer.query.where == (("Sector", ("31", "42")),)
    assert "Sector: Durable goods (31), Retail trade (42)" in text(explorer)


def test_a_list_and_what_is_chosen_of_it_are_sent_at_once(
    explore: Callable[..., Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click in between would be read as the whole choice."""
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, filter_by="Sector", members=("31",))
    members = control(explorer, "Members")
    sent: list[set[str]] = []
    monkeypatch.setattr(
        members, "send_state", lambda key=None: sent.append({key} if isinstance(key, str) else set(key))
    )
    choose(explorer, search="construction")
    assert [one for one in sent if "_options_labels" in one] == [{"_options_labels", "index"}]


def test_a_parent_stands_for_its_leaves(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, filter_by="Sector", members=("30",))
    assert explorer.query.where == (("Sector", ("31", "32")),)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("US_EMPLOYMENT", {"versions": ("public.Actual",), "since": "2014-03", "until": "2015", "grain": "quarter"}),
        ("US_EMPLOYMENT", {"filter_by": "Sector", "members": ("06",), "grain": "year", "made_by": "mean"}),
        ("US_EMPLOYMENT", {"filter_by": "Sector", "members": ("00",), "dimensions": ("Date", "Sector")}),
    ],
)
def test_the_code_gives_the_frame_that_is_shown(
    explore: Callable[..., Explorer], model: str, choices: dict[str, Any]
) -> None:
    explorer = explore(model)
    choose(explorer, **choices)
    explorer.show(wait=True)
    assert explorer.error is None
    assert len(explorer.frame) > 0
    pl.testing.assert_frame_equal(frame_of(explorer.code), explorer.frame)
    assert control(explorer, "Python").value == explorer.code
    compile(explorer.code, "cell", "exec")
    assert max(map(len, explorer.code.splitlines())) <= 120


def test_the_result_is_shown_as_a_table_and_a_chart_with_words(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, versions=("public.Actual",), grain="year", made_by="mean", filter_by="Sector", members=("30",))
    control(explorer, "Show").click()
    explorer.wait()
    assert len(explorer.result) == 240
    assert explorer.frame.columns == ["date", "dim_Version", "dim_Sector", "value"]
    assert explorer.status == "US_EMPLOYMENT: 20 rows"
    shown = text(explorer)
    assert "US_EMPLOYMENT by year: 20 rows" in shown
    assert shown.count('src="data:image/png;base64,') == 2  # for light and for dark pages
    assert 'alt="Line chart. US_EMPLOYMENT: Employees. By Sector: Durable goods and Nondurable goods.' in shown
    assert "US_EMPLOYMENT by year" in explorer._repr_html_()


def test_a_missing_chart_is_explained(explore: Callable[..., Explorer]) -> None:
    explorer = explore("PLANNING")
    explorer.show(wait=True)
    assert explorer.chart is None
    assert explorer.error is None
    assert len(explorer.result) > 0
    assert "No chart: The result also varies in" in text(explorer)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"since": "yesterday"}, "yesterday"),
        ({"dimensions": ("Sector",), "grain": "month"}, "no column that is known to hold dates"),
        ({"grain": "day"}, "day"),
        ({"measures": ()}, "no measure"),
    ],
)
def test_a_mistake_is_shown_in_words_and_the_last_result_stays(
    explore: Callable[..., Explorer], choices: dict[str, Any], words: str
) -> None:
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, filter_by="Sector", members=("31",))
    explorer.show(wait=True)
    before = explorer.result
    choose(explorer, **{"grain": "month", **choices})
    explorer.show(wait=True)
    assert isinstance(explorer.error, SacError)
    assert words in str(explorer.error)
    assert 'role="alert"' in text(explorer)
    assert words in text(explorer)
    assert not re.search(r"<p>[^<]*(where=|dims=|\(\.\.\.)", text(explorer))  # the details alone are for programmers
    assert explorer.result is before
    assert explorer.status == "US_EMPLOYMENT: failed"


def test_an_unknown_model_is_shown_with_the_nearest(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMNT")
    assert explorer.query is None
    assert "US_EMPLOYMENT" in text(explorer)
    choose(explorer, model="US_EMPLOYMENT")
    assert explorer.query == Choice("US_EMPLOYMENT")
    assert explorer.error is None


@pytest.mark.usefixtures("no_pictures")
def test_a_second_click_during_a_download_does_nothing(explore: Callable[..., Explorer], sandbox: Sandbox) -> None:
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, filter_by="Sector", members=("31",))
    reached, go_on = threading.Event(), threading.Event()
    hold = [True]

    def held(_: Any) -> None:
        if hold and explorer.status == "US_EMPLOYMENT: asking SAC":
            hold.clear()
            reached.set()
            go_on.wait(30)

    explorer.observe(held, "status")
    explorer.show()
    assert reached.wait(30)
    asked = len(sandbox.log)
    explorer.show()
    control(explorer, "Show").click()
    assert len(sandbox.log) == asked
    go_on.set()
    explorer.wait()
    assert len([entry for entry in sandbox.log if entry.path.endswith("/FactData")]) == 1


@pytest.mark.usefixtures("no_pictures")
def test_a_click_while_lists_load_is_handled_afterwards(explore: Callable[..., Explorer], sandbox: Sandbox) -> None:
    explorer = explore("US_EMPLOYMENT")
    reached, go_on = threading.Event(), threading.Event()

    def held(_: Any) -> None:
        if not reached.is_set() and explorer.status == "loading the lists":
            reached.set()
            go_on.wait(30)

    explorer.observe(held, "status")
    control(explorer, "Filter by").value = "Sector"
    assert reached.wait(30)
    control(explorer, "Show").click()
    control(explorer, "Show").click()
    assert explorer.result is None
    go_on.set()
    explorer.wait()
    assert explorer.status == "US_EMPLOYMENT: 3,420 rows"
    assert "21 of 21 members" in text(explorer)
    assert len([entry for entry in sandbox.log if entry.path.endswith("/FactData")]) == 1


def test_a_click_while_lists_load_is_dropped_on_cancel_or_failure(
    explore: Callable[..., Explorer], sandbox: Sandbox
) -> None:
    explorer = explore("US_EMPLOYMENT")
    actions = [explorer.cancel, lambda: sandbox.misbehave("error_500", on="any")]

    def act(_: Any) -> None:
        if explorer.status == "loading the lists" and actions:
            control(explorer, "Show").click()
            actions.pop(0)()

    explorer.observe(act, "status")
    choose(explorer, filter_by="Sector")
    choose(explorer, model="PLANNING")
    assert explorer.error is not None
    sandbox.behave()
    choose(explorer, model="US_EMPLOYMENT")
    assert explorer.result is None
    assert not [entry for entry in sandbox.log if entry.path.endswith("/FactData")]


def test_every_control_has_a_name_in_words(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    controls = [part for part in parts(explorer) if not isinstance(part, widgets.HTML | widgets.Box)]
    assert len(controls) == 15
    assert all(part.description.strip() for part in controls)
    assert len({part.description for part in controls}) == len(controls)
    assert not any(part.disabled for part in controls)


def test_its_representation_is_always_the_same(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    assert repr(explorer) == "Explorer(Tenant('sandbox'))"
    assert (
        explorer._repr_html_()
        == "<div>Explorer(Tenant(&#x27;sandbox&#x27;)): run this cell to explore the models.</div>"
    )


def test_closing_joins_the_thread_and_a_closed_explorer_refuses(tenant: Tenant) -> None:
    with tenant.explore("US_EMPLOYMENT") as explorer:
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "sacnb-explorer"]
    explorer.close()
    with pytest.raises(SacError, match="closed"):
        explorer.show()


def test_text_of_a_server_is_escaped(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    explorer._show_error(NotFoundError("<script>alert(1)</script>"))
    assert "<script>" not in text(explorer)


def test_before_a_model_is_chosen_there_is_nothing_but_its_list(explore: Callable[..., Explorer]) -> None:
    explorer = explore()
    assert [part.description for part in controls_on_show(explorer)] == ["Model"]
    choose(explorer, model="US_EMPLOYMENT")
    assert {"Dimensions", "Show", "Python"} <= {part.description for part in controls_on_show(explorer)}
    assert not {"Search", "Members", "SQL"} & {part.description for part in controls_on_show(explorer)}
    choose(explorer, filter_by="Sector")
    assert {"Search", "Members"} <= {part.description for part in controls_on_show(explorer)}


def controls_on_show(widget: Any) -> list[Any]:
    if widget.layout.display == "none":
        return []
    children = getattr(widget, "children", None)
    if children is None:
        return [] if isinstance(widget, widgets.HTML) else [widget]
    return [part for child in children for part in controls_on_show(child)]


def test_the_code_of_a_real_tenant_holds_neither_its_name_nor_long_lines() -> None:
    choice = Choice(
        "M'odel",
        namespace="other",
        where=(("Sector", tuple(f"member {i:03}" for i in range(40))), ("One", ("a'b",))),
        dims=("A", "B"),
    )
    code = python_code(choice)
    assert "sac.model(\"M'odel\", namespace='other')" in code
    assert "sacnb.connect()" in code
    assert "sacnb.connect(profile='prod')\n" in python_code(choice, profile="prod")
    assert max(map(len, code.splitlines())) <= 100
    compile(code, "cell", "exec")


@pytest.mark.parametrize(
    "choice",
    [
        Choice("PLANNING"),
        Choice("PLANNING", where=(("Region", ("JP", "Pacific West ")), ("Version", ("public.Plan",))), since="2024-05"),
        Choice("PLANNING", measures=("SignedData",), until="2023"),
    ],
)
def test_sql_selects_the_same_rows(tenant: Tenant, choice: Choice) -> None:
    """Compare with polars' SQL over the whole model."""
    facts = choice.facts(tenant)
    code = sql_code(facts.query)
    assert code is not None
    everything = tenant.model("PLANNING").facts().fetch().polars()
    with pl.SQLContext(PLANNING=everything) as context:
        found = context.execute(code, eager=True)
    pl.testing.assert_frame_equal(found, facts.fetch().polars())


def test_there_is_no_sql_where_sac_sums_up(tenant: Tenant) -> None:
    assert sql_code(Choice("PLANNING", dims=("Account",)).facts(tenant).query) is None
    assert sql_code(tenant.model("PLANNING").facts(limit=1).query) is None
    quoted = tenant.model("PLANNING").facts(where={"Region": "O'Hare"}).query
    assert "'O''Hare'" in str(sql_code(quoted))


@pytest.mark.parametrize("action", ["cancel", "close"])
@pytest.mark.parametrize("waits_for", ["token", "any"])
def test_cancelling_and_closing_end_the_wait_for_a_list(
    waits_for: str, action: str, tenant: Tenant, sandbox: Sandbox
) -> None:
    sandbox.misbehave("slow_bytes", on=waits_for, chunks=1000, pause_s=1.0)
    before = sandbox.counts["misbehaved_slow_bytes"]
    explorer = tenant.explore("US_EMPLOYMENT")
    (thread,) = [one for one in threading.enumerate() if one.name == "sacnb-explorer"]
    while sandbox.counts["misbehaved_slow_bytes"] == before:
        thread.join(0.01)
    began = time.monotonic()
    getattr(explorer, action)()
    thread.join(30)
    assert time.monotonic() - began < 5  # a second on a quiet machine; the answer takes a quarter of an hour
    assert explorer.error is None
    explorer.close()
    assert not [one for one in threading.enumerate() if one.name == "sacnb-explorer"]


@pytest.mark.usefixtures("no_pictures")
def test_added_versions_are_told_above_the_table(explore: Callable[..., Explorer]) -> None:
    explorer = explore("US_EMPLOYMENT")
    choose(explorer, dimensions=("Date", "Sector"))
    explorer.show(wait=True)
    assert "Adds up versions." in text(explorer)
