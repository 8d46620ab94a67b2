"""Read and write tables as Parquet, CSV and Arrow files. A failed write leaves the old file in place."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from sacnb._arguments import folder
from sacnb._files import replacing
from sacnb._frames.convert import to_polars
from sacnb._frames.types import duration_text

__all__ = ["Target", "UnusableFileError", "read_footer", "read_parquet", "write_arrow", "write_csv", "write_parquet"]

Target: TypeAlias = str | os.PathLike[str] | IO[bytes]

# Smaller row groups make files a fifth larger; this many rows are about ten megabytes.
_ROW_GROUP_ROWS: Final = 1_000_000

_MAGIC: Final = b"PAR1"


class UnusableFileError(ValueError):
    """A file that cannot be used; the message is the end of a sentence that begins with its path."""


@contextmanager
def opened(target: Target) -> Iterator[IO[bytes]]:
    """Yield a seekable binary stream that ends up in *target*. Raises QueryError for what is no path and no stream."""
    if isinstance(target, str | os.PathLike | io.TextIOBase) or not hasattr(target, "seekable"):
        with replacing(folder("target", target)) as file:
            yield file
    elif target.seekable():
        yield target
    else:  # such as a pipe
        buffer = io.BytesIO()
        yield buffer
        target.write(buffer.getbuffer())


def write_parquet(table: pa.Table, metadata: Mapping[str, str], target: Target) -> None:
    """Write a table as Parquet: zstd, checksums, row groups of a million rows, *metadata* in the footer.

    The same table and metadata give the same bytes (with the same pyarrow), whatever the chunks.
    """
    table = table.replace_schema_metadata(None)
    with (
        opened(target) as stream,
        pq.ParquetWriter(
            stream, table.schema, compression="zstd", compression_level=1, write_page_checksum=True
        ) as writer,
    ):
        for start in range(0, max(table.num_rows, 1), _ROW_GROUP_ROWS):
            writer.write_table(table.slice(start, _ROW_GROUP_ROWS).combine_chunks(), row_group_size=_ROW_GROUP_ROWS)
        # Not in the Arrow schema, which would write it a second time in base64.
        writer.add_key_value_metadata(dict(metadata))


def write_arrow(table: pa.Table, metadata: Mapping[str, str], target: Target) -> None:
    """Write a table as an uncompressed Arrow IPC file, which can be memory-mapped."""
    table = table.replace_schema_metadata(dict(metadata))
    with opened(target) as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)


# A spreadsheet takes a text that begins with one of these for a formula.
_FORMULA: Final = r"^[=+\-@\t\r]"


def write_csv(table: pa.Table, target: Target, *, separator: str = ",", escape_formulas: bool = False) -> None:
    """Write a table as CSV in UTF-8, with a header, all digits of decimals, and an empty field for null.

    An empty string is written as ``""``. Time stamps are in UTC, durations in ISO 8601, binaries in base64. With
    *escape_formulas* a text or column name that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    frame = _for_csv(table)
    if escape_formulas:
        frame = frame.with_columns(pl.col(pl.String).str.replace(_FORMULA, "'$0"))
        frame = frame.rename({name: re.sub(_FORMULA, r"'\g<0>", name) for name in frame.columns})
    with opened(target) as stream:
        frame.write_csv(stream, separator=separator, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")


def _for_csv(table: pa.Table) -> pl.DataFrame:
    for i, field in enumerate(table.schema):
        column = table.column(i)
        texts: list[str | None] | None = None
        if pa.types.is_decimal256(field.type):  # polars has no decimal256
            texts = [None if value is None else f"{value:f}" for value in column.to_pylist()]
        elif pa.types.is_duration(field.type):
            size = 1000 if field.type.unit == "us" else 1
            texts = [None if v is None else duration_text(v * size) for v in column.cast(pa.int64()).to_pylist()]
        if texts is not None:
            table = table.set_column(i, field.with_type(pa.string()), pa.chunked_array([pa.array(texts, pa.string())]))
    frame = to_polars(table, decimals=True)
    return frame.with_columns(pl.col(pl.Binary).bin.encode("base64"))


@contextmanager
def _reading(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file that verifies its checksums.

    Raises:
        UnusableFileError: The file is empty, was cut short, or is damaged.
    """
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
        if not start:
            raise UnusableFileError("is empty")
        if start != _MAGIC:
            raise UnusableFileError("is not a Parquet file")
        file.seek(-min(len(_MAGIC), path.stat().st_size), os.SEEK_END)
        if file.read() != _MAGIC or file.tell() < 3 * len(_MAGIC):
            raise UnusableFileError("is incomplete")
    try:
        # Open by path: pyarrow's threads release a Python file object shortly after the read, and a process that exits
        # just then aborts (13 of 80 runs with pyarrow 26 and Python 3.11).
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise UnusableFileError(f"is damaged ({e})") from e


def read_footer(path: Path) -> tuple[pa.Schema, dict[str, str]]:
    """Read the columns of a file of ``write_parquet`` and its metadata, without the rows.

    Raises:
        UnusableFileError: The file is empty, was cut short, or is damaged.
        OSError: It cannot be opened.
    """
    with _reading(path) as parquet:
        return parquet.schema_arrow, _texts(parquet)


def read_parquet(path: Path) -> tuple[pa.Table, dict[str, str]]:
    """Read the table and the metadata of a file of ``write_parquet``.

    Raises:
        UnusableFileError: The file is empty, was cut short, or is damaged.
        OSError: It cannot be opened.
    """
    with _reading(path) as parquet:
        return parquet.read().replace_schema_metadata(None), _texts(parquet)


def _texts(parquet: pq.ParquetFile) -> dict[str, str]:
    pairs = parquet.metadata.metadata or {}
    return {key.decode(): value.decode("utf-8", "replace") for key, value in pairs.items() if key != b"ARROW:schema"}
