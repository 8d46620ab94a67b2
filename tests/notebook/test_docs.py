"""The page on notebooks says what there is: its magics run, and its tables are those of the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sacnb
from sacnb._charts.chart import Chart
from sacnb._tenant import Tenant
from sacnb.notebook import RefreshPanel
from sacnb.notebook.commands import COMMANDS
from sacnb.notebook.magics import SacMagics

PAGE = Path(__file__).parents[2] / "docs" / "notebook.md"


def cells() -> list[str]:
    """The cells of the part about magics."""
    part = PAGE.read_text(encoding="utf-8").partition("## The refresh panel")[0]
    return [fence.partition("```")[0] for fence in part.split("```text\n")[1:]]


def table(line: str) -> list[list[str]]:
    """The cells of the first table below a line."""
    section = PAGE.read_text(encoding="utf-8").split(f"{line}\n", 1)[1]
    lines = section[section.index("|---") :].splitlines()[1:]
    rows = []
    for row in lines:
        if not row.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in row.strip("|").split(" | ")])
    return rows


def test_its_magics_run(shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    # Rows that are there already, so that what the other cells and tests read stays as it is.
    keys = {"Version": "public.Plan", "Sector": "31", "Date": "201001"}
    with sacnb.connect() as sac:
        plan = sac.model("US_EMPLOYMENT").facts(where=keys).fetch().polars()
    assert plan.height == 1
    shell.user_ns["plan"] = plan.drop("Version")
    shown = [shell.run(cell) for cell in cells()]
    assert len(shown) >= 7
    assert shown[0]["id"].to_list()[0] == "US_EMPLOYMENT"
    assert "228 rows" in repr(shown[3])
    assert sorted(shell.user_ns["by_sector"]["Sector"]) == ["31", "32"]
    assert "rows     228" in repr(shown[-1])


def test_the_magics_of_the_readme_run(shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    cell = text.partition("```text\n")[2].partition("```")[0]
    assert cell.startswith("%load_ext sacnb\n%sac connect")
    drawn = shell.run(cell)
    assert isinstance(drawn, Chart)
    assert repr(drawn).startswith("Line chart. US_EMPLOYMENT: Employees")
    assert "Construction" in drawn.svg()  # the lines of the picture, by name


def test_the_subcommands_are_those_there_are() -> None:
    assert table("## The magics") == [[name, command.summary] for name, command in COMMANDS.items()]


def test_the_options_are_those_there_are() -> None:
    traits = SacMagics.class_own_traits(config=True)
    assert table("### Options") == [[name, str(one.default_value), one.help] for name, one in sorted_as_written(traits)]


def sorted_as_written(traits: dict[str, Any]) -> list[tuple[str, Any]]:
    order = [row[0] for row in table("### Options")]
    assert set(order) == set(traits)
    return [(name, traits[name]) for name in order]


def test_the_traits_of_the_panel_are_those_there_are() -> None:
    traits = RefreshPanel.class_own_traits()
    section = "Everything it shows can be followed from Python:"
    assert table(section) == [
        [f"panel.{name}", traits[name].help] for name in ("result", "tidy", "chart", "status", "busy", "error")
    ]
    assert set(traits) == {"result", "tidy", "chart", "status", "busy", "error"}


@pytest.mark.parametrize("name", ["Refresh", "Cancel", "Renew token"])
def test_the_buttons_are_those_there_are(name: str, sandbox: Any, connect_to: Callable[..., Tenant]) -> None:
    with connect_to(sandbox).model("US_EMPLOYMENT").refresh_panel() as panel:
        row = panel.children[1].children  # below the style sheet
        assert name in [child.description for child in row if hasattr(child, "on_click")]
        assert [f"*{name}*"] in [row[:1] for row in table("| shown | says |")]
