"""Lines and small tables of text as the output of a cell."""

from __future__ import annotations

from collections.abc import Mapping

from sacnb._rendering import Preview, Previewed, fact_table

__all__ = ["Said", "Told"]


class Said:
    """Lines to read; they show themselves as they are."""

    __slots__ = ("_text",)

    def __init__(self, *lines: str) -> None:
        self._text = "\n".join(lines)

    def __repr__(self) -> str:
        return self._text


class Told(Previewed):
    """Names and values to read."""

    __slots__ = ("_table",)

    def __init__(self, title: str, facts: Mapping[str, str]) -> None:
        self._table = fact_table(title, facts)

    def __repr__(self) -> str:
        return self._table.text()

    def _preview(self) -> Preview:
        return self._table
