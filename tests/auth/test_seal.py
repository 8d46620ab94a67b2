"""Tracebacks with locals after ``seal``."""

from __future__ import annotations

import traceback

import requests

from sacnb._http import seal

CANARY = "canary-51c3"


def text_of(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def deep(number: int) -> None:
    secret = f"{CANARY}-{number}"
    if number:
        deep(number - 1)
    raise ValueError(len(secret))


def chained() -> None:
    header = {"Authorization": CANARY}
    try:
        deep(3)
    except ValueError as error:
        raise KeyError(len(header)) from error


def in_a_context() -> None:
    header = {"Authorization": CANARY}
    try:
        chained()
    except KeyError:
        raise ExceptionGroup("several", [caught(lambda: deep(1)), TypeError(len(header))])  # noqa: B904


def caught(call: object) -> Exception:
    try:
        call()  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError


def test_seal_clears_locals_and_keeps_lines() -> None:
    error = caught(in_a_context)
    assert CANARY in text_of(error)  # what would be shown without
    seal(error)
    text = text_of(error)
    assert CANARY not in text
    for line in ("in deep", "in chained", "in in_a_context", "deep(number - 1)"):
        assert line in text


def test_the_request_is_taken_off_the_errors_of_requests() -> None:
    request = requests.Request("GET", "https://x.example", headers={"Authorization": CANARY}).prepare()
    error = requests.ConnectionError("x", request=request)
    seal(error)
    assert error.request is None
    assert error.response is None


def test_a_circular_exception_chain_ends() -> None:
    error = ValueError()
    other = TypeError()
    error.__context__, other.__context__ = other, error
    seal(error)
