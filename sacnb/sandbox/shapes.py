"""Give the JSON of a page another shape, by name: ``page_shape`` with the shapes of ``PAGE_SHAPES``.

"Once" is the last row of each page. "The last dimension" is the last text column of the key, "the first measure" the
first column of numbers outside the key. A number with more digits is padded to nine decimals, and a ``1`` follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from sacnb.sandbox.schema import Column

__all__ = ["shape_body", "shape_rows"]

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
_EXTRA: Final = ',"@odata.id":"FactData(1)","Foo":[1,{"a":2}]}'
_DEPTH: Final = 10_000
_NULL_KEY_EVERY: Final = 100


class _Number(str):
    """A number of JSON, as its text."""

    __slots__ = ()


_Value = str | bool | None


def shape_rows(rows: Sequence[str], columns: Sequence[Column], shape: str) -> list[str]:
    """Return the JSON objects of a page in this shape; a shape of the whole body leaves them as they are."""
    if not rows:
        return []
    if shape == "extra_members":
        return [row[:-1] + _EXTRA for row in rows]
    if shape == "deep_value":
        return [f'{rows[0][:-1]},"Deep":{"[" * _DEPTH}{"]" * _DEPTH}}}', *rows[1:]]
    change = _CHANGES.get(shape)
    if change is None:
        return list(rows)
    column_of, step, edit = change
    name = column_of(columns)
    if name is None:
        return list(rows)
    chosen = {len(rows) - 1} if step is None else set(range(0, len(rows), step))
    return [_edited(row, name, edit) if number in chosen else row for number, row in enumerate(rows)]


def shape_body(body: bytes, shape: str) -> bytes:
    """Return the body of a page in this shape; a shape of rows leaves it as it is."""
    text = body.decode()
    match shape:
        case "blanks" | "json_dumps":
            after = {",": ", "} if shape == "blanks" else {",": ", ", ":": ": "}
            text = "".join(after.get(token, token) for token in _TOKEN.findall(text))
        case "pretty":
            text = "".join(_indented(text))
        case "escaped":
            text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)
    return text.encode()


def _indented(text: str) -> Iterator[str]:
    depth = 0
    for part in _TOKEN.findall(text):
        if part in {"{", "["}:
            depth += 1
            yield f"{part}\n{'  ' * depth}"
        elif part in {"}", "]"}:
            depth -= 1
            yield f"\n{'  ' * depth}{part}"
        elif part == ",":
            yield f",\n{'  ' * depth}"
        else:
            yield ": " if part == ":" else part


def _edited(row: str, name: str, edit: Callable[[_Value], str | None]) -> str:
    pairs: list[tuple[str, _Value]] = json.loads(row, parse_float=_Number, parse_int=_Number, object_pairs_hook=list)
    parts = []
    for member, value in pairs:
        text = edit(value) if member == name else _written(value)
        if text is not None:
            parts.append(f"{json.dumps(member, ensure_ascii=False)}:{text}")
    return "{" + ",".join(parts) + "}"


def _written(value: _Value) -> str:
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _last_dimension(columns: Sequence[Column]) -> str | None:
    return next((c.name for c in reversed(columns) if c.key and c.edm_type == "Edm.String"), None)


def _first_measure(columns: Sequence[Column]) -> str | None:
    return next((c.name for c in columns if c.is_number and not c.key), None)


def _exponent(value: _Value) -> str:
    return f"{Decimal(value):E}" if isinstance(value, _Number) else _written(value)


def _quoted(value: _Value) -> str:
    return f'"{value}"' if isinstance(value, _Number) else _written(value)


def _more_digits(value: _Value) -> str:
    return f"{Decimal(value):.9f}1" if isinstance(value, _Number) else _written(value)


# For each shape of rows: the column it changes, every n-th row (None: the last one), and the new text (None: left out).
_CHANGES: Final[
    dict[
        str,
        tuple[Callable[[Sequence[Column]], str | None], int | None, Callable[[_Value], str | None]],
    ]
] = {
    "exponents": (_first_measure, 1, _exponent),
    "exponent_once": (_first_measure, None, _exponent),
    "number_text_once": (_first_measure, None, _quoted),
    "more_digits": (_first_measure, 1, _more_digits),
    "more_digits_once": (_first_measure, None, _more_digits),
    "null_measures": (_first_measure, 3, lambda _: "null"),
    "measures_left_out": (_first_measure, 2, lambda _: None),
    "null_key_once": (_last_dimension, None, lambda _: "null"),
    "null_keys": (_last_dimension, _NULL_KEY_EVERY, lambda _: "null"),
    "text_number_once": (_last_dimension, None, lambda _: "12"),
    "lone_surrogate_once": (_last_dimension, None, lambda _: '"\\ud83d"'),
    "row_separators": (_last_dimension, 1, lambda value: json.dumps(f"}},{{{value}", ensure_ascii=False)),
}
