"""A short part of ``make fuzz`` with a seed of its own, and every input that was once taken wrongly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from sacnb.errors import SacError

from . import run
from .run import CORPUS, corpus_of, fuzz
from .targets import TARGETS

NAMED = [(target, path.name) for target in TARGETS for path in sorted((CORPUS / target).glob("found_*"))]


@pytest.mark.parametrize(("target", "name"), NAMED)
def test_what_was_found_is_read_or_refused(target: str, name: str) -> None:
    started = time.thread_time()
    with suppress(SacError):
        TARGETS[target](dict(corpus_of(target))[name])
    assert time.thread_time() - started < run.MOST_S


def test_mutated_inputs_give_a_value_or_an_error_of_ours() -> None:
    report = fuzz(9, inputs=25)
    assert report.findings == []
    assert set(report.inputs) == set(TARGETS)
    assert sum(report.refused.values()) > 100


def test_each_target_has_inputs_that_it_reads() -> None:
    """Else it would be tried with garbage alone."""
    for target, call in TARGETS.items():
        read = 0
        for _, data in corpus_of(target):
            try:
                call(data)
            except SacError:
                continue
            read += 1
        assert read, target


@pytest.mark.parametrize(
    ("most_s", "spoiled", "problem"),
    [(2, lambda _: json.loads("{"), "JSONDecodeError"), (-1, lambda _: None, "takes too long")],
)
def test_a_target_that_goes_wrong_is_found(
    most_s: float, spoiled: Callable[[bytes], object], problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"FOUND": tmp_path, "TARGETS": {"link": spoiled}, "MOST_S": most_s}.items():
        monkeypatch.setattr(run, name, value)
    monkeypatch.setattr(run, "_time_limit", lambda _: nullcontext())
    (found,) = fuzz(1, inputs=1, targets=["link"]).findings
    assert found.problem.partition(":")[0] == problem
    assert len(Path(found.file).read_bytes()) <= 1
