"""A program that starts while SAC is away still finds what was kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacnb._tenant import Tenant
from sacnb.errors import ForbiddenError, ServerError
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
QUESTION: dict[str, Any] = {"where": {"Version": "public.Actual"}, "since": "2015"}


@pytest.fixture
def kept(sandbox: Sandbox, connect_to: ConnectTo) -> int:
    """The rows that an earlier program refreshed."""
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    model.facts(where={"Sector": "31"}).refresh()
    return len(model.facts(**QUESTION).refresh())


def test_the_last_good_result_is_served_to_a_model_that_never_saw_its_metadata(
    kept: int, sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    sandbox.misbehave("error_503")
    result = connect_to(sandbox).model("US_EMPLOYMENT").facts(**QUESTION).refresh()
    assert (result.stale, len(result)) == (True, kept)
    assert result.warning is not None
    assert "503" in result.warning


def test_aggregated_facts_too(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    before = connect_to(sandbox).model("US_EMPLOYMENT").facts(dims=["Date", "Version"], **QUESTION).refresh()
    sandbox.misbehave("token_500")
    after = connect_to(sandbox).model("US_EMPLOYMENT").facts(dims=["Date", "Version"], **QUESTION).refresh()
    assert after.stale
    assert after.arrow().equals(before.arrow())


def test_strict_raises_what_happened(kept: int, sandbox: Sandbox, connect_to: ConnectTo) -> None:
    sandbox.misbehave("error_503")
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(**QUESTION)
    with pytest.raises(ServerError):
        facts.refresh(strict=True)


def test_a_look_at_the_schema_itself_is_never_answered_from_the_cache(
    kept: int, sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    sandbox.misbehave("error_503")
    with pytest.raises(ServerError):
        _ = connect_to(sandbox).model("US_EMPLOYMENT").schema


def test_a_clear_refusal_of_the_metadata_is_not_covered_up(kept: int, sandbox: Sandbox, connect_to: ConnectTo) -> None:
    sandbox.misbehave("forbidden")
    with pytest.raises(ForbiddenError):
        connect_to(sandbox).model("US_EMPLOYMENT").facts(**QUESTION)


@pytest.mark.parametrize("model_id", ["PLANNING", "SCALE"])
def test_results_of_another_model_do_not_help(
    model_id: str, kept: int, sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    sandbox.misbehave("error_503")
    with pytest.raises(ServerError):
        connect_to(sandbox).model(model_id).facts()


def test_a_damaged_result_is_passed_over(kept: int, sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path) -> None:
    newest = max((tmp_path / "cache").glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    content[8:200] = bytes(192)
    newest.write_bytes(content)
    sandbox.misbehave("error_503")
    result = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"}).refresh()
    assert result.stale
    with pytest.raises(ServerError) as caught:
        connect_to(sandbox).model("US_EMPLOYMENT").facts(**QUESTION).refresh()
    assert any("cannot be served instead" in note for note in caught.value.__notes__)
