"""Rows as the JSON that an upload takes, cut into chunks by rows and bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

__all__ = ["MAX_BYTES", "MAX_ROWS", "Chunk", "chunks"]

# SAP publishes no limits. Public clients send 50,000 or 100,000 rows at a time (unconfirmed).
MAX_ROWS: Final = 50_000
MAX_BYTES: Final = 8 << 20
_HEAD: Final = b'{"Data":['
_TAIL: Final = b"]}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One upload: its number, where its rows begin, how many they are, and its body."""

    number: int
    start: int
    rows: int
    body: bytes = field(repr=False)


def chunks(rows: pl.DataFrame, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Iterator[Chunk]:
    """Yield the rows in order, in chunks of at most *max_rows* rows, and *max_bytes* unless a single row is longer.

    Decimals are written as plain JSON numbers with all their digits, without trailing zeros, and nulls as ``null``.
    """
    number = 0
    for low in range(0, rows.height, max_rows):
        block = rows.slice(low, max_rows)
        texts = block.select(pl.concat_str(_members(block)).alias("text")).get_column("text")
        ends = texts.str.len_bytes().cast(pl.UInt64) + 1
        start = 0
        while start < block.height:
            sizes = ends.slice(start).cum_sum()
            count = max(1, int((sizes <= max(0, max_bytes - len(_HEAD) - len(_TAIL))).sum()))
            body = ",".join(texts.slice(start, count).to_list()).encode()
            yield Chunk(number, low + start, count, _HEAD + body + _TAIL)
            number += 1
            start += count


def _members(block: pl.DataFrame) -> list[pl.Expr]:
    parts: list[pl.Expr] = []
    for position, name in enumerate(block.columns):
        parts.append(pl.lit(("," if position else "{") + json.dumps(name, ensure_ascii=False) + ":"))
        parts.append(pl.lit(_values(block.get_column(name))))
    return [*parts, pl.lit("}")]


def _values(series: pl.Series) -> pl.Series:
    if series.dtype.is_decimal():
        text = series.cast(pl.String)
        trimmed = text.str.strip_chars_end("0").str.strip_chars_end(".") if series.dtype.scale else text  # type: ignore[attr-defined]
        return trimmed.fill_null("null")
    if series.dtype == pl.String:
        # A dimension has far fewer members than there are rows.
        unique = series.unique()
        quoted = ["null" if one is None else json.dumps(one, ensure_ascii=False) for one in unique]
        return series.replace_strict(unique, pl.Series(quoted, dtype=pl.String), return_dtype=pl.String)
    texts = [json.dumps(one, ensure_ascii=False, default=str) for one in series]
    return pl.Series(texts, dtype=pl.String)
