"""Text of a server in every place where a notebook, a saved page or a code host shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]
import polars as pl
import pytest

from sacnb._tenant import Tenant
from sacnb.errors import BadAnswer, ServerError, UnknownNameError
from sacnb.notebook import RefreshPanel
from sacnb.notebook.words import Problem, as_html, status_html
from sacnb.sandbox import Column, Sandbox, dimension, start, table_model
from sacnb.sandbox.model import date_dimension, version_dimension

ConnectTo = Callable[..., Tenant]
MARKUP = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'|`$x$`[a](javascript:b)"
HOSTILE = MARKUP + "\x1b[31m\u202e"  # control characters cannot be sent in a filter
# Tags that sacnb writes itself. An image is a chart, drawn by sacnb, and its source is data.
OURS = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "br", "span", "details", "summary"}
OURS |= {"svg", "circle", "path", "img", "script", "style"}


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name, value)
            assert name not in {"src", "href"} or str(value).startswith("data:image/png;base64,"), (tag, name, value)

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)


def assert_harmless(html: str) -> None:
    page = _Page(html)
    assert page.tags <= OURS, page.tags - OURS
    assert not any(script.startswith("alert") for script in page.scripts)
    assert "\x1b" not in html
    assert "\u202e" not in html


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    members = pl.DataFrame({"ID": [HOSTILE, MARKUP], "Description": [HOSTILE, HOSTILE]})
    columns = [
        Column("Version", key=True),
        Column("Date", key=True),
        Column("Who", key=True),
        Column("Amount", "Edm.Double"),
    ]
    versions = ["public.Actual", "public.Plan"]
    rows = [(version, "202401", who, 1.5 + len(version)) for version in versions for who in (HOSTILE, MARKUP)]
    model = table_model(
        "EVIL",
        columns=columns,
        rows=pl.DataFrame(rows, schema=["Version", "Date", "Who", "Amount"], orient="row"),
        name=HOSTILE,
        description=HOSTILE,
        dimensions={
            "Version": version_dimension(dict.fromkeys(versions, HOSTILE)),
            "Date": date_dimension(["202401"]),
            "Who": dimension(members),
        },
    )
    with start(models=[model]) as server:
        yield server


@pytest.fixture
def tenant(hostile: Sandbox, connect_to: ConnectTo) -> Tenant:
    return connect_to(hostile)


def widget_html(widget: Any) -> str:
    """Return the HTML that a widget and its parts put into the page."""
    own = widget.value if isinstance(widget, widgets.HTML) else ""
    return own + "".join(map(widget_html, getattr(widget, "children", ())))


def facts(sac: Tenant) -> Any:
    return sac.model("EVIL").facts().fetch()


def actual(sac: Tenant) -> Any:
    return sac.model("EVIL", version="public.Actual").facts().fetch()


SHOWN: dict[str, Callable[[Tenant], Any]] = {
    "tenant": lambda sac: sac,
    "models": lambda sac: sac.models(),
    "model": lambda sac: sac.model("EVIL"),
    "schema": lambda sac: sac.model("EVIL").schema,
    "members": lambda sac: sac.model("EVIL").members("Who"),
    "facts": lambda sac: sac.model("EVIL").facts(where={"Who": MARKUP}),
    "rows": facts,
    "tidy rows": lambda sac: facts(sac).tidy(members={"Who": sac.model("EVIL").members("Who")}, labels=True),
    "SQL": lambda sac: sac.sql("select Version, Who, Amount from EVIL"),
    "plan of a scan": lambda sac: sac.model("EVIL").explain(pl.col("Who") == HOSTILE),
    "variance": lambda sac: facts(sac).variance(base="public.Plan", against="public.Actual", by="Who"),
    "chart": lambda sac: actual(sac).plot(by="Who", kind="bar", title=HOSTILE),
    "chart of variances": lambda sac: facts(sac).variance_plot(base="public.Plan", against="public.Actual", by="Who"),
    "error of the server": lambda _: ServerError(HOSTILE, hint=HOSTILE),
    "unknown name": lambda _: UnknownNameError("member", HOSTILE, [HOSTILE, HOSTILE[:-1]]),
    "broken rows": lambda _: BadAnswer(HOSTILE, row=1, column=HOSTILE),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_cell_shows_is_harmless(name: str, tenant: Tenant, shell: Any) -> None:
    bundle, _ = shell.display_formatter.format(SHOWN[name](tenant))
    assert_harmless(bundle.get("text/html", ""))
    markdown = bundle.get("text/markdown", "")
    assert re.search(r"(?<!\\)[<`$\[]", markdown) is None
    for text in (bundle["text/plain"], markdown):
        assert not {"\x1b", "\u202e"} & set(text)


@pytest.mark.parametrize("name", ["chart", "chart of variances"])
def test_a_saved_chart_is_harmless(name: str, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda *_, **__: "")  # seconds, and no text of the server
    SHOWN[name](tenant).save_html(tmp_path / "chart.html")
    page = _Page((tmp_path / "chart.html").read_text(encoding="utf-8"))
    assert "img" not in page.tags
    assert not any(script.startswith("alert") for script in page.scripts)


def test_the_panel_is_harmless(tenant: Tenant) -> None:
    model = tenant.model("EVIL")
    with RefreshPanel(model.facts(where={"Who": MARKUP})) as panel:
        panel.refresh(wait=True)
        assert panel.result is not None
        assert_harmless(widget_html(panel) + panel._repr_html_())


def test_the_explorer_is_harmless(tenant: Tenant) -> None:
    with tenant.explore("EVIL") as opened:
        explorer: Any = opened  # ipywidgets has no types
        explorer.wait()
        for name, value in (("Filter by", "Who"), ("Members", (MARKUP,)), ("Search", MARKUP[:20])):
            (part,) = [part for part in _parts(explorer) if getattr(part, "description", None) == name]
            part.value = value
            explorer.wait()
        explorer.show(wait=True)
        html = widget_html(explorer)
        assert "onclick" in html, "the button that copies the code"
        assert_harmless(re.sub(r"<button.*?</button>", "", html, flags=re.DOTALL) + explorer._repr_html_())


def _parts(widget: Any) -> list[Any]:
    return [widget, *(part for child in getattr(widget, "children", ()) for part in _parts(child))]


@pytest.mark.parametrize(
    "html",
    [
        as_html([HOSTILE], role="status"),
        status_html("failed", HOSTILE, subject=HOSTILE),
        Problem.of(ServerError(HOSTILE, hint=HOSTILE), again=HOSTILE).html(),
        Problem.of(BadAnswer(HOSTILE, hint=HOSTILE), again="Show", advice=HOSTILE).html(),
        Problem.of(ValueError(HOSTILE), again="Show").html(),
    ],
    ids=["lines", "status", "error of the server", "error of the query", "error of a program"],
)
def test_the_words_of_widgets_are_harmless(html: str) -> None:
    assert_harmless(html)


def test_harm_is_seen() -> None:
    for page in ("<img src=x>", "<b onclick=f()>", f"<p>{HOSTILE}</p>", "<iframe>"):
        with pytest.raises(AssertionError):
            assert_harmless(page)
