"""Read and write tables as Parquet, CSV, Excel and Arrow files. A failed write leaves the old file in place."""

from __future__ import annotations

import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias, overload

import polars as pl
import pyarrow as pa
import pyarrow.ipc

from sacnb._arguments import flag, folder, names, text, whole_number
from sacnb._files import NO_DIGEST, Sealed, digest_of_file, replacing
from sacnb._fork import is_polars_lost
from sacnb._frames.convert import to_polars, with_floats
from sacnb._frames.preview import as_shown
from sacnb._frames.types import duration_text
from sacnb.errors import ContractError, MissingExtraError, UnknownNameError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = [
    "EXCEL_ROWS",
    "Tabular",
    "Target",
    "UnusableFileError",
    "read_footer",
    "read_parquet",
    "write_arrow",
    "write_csv",
    "write_excel",
    "write_parquet",
]

Target: TypeAlias = str | os.PathLike[str] | IO[bytes]

# Smaller row groups make files a fifth larger; this many rows are about ten megabytes.
_ROW_GROUP_ROWS: Final = 1_000_000
_MAGIC: Final = b"PAR1"
# Not one of the keys "sacnb.": earlier versions refuse a file with one that they do not know.
_DIGEST_KEY: Final = "sacnb_file_sha256"


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

    The same table and metadata give the same bytes (with the same pyarrow), whatever the chunks. Beside *metadata* the
    footer holds a digest of the whole file, taken with zeros in its own place.
    """
    import pyarrow.parquet as pq

    table = table.replace_schema_metadata(None)
    if metadata:
        metadata = {**metadata, _DIGEST_KEY: NO_DIGEST.decode()}
    with opened(target) as stream:
        sealed = Sealed(stream)
        with pq.ParquetWriter(
            sealed, table.schema, compression="zstd", compression_level=1, write_page_checksum=True
        ) as writer:
            for start in range(0, max(table.num_rows, 1), _ROW_GROUP_ROWS):
                writer.write_table(table.slice(start, _ROW_GROUP_ROWS).combine_chunks(), row_group_size=_ROW_GROUP_ROWS)
            # Not in the Arrow schema, which would write it a second time in base64.
            writer.add_key_value_metadata(dict(metadata))
            sealed.begin_footer()
        sealed.finish()


def write_arrow(table: pa.Table, metadata: Mapping[str, str], target: Target) -> None:
    """Write a table as an uncompressed Arrow IPC file, which can be memory-mapped."""
    table = table.replace_schema_metadata(dict(metadata))
    with opened(target) as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)


# A spreadsheet takes a text that begins with one of these for a formula.
# Full-width signs too, which some locales turn into plain ones.
_FORMULA: Final = r"^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"

# Excel's own limits: rows with the header, columns, characters in a cell.
EXCEL_ROWS: Final = 1_048_576
_EXCEL_COLUMNS: Final = 16_384
_EXCEL_CHARS: Final = 32_767
_EXCEL_FIRST_YEAR: Final = 1901  # in 1900 it counts a February 29
_SHEET_CHARS: Final = 28  # of 31: room for a number
_AUTOFIT_ROWS: Final = 10_000


def write_csv(table: pa.Table, target: Target, *, separator: str = ",", escape_formulas: bool = False) -> None:
    """Write a table as CSV in UTF-8, with a header, all digits of decimals, and an empty field for null.

    An empty string is written as ``""``. Time stamps are in UTC, durations in ISO 8601, binaries in base64. With
    *escape_formulas* a text or column name that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    if len(separator.encode()) != 1 or separator in '"\r\n':
        raise ContractError(f"separator must be one ASCII character, got {separator!r}.", hint='Such as ";".')
    frame = _for_csv(table)
    if escape_formulas:
        frame = frame.with_columns(pl.col(pl.String).str.replace(_FORMULA, "'$0"))
        frame = frame.rename({name: re.sub(_FORMULA, r"'\g<0>", name) for name in frame.columns})
    with opened(target) as stream:
        frame.write_csv(stream, separator=separator, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")


def write_excel(sheets: Mapping[str, pa.Table], about: Mapping[str, object], target: Target) -> None:
    """Write tables as the sheets of an Excel workbook, and *about* as pairs in its last sheet, ``About``.

    Numbers, dates and booleans have their types; the header row is bold, stays when the rows scroll, and filters. No
    text becomes a formula or a link. What Excel has no type for is text: durations, binaries, dates before 1900.

    Raises:
        ContractError: A table has more rows, columns or letters in a text than Excel has room for.
        MissingExtraError: XlsxWriter is not installed.

    Warns:
        PrecisionWarning: Numbers have more digits than a float64 keeps.
    """
    try:
        import xlsxwriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("excel", "Writing an Excel file") from error
    frames = {name: _for_excel(table) for name, table in sheets.items()}
    content = io.BytesIO()
    options = {"strings_to_formulas": False, "strings_to_urls": False, "nan_inf_to_errors": True}
    with xlsxwriter.Workbook(content, options) as workbook:
        for name, frame in frames.items():
            frame.write_excel(
                workbook,
                _sheet_name(name, [sheet.get_name() for sheet in workbook.worksheets()]),
                table_style="Table Style Light 1",
                freeze_panes=(1, 0),
                autofit=len(frame) <= _AUTOFIT_ROWS,
                column_formats={one.name: _number_format(one) for one in frame if one.dtype.is_numeric()},
                dtype_formats={pl.Date: "yyyy-mm-dd", pl.Datetime: "yyyy-mm-dd hh:mm:ss", pl.Time: "hh:mm:ss"},
            )
        sheet = workbook.add_worksheet("About")
        wrapped = workbook.add_format({"text_wrap": True, "align": "left", "valign": "top"})
        sheet.set_column(0, 0, 16, workbook.add_format({"bold": True, "valign": "top"}))
        sheet.set_column(1, 1, 100)
        for row, (name, value) in enumerate(about.items()):
            sheet.write_string(row, 0, name)
            sheet.write_string(row, 1, str(value)[:_EXCEL_CHARS], wrapped)
    with opened(target) as stream:
        stream.write(content.getbuffer())


def _for_excel(table: pa.Table) -> pl.DataFrame:
    """Return a frame in types that Excel has. Raises ContractError for one that it has no room for."""
    room = {"rows below the header": (table.num_rows, EXCEL_ROWS - 1), "columns": (table.num_columns, _EXCEL_COLUMNS)}
    for what, (count, most) in room.items():
        if count > most:
            raise ContractError(
                f"An Excel sheet has room for {most:,} {what}, and there are {count:,}.",
                hint="Filter, fetch fewer dimensions, or write Parquet or CSV.",
            )
    frame = _for_csv(with_floats(table, remedy="to_csv() and to_parquet() keep all digits."))
    frame = frame.with_columns(pl.col(pl.Datetime).dt.replace_time_zone(None))  # UTC; Excel knows no zones
    for name, kind in frame.schema.items():
        values = frame[name]
        if kind in {pl.Date, pl.Datetime} and any(year < _EXCEL_FIRST_YEAR for year in values.dt.year().drop_nulls()):
            frame = frame.with_columns(values.cast(pl.String))
        elif kind == pl.String and (values.str.len_chars() > _EXCEL_CHARS).any():
            raise ContractError(
                f"{name!r} holds a text of more than the {_EXCEL_CHARS:,} characters of an Excel cell.",
                hint="Write Parquet or CSV, or leave the column out.",
            )
    taken: list[str] = []
    for name in frame.columns:  # Excel takes upper and lower case for the same name
        taken.append(_other_than(name, taken))
    return frame.rename(dict(zip(frame.columns, taken, strict=True)))


def _other_than(name: str, taken: list[str]) -> str:
    folded, number, other = {one.casefold() for one in taken}, 1, name
    while other.casefold() in folded:
        number += 1
        other = f"{name} ({number})"
    return other


def _sheet_name(name: str, taken: list[str]) -> str:
    """Return a name that Excel allows: 31 characters, without some signs, and not taken."""
    return _other_than(re.sub(r"[\[\]:*?/\\]", "_", name)[:_SHEET_CHARS], [*taken, "About"])


def _number_format(values: pl.Series) -> str:
    """Return Excel's format for a column of numbers, with the decimal places that its first values need."""
    shown = as_shown([value for value in values.head(_AUTOFIT_ROWS).to_list() if value is None or abs(value) < inf])
    places = max((len(text.partition(".")[2]) for text in shown if "e" not in text), default=0)
    return "#,##0" + (f".{'0' * places}" if places else "")


class Tabular(ABC):
    """Columns and files of something that has rows, an Arrow table."""

    __slots__ = ()

    @abstractmethod
    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""

    def _shown(self) -> pa.Table:
        """Return the rows as people read them; a result adds descriptions."""
        return self.arrow()

    @abstractmethod
    def _about(self) -> Mapping[str, object]:
        """Return model, query and time, for people."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._shown().column_names)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and of columns."""
        table = self._shown()
        return table.num_rows, table.num_columns

    def head(self, rows: int = 5) -> pl.DataFrame:
        """Return the first rows as a polars frame."""
        return to_polars(self._shown().slice(0, whole_number("rows", rows)))

    @overload
    def __getitem__(self, columns: str) -> pl.Series: ...

    @overload
    def __getitem__(self, columns: list[str]) -> pl.DataFrame: ...

    def __getitem__(self, columns: str | list[str]) -> pl.Series | pl.DataFrame:
        """Return one column as a polars Series, or a list of columns as a frame; measures are Float64."""
        wanted = names("columns", columns) or ()
        table = self._shown()
        for name in wanted:
            if name not in table.column_names:
                raise UnknownNameError("column", name, table.column_names, where="the rows")
        frame = to_polars(table.select(list(wanted)))
        return frame.to_series() if isinstance(columns, str) else frame

    # Otherwise Python would read the rows as a list, and ask for the columns 0, 1, 2.
    __iter__ = None
    __contains__ = None

    def to_csv(self, target: Target, *, separator: str = ",", escape_formulas: bool = False) -> None:
        """Write the rows as CSV in UTF-8, with exact decimals; null is an empty field, an empty string ``""``.

        A spreadsheet runs texts that begin with ``=``, ``+``, ``-`` or ``@`` as formulas, also after a tab or in full
        width. If a member may come from somebody you do not trust, ``escape_formulas=True`` puts an apostrophe before
        them; programs that read the file then see it too. ``separator`` is one character, such as ``";"``.

        Raises ContractError where ``separator`` is not one character.
        """
        separator, escape_formulas = text("separator", separator) or "", flag("escape_formulas", escape_formulas)
        write_csv(self._shown(), target, separator=separator, escape_formulas=escape_formulas)

    def to_excel(self, target: Target) -> None:
        """Write the rows as an Excel workbook (``.xlsx``): the sheet ``Data``, and ``About`` with model, query, time.

        Numbers and dates have their types; a number is a float64, as all numbers of Excel are. The header row stays
        when the rows scroll, and filters.

        Raises ContractError for more rows than the 1,048,575 that Excel has room for; MissingExtraError without the
        extra ``excel``. Warns with PrecisionWarning where a float64 cannot hold all digits.
        """
        write_excel({"Data": self._shown()}, self._about(), target)


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
    with _damage_named():
        import pyarrow.parquet as pq

        # Open by path: pyarrow's threads release a Python file object shortly after the read, and a process that exits
        # just then aborts (13 of 80 runs with pyarrow 26 and Python 3.11).
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield parquet


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as e:
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
        is_for_polars = not is_polars_lost() and all(map(_is_same_in_polars, parquet.schema_arrow.types))
        if _digest_in(parquet) is None or not is_for_polars:
            return parquet.read().replace_schema_metadata(None), _texts(parquet)
    return _read_checked(path)


def _read_checked(path: Path) -> tuple[pa.Table, dict[str, str]]:
    """Read a file that has a digest by polars, which takes half of pyarrow's time and knows no checksums of pages."""
    import pyarrow.parquet as pq

    content = path.read_bytes()  # once: the file may be replaced by another one meanwhile
    with _damage_named(), pq.ParquetFile(pa.BufferReader(content)) as parquet:
        digest = _digest_in(parquet)
        if digest is None or digest != digest_of_file(content, digest):
            raise UnusableFileError("is damaged (its digest is another one)")
        frame = pl.read_parquet(content)
        schema = parquet.schema_arrow.remove_metadata()
        return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema), _texts(parquet)


def _digest_in(parquet: pq.ParquetFile) -> bytes | None:
    """Return the digest that a footer holds; ``None`` where it holds none."""
    digest: bytes | None = (parquet.metadata.metadata or {}).get(_DIGEST_KEY.encode())
    return None if digest == NO_DIGEST else digest


def _is_same_in_polars(kind: pa.DataType) -> bool:
    """Return whether a column comes back from polars exactly as it was."""
    types = pa.types
    kinds = (types.is_string, types.is_decimal128, types.is_integer, types.is_boolean, types.is_date32)
    return any(is_kind(kind) for is_kind in kinds)


def _texts(parquet: pq.ParquetFile) -> dict[str, str]:
    pairs = parquet.metadata.metadata or {}
    hidden = {b"ARROW:schema", _DIGEST_KEY.encode()}
    return {key.decode(): value.decode("utf-8", "replace") for key, value in pairs.items() if key not in hidden}
