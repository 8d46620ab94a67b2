"""The document says what its numbers say, and the numbers are held to the targets."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tests"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "performance.json").read_text(encoding="utf-8"))
    return found


def test_the_document_is_what_its_numbers_make(load: Any, stored: dict[str, Any]) -> None:
    written = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert load("document").render(stored) == written, "run: PYTHONPATH=tests python -m benchmarks --render"


def test_its_pictures_are_there_for_light_and_dark_and_have_words(stored: dict[str, Any], load: Any) -> None:
    text = load("document").render(stored)
    pictures = load("pictures")
    for name in (pictures.RATIO, pictures.GROWTH, pictures.MEMORY):
        for theme in pictures.THEMES:
            assert f"pictures/{name}_{theme}.png" in text
            assert (ROOT / "docs" / "pictures" / f"{name}_{theme}.png").read_bytes().startswith(b"\x89PNG")
    assert text.count('<img alt="') == text.count("<picture>") == 3
    assert '<img alt=""' not in text


def test_it_is_of_a_whole_run(stored: dict[str, Any], load: Any) -> None:
    full, results = load("suite").FULL, load("results").Results(stored)
    assert results.million == full.million
    assert [run["rows"] for run in results.growth("ours:stream")] == list(full.growth)
    assert results.partitioned_rows == (full.million, full.cached)
    assert stored["cache"]["read"]["rows"] == full.cached


def test_every_target_is_shown_with_its_verdict(stored: dict[str, Any], load: Any) -> None:
    targets, results = load("targets"), load("results").Results(stored)
    text = load("document").render(stored)
    for target in targets.TARGETS:
        verdict = targets.verdict(target, results)
        assert f"| {target.what} | {target.aim} | {targets.shown(target, results)} | {verdict} |" in text
        assert (verdict == "met") == target.is_met(results)


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [
        (3.5, True, "met"),
        (2.8, True, "**missed** by 20%: it is slow"),
        (3.5, False, "met"),
        (4.2, False, "**missed** by 20%: it is slow"),
    ],
)
def test_a_missed_target_says_by_how_much_and_why(load: Any, value: float, at_least: bool, verdict: str) -> None:
    targets, results = load("targets"), load("results").Results({})
    target = targets.Target("x", 3.5, lambda _: value, "it is slow", at_least=at_least)
    assert targets.verdict(target, results) == verdict


def test_the_exponent_is_that_of_the_growth(load: Any) -> None:
    exponent = load("results").exponent
    sizes = [10**5, 10**6, 10**7]
    assert exponent(sizes, [3 * size for size in sizes]) == pytest.approx(1)
    assert exponent(sizes, [size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [7, 7, 7]) == pytest.approx(0)


def test_a_run_beside_snowflakes_sdk_is_shown_with_its_goals(load: Any, stored: dict[str, Any]) -> None:
    def run(candidate: str, seconds: float, **options: Any) -> dict[str, Any]:
        one = {"dictionaries_s": 2.5, "samples": [[at / 10, 100.0 + at] for at in range(10)]}
        cost = {"cpu_s": 1.0, "simulator_cpu_s": 2.0, "above_idle_mb": 9.0}
        return {"candidate": candidate, "seconds": seconds, **cost, "runs": [one], **options}

    runs = [
        run("snowflake:ours", 6.0, channels=1),
        run("snowflake:ours", 4.0, channels=4),
        run("snowflake:sdk", 5.0),
        run("snowflake:naive", 14.0),
        run("snowflake:load", 12.0, channels=3),
    ]
    results = load("results").Results({**stored, "snowflake": {"runs": runs, "sign_ms": 1.5, "guard_ms": 0.01}})
    text = load("sections").into_snowflake(results)
    assert "Four channels take 0.80 times as long as the SDK" in text
    assert "the naive client 3.50 times" in text
    assert "100, 102, 104, 106, 108 MB" in text
    assert load("sections").into_snowflake(load("results").Results({})) == ""
