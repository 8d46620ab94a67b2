"""Empty what a traceback would show of secrets."""

from __future__ import annotations

import traceback

import requests


def seal(error: BaseException) -> None:
    """Clear the local variables of every finished frame that ``error``, its causes and its contexts came through.

    Tools that print tracebacks with locals (rich, Sentry, pytest --showlocals) would otherwise show the header
    dictionaries of requests and the send buffer of http.client, with the bearer token in them. The lines of the
    traceback stay. The request and response that requests hangs on its exceptions go too, for the same reason.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        if isinstance(current, requests.RequestException):
            current.request = None
            current.response = None
        if isinstance(current, BaseExceptionGroup):
            todo.extend(current.exceptions)
        todo += [current.__cause__, current.__context__]
