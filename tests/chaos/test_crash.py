"""A short part of ``make crash``, with a seed of its own."""

from __future__ import annotations

import os

import pytest

from .crash import crash
from .damage import KINDS, damage
from .scenes import SCENES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system neither forks nor kills so")


@pytest.mark.timeout(300)
def test_what_is_killed_leaves_the_last_good_result_and_ends_right_when_run_again() -> None:
    report = crash(3, range(5))
    assert report.wrong == []
    assert report.runs == 5
    assert set(report.jobs) == {scene.job for scene in SCENES}
    assert report.ended["killed"] > 1, "the runs were disturbed"


@pytest.mark.timeout(300)
def test_a_damaged_byte_is_noticed_or_harmless() -> None:
    report = damage(3, 1, files=2)
    assert report.wrong == []
    assert set(report.damages) == {kind.kind for kind in KINDS}
    assert sum(report.noticed.values()) > 3, "some damage is noticed"
