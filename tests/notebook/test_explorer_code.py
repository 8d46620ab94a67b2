"""*Copy as code*: the Python and the SQL of the explorer both run, and both give the frame that it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import polars.testing
import pytest

from sacnb._tenant import Tenant, connector
from sacnb.notebook import Explorer
from sacnb.sandbox import Column, Sandbox, dimension, start, table_model

pytestmark = pytest.mark.usefixtures("no_pictures")
MEMBERS = (
    "O'Hare",
    "'",
    'say "so"',
    "北京",
    "Zürich ",
    " blank",
    ":since",
    "--; drop",
    "/* x */",
    "a\\b",
    "50%_",
    "{x} $y",
    "#",
    "e\u0301",
)


@pytest.fixture(scope="module")
def odd() -> Iterator[Sandbox]:
    """A model whose column is a word of SQL, and whose members are what quoting has to stand."""
    count = len(MEMBERS)
    columns = (
        Column("Version", "Edm.String", key=True, max_length=300),
        Column("Date", "Edm.String", key=True, max_length=256),
        Column("select", "Edm.String", key=True, max_length=256),
        Column("Größe", "Edm.String", key=True, max_length=256),
        Column("Amount", "Edm.Decimal", precision=31, scale=7),
    )
    rows = pl.DataFrame(
        {
            "Version": ["public.Actual"] * count,
            "Date": [f"2024{1 + number % 12:02}" for number in range(count)],
            "select": MEMBERS,
            "Größe": [f"{member}!" for member in reversed(MEMBERS)],
            "Amount": pl.Series([number * 10 + 1 for number in range(count)], dtype=pl.Decimal(31, 7)),
        }
    )
    names = pl.DataFrame({"ID": MEMBERS, "Description": [f"the member {member}" for member in MEMBERS]})
    with start(
        models=[table_model("order", columns=columns, rows=rows, dimensions={"select": dimension(names)})]
    ) as one:
        yield one


@pytest.fixture
def explore(connect_to: Callable[..., Tenant]) -> Iterator[Callable[[Sandbox, str], Explorer]]:
    made: list[Explorer] = []

    def explore(sandbox: Sandbox, model: str) -> Explorer:
        made.append(connect_to(sandbox, page_size=5000).explore(model))
        made[-1].wait()
        return made[-1]

    yield explore
    for explorer in made:
        explorer.close()


def parts(widget: Any) -> list[Any]:
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def choose(explorer: Explorer, choices: dict[str, Any]) -> None:
    """Choose as a user does, one control after the other, and show it."""
    for name, value in choices.items():
        (control,) = [part for part in parts(explorer) if getattr(part, "description", None) == name]
        control.value = value
        explorer.wait()
    explorer.show(wait=True)
    assert explorer.error is None
    assert len(explorer.frame) > 0


def frame_of_python(explorer: Explorer) -> pl.DataFrame:
    """Run the code; where it connects by the settings, or to a sandbox of its own, it gets the explorer's tenant."""
    connect = [line for line in explorer.code.splitlines() if line.startswith("sac = ")]
    assert len(connect) == 1
    namespace: dict[str, Any] = {"sac": explorer._tenant}
    exec(explorer.code.replace(connect[0], ""), namespace)
    frame: pl.DataFrame = namespace["frame"]
    return frame


def frame_of_sql(explorer: Explorer) -> pl.DataFrame:
    frame: pl.DataFrame = explorer._tenant.sql(explorer.sql)
    return frame


CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("US_EMPLOYMENT", {}),
    ("US_EMPLOYMENT", {"Versions": ("public.Actual",), "Since": "2014-03", "Until": "2015"}),
    ("US_EMPLOYMENT", {"Filter by": "Sector", "Members": ("06",), "Since": "2015"}),
    ("PLANNING", {"Filter by": "Region", "Members": ("Pacific West ", "JP", "#"), "Since": "2024"}),
    ("PLANNING", {"Measures": ("SignedData",), "Versions": ("public.Plan",), "Until": "2023-02"}),
    ("EDM_TYPES", {"Measures": ("Int16", "Int32")}),
]


@pytest.mark.parametrize(("model", "choices"), CHOICES)
def test_python_and_sql_both_give_the_frame_that_is_shown(
    explore: Callable[..., Explorer], sandbox: Sandbox, model: str, choices: dict[str, Any]
) -> None:
    explorer = explore(sandbox, model)
    choose(explorer, choices)
    assert explorer.sql
    pl.testing.assert_frame_equal(explorer.result.polars(), explorer.frame)
    pl.testing.assert_frame_equal(frame_of_python(explorer), explorer.frame)
    pl.testing.assert_frame_equal(frame_of_sql(explorer), explorer.frame)


# All of them together, and one; each alone with `make search`.
@pytest.mark.parametrize(
    "members",
    [*(pytest.param((member,), marks=pytest.mark.long) for member in MEMBERS[1:]), MEMBERS[:1], MEMBERS[1:7], MEMBERS],
    ids=repr,
)
def test_names_and_members_that_need_quotes_give_the_same(
    explore: Callable[..., Explorer], odd: Sandbox, members: tuple[str, ...]
) -> None:
    explorer = explore(odd, "order")
    choose(explorer, {"Filter by": "select", "Members": members})
    assert sorted(explorer.frame["select"]) == sorted(members)
    pl.testing.assert_frame_equal(frame_of_python(explorer), explorer.frame)
    pl.testing.assert_frame_equal(frame_of_sql(explorer), explorer.frame)


@pytest.mark.filterwarnings("ignore:.* several versions of 'US_EMPLOYMENT':sacnb.errors.MixedVersionsWarning")
@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("US_EMPLOYMENT", {"Versions": ("public.Actual",), "Grain": "quarter"}),
        ("US_EMPLOYMENT", {"Dimensions": ("Date", "Sector")}),
        ("PLANNING", {"Dimensions": ("Region", "Account"), "Versions": ("public.Actual",)}),
    ],
)
def test_where_sql_would_mean_something_else_there_is_python_alone(
    explore: Callable[..., Explorer], sandbox: Sandbox, model: str, choices: dict[str, Any]
) -> None:
    explorer = explore(sandbox, model)
    choose(explorer, choices)
    assert explorer.sql == ""
    (box,) = [part for part in parts(explorer) if getattr(part, "description", None) == "SQL"]
    assert box.value == ""
    assert box.layout.display == "none"
    pl.testing.assert_frame_equal(frame_of_python(explorer), explorer.frame)


def test_what_is_copied_runs_as_it_is(
    explore: Callable[..., Explorer], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a line of it changed, with a connection of its own."""
    explorer = explore(sandbox, "US_EMPLOYMENT")
    choose(explorer, {"Filter by": "Sector", "Members": ("31",), "Since": "2015"})
    namespace: dict[str, Any] = {}
    # Other tests may have written to the sandbox that this process shares, which puts changed rows last.
    monkeypatch.setattr(connector._embedded, "sandbox", sandbox)
    exec(explorer.code, namespace)
    with namespace["sac"] as sac:
        pl.testing.assert_frame_equal(namespace["frame"], explorer.frame)
        pl.testing.assert_frame_equal(sac.sql(explorer.sql), explorer.frame)
