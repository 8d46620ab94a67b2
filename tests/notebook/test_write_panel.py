"""The write panel: its buttons, tables and traits, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import ipywidgets as widgets
import pandas as pd
import polars as pl
import pytest
from sales import facts, plan, sales

from sacnb._tenant import Model, Tenant
from sacnb.errors import ConfirmationError, ForbiddenError, QueryError, RowsError, SacError, UsageError, WriteError
from sacnb.notebook import WritePanel
from sacnb.sandbox import Sandbox

PLAN = "public.Plan"


@pytest.fixture
def model(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Model:
    sandbox.add_model(sales())
    return connect_to(sandbox).model("SALES")


@pytest.fixture
def make(model: Model) -> Iterator[Callable[..., WritePanel]]:
    panels: list[WritePanel] = []

    def make(frame: object, **options: Any) -> WritePanel:
        panels.append(WritePanel(model, frame, **{"version": PLAN, **options}))
        return panels[-1]

    yield make
    for panel in panels:
        panel.close()


def parts(widget: Any) -> list[Any]:
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def button(panel: WritePanel, name: str) -> Any:
    (found,) = [part for part in parts(panel) if isinstance(part, widgets.Button) and part.description.startswith(name)]
    return found


def text(panel: WritePanel) -> str:
    """Return all text on show."""

    def shown(part: Any) -> list[str]:
        if part.layout.display == "none":
            return []
        if isinstance(part, widgets.HTML):
            return [part.value]
        return [line for child in getattr(part, "children", ()) for line in shown(child)]

    return "\n".join(shown(panel))


def imports(sandbox: Sandbox) -> list[str]:
    return [entry.path for entry in sandbox.log if "dataimport" in entry.path]


def test_nothing_is_sent_and_nothing_can_be_written_before_a_check(
    make: Callable[..., WritePanel], sandbox: Sandbox
) -> None:
    panel = make(plan(3))
    assert panel.status == "3 rows, not checked yet; nothing was sent"
    assert button(panel, "Write").disabled
    button(panel, "Write").click()
    with pytest.raises(SacError, match="was not checked"):
        panel.write()
    with pytest.raises(SacError, match="no write of this panel"):
        panel.undo()
    assert imports(sandbox) == []
    assert "not checked yet" in panel._repr_html_()


def test_a_check_shows_what_changes_and_a_write_can_be_undone(make: Callable[..., WritePanel], model: Model) -> None:
    before = facts(model)
    same = pl.DataFrame({"Date": ["202402"], "Store": ["S0"], "Amount": [Decimal(625)], "Pieces": [125]})
    frame = pl.concat([plan(2), same.cast(dict(plan(1).schema))])  # type: ignore[arg-type]
    panel = make(frame)
    panel.check(wait=True)
    assert panel.error is None
    assert panel.checked.is_dry_run
    assert panel.status == "checked by SAC too, 3 rows can be written"
    shown = text(panel)
    for name, rows in (("new", 0), ("changed", 2), ("same", 1)):
        assert f">{name}</td>" in shown
        assert f">{rows}</td>" in shown
    assert [f">{cell}</td>" in shown for cell in ("1,830.0", "626.5", "-1,203.5")] == [True] * 3  # totals of Amount
    assert "Changes in public.Plan" in shown
    assert "Amount before" in shown
    assert "The first rows that change" in shown
    assert facts(model) == before
    assert button(panel, "Write").description == "Write 3 rows"
    assert not button(panel, "Write").disabled
    assert button(panel, "Undo").layout.display == "none"

    panel.write(wait=True)
    assert panel.error is None
    assert panel.status.startswith("written, 3 rows, ")
    assert panel.status.endswith(", read back as written")
    assert panel.result.verified
    assert facts(model)[(PLAN, "202401", "S1")][0] == Decimal("1.25")
    assert button(panel, "Write").disabled  # what is written twice must be checked twice
    with pytest.raises(SacError, match="was written already"):
        panel.write()
    assert "read back, as written" in panel._repr_html_()

    panel.check(wait=True)  # does not forget what can be undone
    assert not button(panel, "Undo").disabled
    panel.undo(wait=True)
    with pytest.raises(SacError, match="no write of this panel"):
        panel.undo()
    assert panel.status.startswith("undone, ")
    assert facts(model) == before
    assert button(panel, "Undo").disabled


def test_problems_are_a_table_with_row_numbers(make: Callable[..., WritePanel], model: Model) -> None:
    before = facts(model)
    panel = make(plan(4, Store=pl.Series(["S0", "S0", "<i>?</i>", "NORTH"])))
    panel.check(wait=True)
    assert isinstance(panel.error, RowsError)
    assert panel.status == "4 problems in 4 rows; nothing was written"
    shown = text(panel)
    for said in ("The key occurs 2 times", "does not exist", "is a parent", "by the row of your frame (from 0)"):
        assert said in shown
    assert "<i>" not in shown
    assert button(panel, "Write").disabled
    assert facts(model) == before


def test_rows_that_are_left_out_are_shown_before_the_write(make: Callable[..., WritePanel]) -> None:
    panel = make(plan(3, Store=pl.Series(["S0", "S1", "nowhere"])), allow_partial=True)
    panel.check(wait=True)
    assert panel.status == "checked by SAC too, 2 rows can be written, 1 row left out"
    assert "1 row will be left out" in text(panel)
    assert button(panel, "Write").description == "Write 2 rows"


def test_clean_and_replace_asks_for_the_number(make: Callable[..., WritePanel], model: Model) -> None:
    panel = make(plan(2), method="CleanAndReplace")
    panel.check(wait=True)
    assert "CleanAndReplace deletes 5 rows first." in text(panel)
    assert ">removed</td>" in text(panel)
    assert ">\u2013</td>" in text(panel)  # no amount afterwards
    (field,) = [part for part in parts(panel) if isinstance(part, widgets.Text)]
    write = button(panel, "Write")
    for typed in ("", "4", "five", "55"):
        field.value = typed
        assert write.disabled
    with pytest.raises(ConfirmationError, match="would delete 5 rows"):
        panel.write(confirm=4)
    field.value = " 5 "
    assert not write.disabled
    panel.write(wait=True)
    assert (panel.error, panel.result.deleted) == (None, 5)
    assert len(facts(model)) == 24 * 5 - 3


def test_a_cancelled_write_writes_nothing(make: Callable[..., WritePanel], model: Model) -> None:
    before = facts(model)
    panel = make(plan(3))
    panel.check(wait=True)
    steps: list[str] = []

    def stop(change: Any) -> None:
        if "SAC checks" in change.new and panel.status == "writing":
            steps.append(change.new)
            panel.cancel()

    (progress,) = [part for part in parts(panel) if part is panel._view._progress]
    progress.observe(stop, "value")
    panel.write(wait=True)
    assert len(steps) == 1
    assert panel.status == "cancelled; nothing was written"
    assert facts(model) == before


def test_a_run_can_not_be_cancelled(make: Callable[..., WritePanel]) -> None:
    panel = make(plan(3))
    panel.check(wait=True)
    panel._view._progress.observe(
        lambda change: panel.cancel() if "SAC writes" in change.new and panel._step == "run" else None, "value"
    )
    panel.write(wait=True)
    assert panel.result.verified


def test_a_forbidden_write_names_the_grant(make: Callable[..., WritePanel], sandbox: Sandbox) -> None:
    sandbox.misbehave("forbidden", on="import")
    panel = make(plan(1))
    panel.check(wait=True)
    assert isinstance(panel.error, ForbiddenError)
    assert "You may not write into this model (403)." in text(panel)
    assert "Data Import Service" in text(panel)


def test_rows_that_read_back_otherwise_are_a_failure_that_can_be_undone(
    make: Callable[..., WritePanel], sandbox: Sandbox
) -> None:
    panel = make(plan(2))
    panel.check(wait=True)
    sandbox.misbehave("run_writes_nothing")
    panel.write(wait=True)
    assert isinstance(panel.error, WriteError)
    assert panel.status == "2 rows written, and not as asked"
    assert not button(panel, "Undo").disabled


def test_the_frame_is_written_as_it_was_when_the_panel_was_made(make: Callable[..., WritePanel]) -> None:
    frame = pd.DataFrame({"Date": ["202401"], "Store": ["S0"], "Amount": [1.0], "Pieces": [1.0]})
    panel = make(frame)
    frame.loc[0, "Amount"] = 9.0
    assert panel.frame["Amount"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("frame", "options"),
    [(plan(0), {}), (7, {}), (plan(1), {"method": "Upsert"}), (plan(1), {"scope": 7}), (plan(1), {"pivot": 1})],
)
def test_a_mistake_is_an_error_at_once(model: Model, frame: object, options: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        model.write_panel(frame, **{"version": PLAN, **options})


def test_the_magic_makes_a_panel(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    sandbox.add_model(sales())
    shell.user_ns["frame"] = plan(2)
    panel = shell.run(f"%sac write SALES frame --version {PLAN} --panel")
    assert isinstance(panel, WritePanel)
    panel.close()
    with pytest.raises(UsageError, match="asks by itself"):
        shell.run("%sac write SALES frame --panel --dry-run")
