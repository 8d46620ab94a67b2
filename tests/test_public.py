"""Public classes name their public home, and errors survive the way between processes."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import sacnb
import sacnb._tenant  # with it every room that has errors of its own
from sacnb import errors
from sacnb.errors import Attempt, RetryOutcome, SacError, SacWarning, UnknownNameError

OUTCOME = RetryOutcome("read", (Attempt(503, None, 0.5, "r-1"), Attempt(None, "tls", 0.0, None)), 503, 1.5)
ARGUMENTS: dict[str, Any] = {
    "changed": True,
    "code": "ERR_CHANNEL_MUST_BE_REOPENED",
    "column": "Sector",
    "committed": 7,
    "affected": {"Version": ["public.Plan"], "rows": [2]},
    "appended": 9,
    "differences": {"Date": ["202401"]},
    "job_id": "0f1c",
    "report": "a report",
    "state": "FAILED",
    "last_message": "Numeric value 'x' is not recognized",
    "rows": 2,
    "error_code": "non_retriable",
    "extra": "sandbox",
    "hint": "Do this.",
    "kind": "model",
    "known": ["US_EMPLOYMENT", "BUDGET"],
    "last_attempt_at": datetime(2026, 3, 1, tzinfo=UTC),
    "message": "It went wrong.",
    "method": "POST",
    "name": "US_EMPLOYMNT",
    "nearest": ["GET /a"],
    "outcome": OUTCOME,
    "problems": ["SAC_STREAMS is 'x'.", "SAC_TENANT_URL is missing."],
    "repair_command": "sacnb cache clear",
    "request_id": "r-1",
    "retry_after_s": 7.5,
    "row": 3,
    "run": None,
    "sac_number": 1402,
    "status": 503,
    "step": "append",
    "truncated": True,
    "url": "https://acme.example/api",
    "what": "The sandbox",
    "where": "the tenant",
}


def tree(root: type[Any]) -> Iterator[type[Any]]:
    """Every class of ours below *root*, *root* included."""
    yield root
    for child in root.__subclasses__():
        if child.__module__.partition(".")[0] == "sacnb":
            yield from tree(child)


def example(kind: type[SacError]) -> SacError:
    """An error of *kind* with every argument that its constructor takes, notes and an attribute set later."""
    names = _names(kind)
    error = kind(**{name: ARGUMENTS[name] for name in names})
    error.add_note("A note.")
    error.outcome = OUTCOME
    error.set_later = ("by", "somebody")  # type: ignore[attr-defined]
    return error


def _names(kind: type[Any]) -> list[str]:
    """The arguments of a constructor; with ``**about`` also those of the class above it."""
    parameters = inspect.signature(kind).parameters.values()
    names = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]
    return names if len(names) == len(parameters) else list(dict.fromkeys([*names, *_names(kind.__base__)]))


def attributes(error: SacError) -> dict[str, Any]:
    extra = {name: getattr(error, name) for name in ("name", "path", "msg") if hasattr(error, name)}
    return {**vars(error), **extra, "args": error.args, "str": str(error), "notes": error.__notes__}


@pytest.mark.parametrize("kind", list(tree(SacError)), ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_all_its_attributes(kind: type[SacError]) -> None:
    error = example(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        arrived = pickle.loads(pickle.dumps(error, protocol))
        assert type(arrived) is kind
        assert attributes(arrived) == attributes(error)


@pytest.mark.parametrize("kind", list(tree(SacError)), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy])
def test_every_error_can_be_copied(kind: type[SacError], copying: Any) -> None:
    error = example(kind)
    copied = copying(error)
    assert type(copied) is kind
    assert copied is not error
    assert attributes(copied) == attributes(error)


@pytest.mark.parametrize("kind", list(tree(SacWarning)), ids=lambda kind: kind.__name__)
def test_every_warning_survives_pickling(kind: type[SacWarning]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("Rows are missing.")))
    assert (type(arrived), arrived.args) == (kind, ("Rows are missing.",))


def test_an_error_of_a_users_own_survives_too() -> None:
    error = OfAUser("budget", limit=3)
    arrived = pickle.loads(pickle.dumps(error))
    assert (arrived.limit, str(arrived)) == (3, str(error))


class OfAUser(UnknownNameError):
    def __init__(self, name: str, *, limit: int) -> None:
        super().__init__("plan", name)
        self.limit = limit


def test_an_error_that_refers_to_itself_survives() -> None:
    error = SacError("It went wrong.")
    error.again = error  # type: ignore[attr-defined]
    arrived = pickle.loads(pickle.dumps(error))
    assert arrived.again is arrived


@pytest.mark.parametrize("name", [name for name in sacnb.__all__ if inspect.isclass(getattr(sacnb, name))])
def test_a_public_class_says_that_it_lives_in_sacnb(name: str) -> None:
    public = getattr(sacnb, name)
    assert (public.__module__, public.__qualname__) == ("sacnb", name)
    assert pickle.loads(pickle.dumps(public)) is public


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - set(sacnb.__all__) - {"warn_user"}))
def test_every_other_error_says_that_it_lives_in_sacnb_errors(name: str) -> None:
    public = getattr(errors, name)
    assert (public.__module__, public.__qualname__) == ("sacnb.errors", name)


def test_the_tree_of_errors_is_the_one_in_the_documentation() -> None:
    drawn = errors.__doc__ or ""
    kinds = [kind for root in (SacError, SacWarning) for kind in tree(root)]
    names = {kind.__name__ for kind in kinds if not kind.__module__.startswith("sacnb._")}
    assert names <= set(errors.__all__)
    for name in names:
        assert f" {name} " in drawn or f" {name}\n" in drawn


def test_warnings_point_at_the_line_of_the_user() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        errors.warn_user("Rows are missing.", errors.RowCountWarning)
    assert caught[0].filename == __file__
