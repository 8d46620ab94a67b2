"""How far each run of pages of a staged pull is, and how that is written down."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

__all__ = ["ROWS_FORM", "LaneState", "PageFile", "PartFile", "lane_state", "put", "read_object", "to_json"]

# The names that a staged pull gives to files with rows; no other file is ever removed.
ROWS_FORM: Final = re.compile(r"(part|page)-[0-9]{4}-[0-9]{5,}\.(parquet|arrow)")


@dataclass(frozen=True, slots=True)
class PageFile:
    """The rows of one page on the disk: ``first_row`` is the number (from 0) of its first row in its lane.

    ``mark`` is where SAC has it, and ``next_mark`` where the next one is; addresses within the tenant.
    """

    index: int
    file: str
    first_row: int
    rows: int
    sha256: str
    mark: str
    next_mark: str | None


@dataclass(frozen=True, slots=True)
class PartFile:
    """A finished Parquet file."""

    file: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LaneState:
    """How far a lane is.

    The rows of ``parts`` come first; ``pages`` are those whose rows are not all in a part yet. ``next_index`` and
    ``next_mark`` say where to go on; no mark and not ``is_complete`` means from the beginning. ``announced`` is SAC's
    count of its rows. ``failed_mark`` is a link that was asked for in vain.
    """

    announced: int | None = None
    parts: tuple[PartFile, ...] = ()
    pages: tuple[PageFile, ...] = ()
    next_index: int = 0
    next_mark: str | None = None
    is_complete: bool = False
    failed_mark: str | None = None

    @property
    def part_rows(self) -> int:
        """Rows in finished parts."""
        return sum(part.rows for part in self.parts)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.pages[-1].first_row + self.pages[-1].rows if self.pages else self.part_rows

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all its files with rows."""
        return (*(part.file for part in self.parts), *(page.file for page in self.pages))

    def up_to(self, count: int) -> LaneState:
        """The same with the first ``count`` of its pages only, going on with the one after them."""
        lost = self.pages[count]
        return replace(self, pages=self.pages[:count], next_index=lost.index, next_mark=lost.mark, is_complete=False)


def lane_state(values: Mapping[str, Any]) -> LaneState:
    """How far a lane is, by what was written down; as if nothing was where that is damaged."""
    try:
        plain = {**values}
        parts = tuple(PartFile(**one) for one in plain.pop("parts"))
        pages = tuple(PageFile(**one) for one in plain.pop("pages"))
        state = LaneState(parts=parts, pages=pages, **plain)
        return state if _is_sound(state) else LaneState()
    except (KeyError, TypeError):
        return LaneState()


def _is_sound(state: LaneState) -> bool:
    """Whether every file is one of ours, and every mark a path of the tenant."""
    marks = [state.next_mark, *(page.mark for page in state.pages)]
    return all(map(ROWS_FORM.fullmatch, state.files)) and all(mark is None or mark.startswith("/") for mark in marks)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def to_json(values: Any) -> bytes:
    """Plain values as JSON."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def put(path: Path, data: bytes | pa.Buffer, *, durable: bool = False) -> None:
    """Put a file in its place in one step; ``durable`` has it on the disk, name and all, before this returns."""
    part = path.with_name(f".{path.name}.tmp")
    with part.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)
    if durable and os.name != "nt":  # Windows does so unasked
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
