"""Everything that a tool could show of an error."""

from __future__ import annotations

import traceback


def shown(error: BaseException, *without: str) -> str:
    """Text, attributes, and traceback with locals of an error and its chain; less the frames of the files *without*."""
    parts: list[str] = []
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        trace = traceback.TracebackException.from_exception(current, capture_locals=True)
        frames = [frame for frame in trace.stack if frame.filename not in without]
        parts += [str(current), repr(current), repr(vars(current)), *(repr(frame.locals) for frame in frames)]
        todo += [current.__context__, current.__cause__]
    return "".join(parts)
