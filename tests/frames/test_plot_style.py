"""Colours that stand out from their ground, that colour-blind eyes can tell apart, and that versions keep."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sacnb._charts.style import COLOURS, OUTCOMES, PAPERS, SHAPES, looks, version_order, version_text

# Machado, Oliveira and Fernandes (2009), full severity: how red-, green- and blue-blind eyes see linear RGB.
EYES = {
    "all colours": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour: str) -> Any:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Any) -> Any:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio, from 1 to 21."""
    high, low = sorted((float(linear(c) @ np.array([0.2126, 0.7152, 0.0722])) for c in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("eyes", EYES)
def test_any_two_colours_differ_for_any_eyes(eyes: str) -> None:
    seen = {colour: lab(EYES[eyes] @ linear(colour)) for colour in COLOURS}
    distances = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(COLOURS, 2)}
    assert min(distances.values()) >= 16, min(distances, key=distances.__getitem__)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_and_text_stand_out_from_the_ground(theme: Any) -> None:
    paper = PAPERS[theme]
    assert contrast(paper.text, paper.ground) >= 7
    for colour in (*COLOURS, *OUTCOMES.values(), paper.total):
        assert contrast(colour, paper.ground) >= 3, colour


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("eyes", EYES)
def test_totals_do_not_look_like_a_step(eyes: str, theme: Any) -> None:
    total = lab(EYES[eyes] @ linear(PAPERS[theme].total))
    assert all(np.linalg.norm(total - lab(EYES[eyes] @ linear(one))) >= 16 for one in OUTCOMES.values())


@pytest.mark.parametrize("first", [[], ["Actual"], ["Plan", "Plan B"], ["Actual", "Budget", "Forecast"]])
def test_members_differ_in_colour_and_shape(first: list[str]) -> None:
    members = [*first, *(f"M{i}" for i in range(len(COLOURS) - len(first)))]
    made = looks(members, versions=bool(first))
    assert len({look.colour for look in made}) == len(COLOURS)
    assert len({look.shape for look in made}) == len(SHAPES) == len(COLOURS)


@pytest.mark.parametrize("others", [[], ["Actual"], ["Actual", "Forecast"], ["What if", "private"]])
def test_a_version_looks_the_same_whoever_stands_beside_it(others: list[str]) -> None:
    (alone,) = looks(["Plan"], versions=True)
    members = [*others, "Plan"]
    made = dict(zip(members, looks(members, versions=True), strict=True))
    assert made["Plan"] == alone
    assert (alone.colour, alone.dash) == ("#d55e00", (6, 3))
    assert len({(look.colour, look.shape) for look in made.values()}) == len(members)


@pytest.mark.parametrize(
    ("version", "colour"),
    [
        ("Actual", "#0072b2"),
        ("public.Actual", "#0072b2"),
        ("ACTUALS", "#0072b2"),
        ("public.Plan", "#d55e00"),
        ("plan_2026", "#d55e00"),
        ("Budget 2026", "#d55e00"),
        ("public.ForecastV2", "#009e73"),
        ("Rolling Forecast", "#009e73"),
        ("Explanation", "#cc79a7"),  # is no plan
        ("Was-wäre-wenn", "#cc79a7"),
    ],
)
def test_versions_are_known_by_their_words(version: str, colour: str) -> None:
    (look,) = looks([version], versions=True)
    assert look.colour == colour


def test_two_plans_do_not_look_the_same() -> None:
    first, second = looks(["Plan A", "Plan B"], versions=True)
    assert first.colour != second.colour


def test_versions_are_sorted_and_called_as_in_a_report() -> None:
    versions = ["public.Forecast", "public.Budget", "What if", "public.Actual"]
    assert [version_text(one) for one in sorted(versions, key=version_order)] == [
        "Actual",
        "Budget",
        "Forecast",
        "What if",
    ]
    assert version_text("public.") == "public."
