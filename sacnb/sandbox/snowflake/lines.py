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

_BLANK: Final = re.compile(rb"\n[ \t\r]*(?:\n|\Z)|\A\s")
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
    expected = filled(lines)
    if not expected or _CONSTANT.search(lines):
        return None
    try:
        lines.decode()
        options = pj.ReadOptions(use_threads=False, block_size=1 << 22)
        read = pj.read_json(pa.BufferReader(lines), read_options=options)
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return expected if read.num_rows == expected else None


def filled(lines: bytes) -> int:
    """Return the number of lines that are not empty."""
    if _BLANK.search(lines):
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
