"""Read a filled-in template back: each value understood, or reported with its cell."""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import IO, TYPE_CHECKING, Any, Final, Literal
from zipfile import BadZipFile, ZipFile

import polars as pl

from sacnb._arguments import folder, names, one_of
from sacnb._endpoints import UNASSIGNED
from sacnb._files import max_file_mb, read_bounded, too_long
from sacnb._write.target import VERSION, Dates, dates_as_written
from sacnb.errors import MissingExtraError, QueryError, RowsError
from sacnb.planning.template import ABOUT, ENTRY, LISTS, Sheet

if TYPE_CHECKING:
    import os

__all__ = ["read_template"]

_HEADER_WITHIN: Final = 50
_SHOWN: Final = 5
_DIGITS: Final = 38
_DATES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%Y-%m", "%Y/%m", "%m.%Y", "%m/%Y", "%Y%m%d", "%Y%m")
_SPACES: Final = str.maketrans("", "", " \u00a0\u2009\u202f'\u2019")
# The errors of openpyxl for parts of a workbook that are cut short, or no XML.
_DAMAGED: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, SyntaxError, zlib.error)
_PROBLEMS: Final = {
    "row": pl.UInt32,
    "cell": pl.String,
    "column": pl.String,
    "value": pl.String,
    "problem": pl.String,
    "message": pl.String,
}


def read_template(
    source: str | os.PathLike[str] | IO[bytes],
    *,
    decimal: Literal[",", "."] | None = None,
    ignore: Sequence[str] | str | None = None,
) -> pl.DataFrame:
    """Read a workbook that ``template`` wrote and a colleague filled in; the frame is for ``Model.write``.

        model.write(read_template("plan.xlsx"), dry_run=True)

    Blank rows and cells are left out. Members may be numbers, have blanks around them, or be descriptions that only one
    member has. Dates may be real dates or texts. Numbers may be texts with separators of thousands and either decimal
    sign. Rows and columns may be moved. Everything else is a problem, and all problems come at once.

    Args:
        source: A path or a binary stream.
        decimal: The decimal sign of numbers typed as text; without it "1.234" is a problem, because it is 1234 to some.
        ignore: Headings of columns that the colleague added, such as comments.

    Returns:
        A column for each dimension (String), with the template's version if it has one, and a Decimal for each measure.

    Raises RowsError, whose ``problems`` also have the cell (Plan!B7); QueryError for a file that is no such workbook;
    MissingExtraError if the extra ``excel`` is not installed.
    """
    try:
        import openpyxl  # type: ignore[import-untyped]
        from openpyxl.utils.exceptions import InvalidFileException  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("excel", "Reading an Excel template") from error
    sign = one_of("decimal", decimal, (",", "."))
    ignored = names("ignore", ignore) or ()
    place = None if hasattr(source, "read") else folder("source", source)
    shown = "The stream" if place is None else str(place)
    try:
        content = _content(source if place is None else place)
        values = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
        formulas = openpyxl.load_workbook(io.BytesIO(content))
    except OSError as error:
        raise QueryError(f"{shown} cannot be read: {error.strerror or error}.") from error
    # The last three come where the parts of a workbook are damaged.
    except (
        InvalidFileException,
        BadZipFile,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        SyntaxError,
        zlib.error,
    ) as e:
        raise QueryError(f"{shown} is no Excel workbook (.xlsx): {e}.") from None
    if not {ENTRY, LISTS, ABOUT} <= set(values.sheetnames):
        raise QueryError(
            f"{shown} is no template: it lacks the sheets that sacnb.planning.template writes.",
            hint=f"It has: {', '.join(values.sheetnames)}.",
        )
    dumped = "".join(str(row[0]) for row in values[ABOUT].iter_rows(values_only=True) if row[0])
    try:
        sheet = Sheet(**json.loads(dumped))
    except (ValueError, TypeError):
        raise QueryError(
            f"{shown} cannot be read: its hidden sheet {ABOUT!r} was changed. Take a new template."
        ) from None
    return _Reader(sheet, _read_lists(values[LISTS], sheet), sign, ignored).read(values[ENTRY], formulas[ENTRY])


