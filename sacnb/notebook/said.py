"""Lines of text as the output of a cell."""

from __future__ import annotations

__all__ = ["Said"]


class Said:
    """Lines to read; they show themselves as they are."""

    __slots__ = ("_text",)

    def __init__(self, *lines: str) -> None:
        self._text = "\n".join(lines)

    def __repr__(self) -> str:
        return self._text
