"""Write rows as JSON and CSV, and compress bodies.

polars builds the JSON with one string expression per column: pages of 50,000 rows take some tens of milliseconds, and
decimals keep every digit because they never pass through a float.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Final

import polars as pl

from sacnb.sandbox.schema import NUMERIC_TYPES, Column

__all__ = ["csv_text", "gzip_bytes", "gzip_with_blanks", "json_rows"]

_CONTROL: Final = [chr(code) for code in range(0x20)]
_SPECIAL: Final = ["\\", '"', *_CONTROL]
_ESCAPED: Final = [json.dumps(char)[1:-1] for char in _SPECIAL]
_FLOATS: Final = frozenset({"Edm.Single", "Edm.Double"})
_BARE: Final = frozenset({"Edm.Boolean"}) | NUMERIC_TYPES
_NEEDS_ESCAPE: Final = r'["\\\x00-\x1f]'


def json_rows(frame: pl.DataFrame, columns: Sequence[Column], *, trim: bool, as_text: bool = False) -> pl.Series:
    """Return one JSON object per row, as strings.

    Args:
        frame: the rows, in the types of ``schema.polars_type``.
        columns: the columns to write, in order.
        trim: write decimals without trailing zeros.
        as_text: write numbers in quotes (the ``IEEE754Compatible`` form, which SAC is not known to use).
    """
    strings = [c.name for c in columns if c.edm_type == "Edm.String"]
    special = frame.select(pl.col(strings).str.contains(_NEEDS_ESCAPE).any()) if strings else pl.DataFrame()
    parts: list[pl.Expr] = []
    for position, column in enumerate(columns):
        label = ("{" if position == 0 else ",") + json.dumps(column.name, ensure_ascii=False) + ":"
        text = plain_text(column, trim=trim)
        # Searching for characters to escape is ten times cheaper than replacing them.
        if column.name in special.columns and special.get_column(column.name).item():
            text = text.str.replace_many(_SPECIAL, _ESCAPED)
        is_quoted = column.edm_type not in _BARE or (as_text and column.is_number)
        if column.left_out_if_null and position:
            member = pl.concat_str(pl.lit(label), _nullable(column, text, is_quoted=is_quoted, as_text=as_text))
            parts.append(pl.when(pl.col(column.name).is_null()).then(pl.lit("")).otherwise(member))
        elif is_quoted and column.edm_type not in _FLOATS and frame.get_column(column.name).null_count() == 0:
            parts += [pl.lit(label + '"'), text, pl.lit('"')]
        else:
            parts += [pl.lit(label), _nullable(column, text, is_quoted=is_quoted, as_text=as_text)]
    parts.append(pl.lit("}"))
    return frame.select(pl.concat_str(parts).alias("row")).get_column("row")


def _nullable(column: Column, text: pl.Expr, *, is_quoted: bool, as_text: bool) -> pl.Expr:
    quoted = pl.concat_str(pl.lit('"'), text, pl.lit('"'))
    if column.edm_type in _FLOATS and not as_text:
        # In OData's JSON NaN and the infinities are strings; all other numbers have no quotes.
        return pl.when(pl.col(column.name).is_finite()).then(text).otherwise(quoted).fill_null("null")
    return (quoted if is_quoted else text).fill_null("null")


def plain_text(column: Column, *, trim: bool) -> pl.Expr:  # noqa: PLR0911 - a table of types
    """Return the text of each value as OData writes it, without quotes; null stays null."""
    value = pl.col(column.name)
    match column.edm_type:
        case "Edm.String" | "Edm.Guid":
            return value
        case "Edm.Decimal":
            text = value.cast(pl.String)
            if trim and (column.scale or 0) > 0:
                return text.str.strip_chars_end("0").str.strip_chars_end(".")
            return text
        case "Edm.Single" | "Edm.Double":
            special = pl.when(value.is_nan()).then(pl.lit("NaN")).when(value > 0).then(pl.lit("INF"))
            infinite = special.when(value < 0).then(pl.lit("-INF"))  # null stays null
            return pl.when(value.is_finite()).then(value.cast(pl.String)).otherwise(infinite)
        case "Edm.TimeOfDay":
            return value.dt.to_string("%H:%M:%S%.6f")
        case "Edm.DateTimeOffset":
            return value.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        case "Edm.Duration":
            return _duration(column.name)
        case "Edm.Binary":
            # OData's JSON format uses base64url; polars encodes the other alphabet.
            encoded = value.bin.encode("base64")
            return encoded.str.replace_all("+", "-", literal=True).str.replace_all("/", "_", literal=True)
        case _:
            return value.cast(pl.String)


def _duration(name: str) -> pl.Expr:
    """``[-]P<days>DT<seconds>.<micros>S``, exact to the microsecond."""
    micros = pl.col(name).dt.total_microseconds()
    size = micros.abs()
    sign = pl.when(micros < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    seconds = size // 1_000_000
    return pl.concat_str(
        sign,
        pl.lit("P"),
        (seconds // 86_400).cast(pl.String),
        pl.lit("DT"),
        (seconds % 86_400).cast(pl.String),
        pl.lit("."),
        (size % 1_000_000).cast(pl.String).str.zfill(6),
        pl.lit("S"),
    )


def csv_text(frame: pl.DataFrame, columns: Sequence[Column], *, trim: bool, delimiter: str) -> bytes:
    """Return a header line and the rows as CSV (RFC 4180); null is an empty field."""
    text = frame.select(plain_text(c, trim=trim).alias(c.name) for c in columns)
    return text.write_csv(separator=delimiter, line_terminator="\r\n").encode()


def gzip_bytes(body: bytes) -> bytes:
    """Compress with gzip at level 1, as a server under load does."""
    packer = zlib.compressobj(1, zlib.DEFLATED, wbits=31)
    return packer.compress(body) + packer.flush()


def gzip_with_blanks(body: bytes, mib: int) -> bytes:
    """Compress ``body`` with this many MiB of blanks behind it, which take about a thousandth of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits=31)
    blanks = b" " * (1 << 20)
    return b"".join([packer.compress(body), *(packer.compress(blanks) for _ in range(mib)), packer.flush()])