def _content(source: str | os.PathLike[str] | IO[bytes]) -> bytes:
    """Return the bytes of a workbook. Raises OSError, also where they, or what they unpack to, are too long."""
    content = source.read() if hasattr(source, "read") else read_bounded(folder("source", source))
    most = max_file_mb()
    with ZipFile(io.BytesIO(content)) as parts:
        # zipfile unpacks no more of a part than the size that is written here.
        if sum(part.file_size for part in parts.infolist()) > most * 1_000_000:
            raise too_long(most)
    return content


def _read_lists(page: Any, sheet: Sheet) -> dict[str, dict[str, str]]:
    """Return the descriptions of the listed members, by dimension."""
    lists: dict[str, dict[str, str]] = {name: {} for name in sheet.lists}
    for row in page.iter_rows(min_row=2, values_only=True):
        for at, name in enumerate(sheet.lists):
            member, description = (*row, *[None] * (2 * len(sheet.lists)))[2 * at : 2 * at + 2]
            if member is not None:
                lists[name][str(member)] = str(description or "")
    return lists


class _Wrong(Exception):
    """A cell whose value cannot be understood."""

    def __init__(self, problem: str, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class _Reader:
    """The entry sheet, cell by cell."""

    def __init__(
        self, sheet: Sheet, lists: Mapping[str, Mapping[str, str]], sign: str | None, ignored: Sequence[str]
    ) -> None:
        self._sheet = sheet
        self._lists = lists
        self._dates: dict[str, Dates] = {n: dates_as_written(lists.get(n, ())) for n in sheet.dates}
        self._sign = sign
        self._ignored = set(ignored)
        self._problems: list[dict[str, Any]] = []
        self._finders = {name: _Finder(members) for name, members in lists.items()}

    def read(self, page: Any, formulas: Any) -> pl.DataFrame:
        header, at = self._header(page)
        found: list[dict[str, Any]] = []
        firsts: dict[tuple[str, ...], str] = {}
        rows = zip(page.iter_rows(min_row=header + 1), formulas.iter_rows(min_row=header + 1), strict=True)
        for cells, written in rows:
            by_name = {name: (cells[i], written[i]) for name, i in at.items()}
            self._row(by_name, found, firsts)
        self._raise_problems()
        sheet = self._sheet
        constant = {} if sheet.version is None else {VERSION: pl.String}
        keys = [*sheet.dimensions, *([sheet.across] if sheet.across else [])]
        types = {m: pl.Decimal(_DIGITS, scale) for m, scale in sheet.scales.items()}
        if not found:
            raise QueryError(f"The sheet {ENTRY!r} has no values; there is nothing to read.")
        return pl.DataFrame(found, schema={**constant, **dict.fromkeys(keys, pl.String), **types}, orient="row")

    def _header(self, page: Any) -> tuple[int, dict[str, int]]:
        """Return the number of the header row, and the position of each column in it."""
        wanted = self._sheet.columns()
        best, best_row, best_hits = 1, [], -1
        for number, row in enumerate(page.iter_rows(max_row=min(_HEADER_WITHIN, page.max_row)), start=1):
            hits = len({_heading(cell.value) for cell in row} & set(wanted))
            if hits > best_hits:
                best, best_row, best_hits = number, list(row), hits
        at: dict[str, int] = {}
        for i, cell in enumerate(best_row):
            name = _heading(cell.value)
            if name in at:
                self._add(cell, name, "duplicate column", f"The heading {name!r} stands twice.")
            elif name in wanted:
                at[name] = i
            elif name not in self._ignored and any(
                c.value is not None for (c,) in page.iter_rows(min_row=best, min_col=i + 1, max_col=i + 1)
            ):
                message = f"The template has no column {name!r}. Remove it, or name it in ignore=."
                self._add(cell, name, "unknown column", message)
        for name in wanted:
            if name not in at:
                cell = f"{ENTRY}!{best}:{best}"
                self._add(cell, name, "missing column", f"The heading {name!r} is missing.")
        self._raise_problems()
        return best, at

    def _row(
        self, cells: Mapping[str, tuple[Any, Any]], found: list[dict[str, Any]], firsts: dict[tuple[str, ...], str]
    ) -> None:
        sheet = self._sheet
        numbers = {name: self._value(name, *cells[name]) for name in sheet.headings or sheet.scales}
        if all(value is None for value in numbers.values()):
            return  # a row without values, with or without members
        key = {name: self._value(name, *cells[name]) for name in sheet.dimensions}
        first = next(iter(cells.values()))[0]
        for name, value in key.items():
            if value is None:
                self._add(
                    cells[name][0], name, "null", f"{name!r} has no member; for unassigned choose {UNASSIGNED!r}."
                )
        identity = tuple(str(value) for value in key.values())
        if None not in key.values() and _WRONG not in key.values():
            earlier = firsts.setdefault(identity, first.coordinate)
            if earlier != first.coordinate:
                shown = ", ".join(identity)
                self._add(first, "key", "duplicate key", f"The row of {earlier} has the same members: {shown}.")
        constant = {} if sheet.version is None else {VERSION: sheet.version}
        if sheet.across is None:
            found.append({**constant, **key, **numbers})
            return
        measure = next(iter(sheet.scales))
        filled = {heading: value for heading, value in numbers.items() if value is not None}
        found += [{**constant, **key, sheet.across: heading, measure: value} for heading, value in filled.items()]

    def _value(self, name: str, cell: Any, written: Any) -> Any:
        value = cell.value
        try:
            if isinstance(value, str):
                value = value.strip() or None
            if value is None:
                if written.data_type == "f":
                    raise _Wrong("formula", "The formula has no value yet. Open the workbook in Excel and save it.")
                return None
            if cell.data_type == "e":
                raise _Wrong("error", f"The cell shows the error {value}.")
            if name not in self._sheet.dimensions:
                scale = self._sheet.scales.get(name, next(iter(self._sheet.scales.values())))
                return read_number(value, scale, self._sign)
            if name in self._dates:
                return _read_date(value, self._dates[name])
            return self._finders[name].find(value) if name in self._finders else _as_text(value)
        except _Wrong as wrong:
            self._add(cell, name, wrong.problem, str(wrong))
            return _WRONG

    def _add(self, cell: Any, column: str, problem: str, message: str) -> None:
        place = cell if isinstance(cell, str) else f"{ENTRY}!{cell.coordinate}"
        value = None if isinstance(cell, str) or cell.value is None else str(cell.value)
        entry = {"row": None, "cell": place, "column": column, "value": value, "problem": problem, "message": message}
        self._problems.append(entry)

    def _raise_problems(self) -> None:
        if not self._problems:
            return
        lines = [
            f"  {p['cell']}: {'' if p['value'] is None else repr(p['value']) + ': '}{p['message']}"
            for p in self._problems
        ]
        more = [f"  and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
        raise RowsError(
            "\n".join([f"The workbook has {len(lines):,} cells to look at:", *lines[:_SHOWN], *more]),
            problems=pl.DataFrame(self._problems, schema=_PROBLEMS),
            hint="\nerror.problems is a frame of all of them.",
        )


_WRONG: Final = object()


def _heading(value: object) -> str:
    """Return a heading as text; Excel may have made a number of "202501"."""
    return _whole_text(value) if isinstance(value, int | float) else str(value or "").strip()


def _whole_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _as_text(value: object) -> str:
    if isinstance(value, bool | date | time):
        raise _Wrong("type", "A member must be text, and Excel made something else of it. Format the cell as text.")
    return _whole_text(value) if isinstance(value, int | float) else str(value)


class _Finder:
    """Find the member that a cell means: by its id, as a number without leading zeros, or by its description."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self._ids = set(members)
        self._stripped = _unique((one.lstrip("0") or "0", one) for one in members if one.isdigit())
        self._described = _unique((words.casefold(), one) for one, words in members.items() if words)
        self._folded = _unique((one.casefold(), one) for one in members)

    def find(self, value: object) -> str:
        """Return the id. Raises _Wrong where no member or several are meant."""
        text = _as_text(value)
        if text in self._ids or text == UNASSIGNED or not self._ids:
            return text
        if isinstance(value, int | float) and (one := self._stripped.get(text)):
            return one
        if one := self._described.get(text.casefold()):
            return one
        near = self._folded.get(text.casefold())
        hint = f" Did you mean {near!r}?" if near else " The sheet Members lists them."
        raise _Wrong("unknown member", f"There is no such member that takes values.{hint}")


def _unique(pairs: Iterator[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs whose first text occurs once."""
    found: dict[str, str] = {}
    for name, one in pairs:
        found[name] = "" if name in found else one
    return found


def _read_date(value: object, dates: Dates) -> str:
    """Return a date as the model writes it."""
    if isinstance(value, datetime | date):
        if dates.format is None:
            raise _Wrong("date format", f"Write the date as text, such as {dates.example!r}.")
        return value.strftime(dates.format)
    text = _as_text(value)
    if dates.accepts(text):
        return text
    found = set()
    for form in _DATES:
        try:
            found.add(datetime.strptime(text, form).strftime(dates.format or ""))  # noqa: DTZ007 - a date, no moment
        except ValueError:
            continue
    if dates.format is not None and len(found) == 1:
        return found.pop()
    raise _Wrong(
        "date format", "The date is not understood" + (f"; write {dates.example!r}." if dates.example else ".")
    )


_GROUPED: Final = {
    ",": re.compile(r"[1-9]\d{0,2}(\.\d{3})+(,\d+)?|\d+|\d*,\d+"),
    ".": re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?|\d+|\d*\.\d+"),
}
_AMBIGUOUS: Final = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")


def read_number(value: object, scale: int, sign: str | None) -> Decimal:
    """Return the number that a cell means: a number of Excel, or a text with separators.

    Raises:
        _Wrong: It is none, or one thing to Germans and another one to Americans.
    """
    if isinstance(value, bool | date | time):
        raise _Wrong("type", "This is not a number. Excel may have taken it for a date.")
    if isinstance(value, int | float):
        return _rounded(Decimal(repr(value)), scale)
    text = str(value).translate(_SPACES).replace("\u2212", "-")
    if text.startswith("(") and text.endswith(")"):  # accountants' minus
        text = f"-{text[1:-1]}"
    negative, digits = text.startswith("-"), text.removeprefix("-").removeprefix("+")
    if sign is None and _AMBIGUOUS.fullmatch(digits):
        shown = digits.replace(",", "").replace(".", "")
        message = f'This is {shown} or {digits.replace(",", ".")}. Type a number, or read with decimal="," or ".".'
        raise _Wrong("ambiguous number", message)
    fits = [one for one in ((sign,) if sign else (",", ".")) if _GROUPED[one].fullmatch(digits)]
    if not fits:
        raise _Wrong("type", "This is not a number.")
    numbers = {Decimal(digits.replace("." if one == "," else ",", "").replace(one, ".")) for one in fits}
    if len(numbers) > 1:
        raise _Wrong("ambiguous number", 'Read with decimal="," or ".".')
    number = numbers.pop()
    exact = _rounded(number, scale)
    if exact != number:
        raise _Wrong("precision", f"The number has more than {scale} decimals. Round it first.")
    return exact.copy_negate() if negative else exact  # a minus sign would round to the digits of the program's context


_EXACT: Final = Context(prec=400, rounding=ROUND_HALF_EVEN)


def _rounded(number: Decimal, scale: int) -> Decimal:
    if number.adjusted() >= _DIGITS - scale:
        raise _Wrong("precision", f"The number has more than {_DIGITS - scale} digits before the point.")
    return number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
