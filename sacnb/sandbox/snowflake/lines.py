"""Read NDJSON as Snowflake loads it: rows that are objects are taken, others are counted and left out."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.json as pj

__all__ = ["Loaded", "filled", "load_lines"]

# Found many times as fast as a regular expression finds anything.
_MAY_BE_BLANK: Final = (b"\n\n", b"\n\r", b"\n ", b"\n\t")
_MAY_BE_CONSTANT: Final = (b"NaN", b"Inf")
_CONSTANT: Final = re.compile(rb"[:\[,]\s*-?(?:NaN|Inf)")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The rows that can be loaded, their number, that of the others, and what is wrong with the last of those."""

    lines: bytes
    rows: int
    errors: int = 0
    message: str = ""


def load_lines(lines: bytes) -> Loaded:
    """Return what can be loaded of *lines*. Empty ones count as nothing: Snowflake's SDK sends them between appends."""
    rows = _rows_of_good(lines)
    return Loaded(lines, rows) if rows is not None else _line_by_line(lines)


def _rows_of_good(lines: bytes) -> int | None:
    """Return the number of rows where all lines are objects; ``None`` where that is not certain.

    pyarrow reads many times as fast as Python does. It refuses what is no JSON, but for NaN and infinities, and also
    some of what is, such as a column of texts and numbers.
    """
    if any(mark in lines for mark in _MAY_BE_CONSTANT) and _CONSTANT.search(lines):
        return None
    try:
        if not lines.isascii():
            lines.decode()
        options = pj.ReadOptions(use_threads=False, block_size=1 << 22)
        rows: int = pj.read_json(pa.BufferReader(lines), read_options=options).num_rows
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return rows if rows == filled(lines) else None


def filled(lines: bytes) -> int:
    """Return the number of lines that are not empty."""
    if lines[:1].isspace() or any(mark in lines for mark in _MAY_BE_BLANK):
        return sum(1 for line in io.BytesIO(lines) if not line.isspace())
    return lines.count(b"\n") + (lines[-1:] not in {b"\n", b""})


def _line_by_line(lines: bytes) -> Loaded:
    rows = errors = 0
    message = ""
    good: list[bytes] = []
    for line in io.BytesIO(lines):
        if line.isspace():
            continue
        try:
            value = _DECODER.decode(line.decode())
        except ValueError as error:
            value, problem = None, f"Error parsing JSON: {error}"
        else:
            problem = "Error parsing JSON: a row must be an object"
        if isinstance(value, dict):
            rows += 1
            good.append(line)
        else:
            errors += 1
            message = problem
    return Loaded(b"".join(good) if errors else lines, rows, errors, message)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)
