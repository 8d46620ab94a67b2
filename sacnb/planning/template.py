"""Write an Excel workbook for a colleague to fill in: the model's columns, members as drop-down lists, typed cells."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from sacnb._arguments import mapping, names, text
from sacnb._endpoints import UNASSIGNED
from sacnb._results.files import EXCEL_ROWS, opened
from sacnb._write.frame import read_frame
from sacnb._write.target import VERSION, Members
from sacnb.errors import ContractError, MissingExtraError, QueryError, UnknownNameError

if TYPE_CHECKING:
    from sacnb._results.files import Target
    from sacnb._tenant import Model

__all__ = ["ABOUT", "ENTRY", "LISTS", "Sheet", "offered_members", "template"]

ENTRY: Final = "Plan"
LISTS: Final = "Members"
ABOUT: Final = "_sacnb"
_HELP: Final = "Read me"
_SCALE: Final = 7
_MOST_COLUMNS: Final = 16_384


@dataclass(frozen=True, slots=True)
class Sheet:
    """The form of the entry sheet; it is kept in the workbook, for reading it back.

    ``across`` is the dimension whose members are headings, ``None`` for one row a fact. ``lists`` are the dimensions
    whose members are listed, and ``scales`` the decimals of each measure.
    """

    model_id: str
    version: str | None
    dimensions: list[str]
    dates: list[str]
    scales: dict[str, int]
    across: str | None
    headings: list[str]
    lists: list[str]

    def columns(self) -> list[str]:
        """Return the headings of the entry sheet."""
        return [*self.dimensions, *(self.headings or self.scales)]

    def dump(self) -> str:
        """Return the form as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def template(
    model: Model,
    target: Target,
    *,
    version: str | None = None,
    across: Mapping[str, Sequence[str]] | None = None,
    measures: Sequence[str] | str | None = None,
    members: Mapping[str, Sequence[str]] | None = None,
    rows: object = None,
) -> None:
    """Write an Excel workbook to fill in; ``read_template`` reads it back for ``Model.write``.

        template(model, "plan.xlsx", version="public.Plan", across={"Date": ["202501", "202502", "202503"]})

    The sheet "Plan" has a column for each dimension, whose cells offer the members that take values, and one for each
    measure, whose cells take numbers. The header is protected, without a password. "Members" lists the members with
    their descriptions, and "Read me" says how to fill it in.

    Args:
        model: The model.
        target: A path or a binary stream.
        version: The version of all rows; without it "Version" is a column.
        across: One dimension and those of its members that become columns, such as months; needs one measure.
        measures: The measures to ask for, by default all.
        members: The members to offer, by dimension; by default all that take values.
        rows: A frame to begin with, such as last year's values under this year's months.

    Raises UnknownNameError for unknown names; QueryError for arguments; ContractError for more rows than Excel has;
    MissingExtraError if the extra ``excel`` is not installed.
    """
    try:
        import xlsxwriter  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("excel", "Writing an Excel template") from error
    lists = offered_members(model, mapping("members", members))
    sheet = _sheet(model, text("version", version), mapping("across", across), names("measures", measures), lists)
    values = [] if rows is None else _values(read_frame(rows), sheet)
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"strings_to_formulas": False, "strings_to_urls": False}) as workbook:
        _Writer(workbook, sheet, lists).write(values)
    with opened(target) as stream:
        stream.write(content.getbuffer())


def offered_members(model: Model, wanted: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the members that take values, with their descriptions, by dimension; none where SAC lists none."""
    for name in wanted:
        if name not in model.dimensions:
            raise UnknownNameError("dimension", str(name), model.dimensions, where=repr(model.id))
    found: dict[str, dict[str, str]] = {}
    for name in model.dimensions:
        chosen = names(f"members[{name!r}]", wanted.get(name))
        try:
            frame = model.members(name)
        except QueryError:  # no master data: SAC checks the members, and the cells take any text
            frame = pl.DataFrame()
        if "id" not in frame.columns:
            if chosen:
                found[name] = dict.fromkeys(chosen, "")
            continue
        known = Members.of(frame.rename({"id": "ID"}).to_dicts())
        texts = frame.get_column("description") if "description" in frame.columns else frame.get_column("id")
        described = {one: str(words or "") for one, words in zip(frame.get_column("id"), texts, strict=True)}
        for one in chosen or ():
            refused = known.refuse(one)
            if refused is not None and one not in known.ids:
                raise UnknownNameError("member", one, known.ids, where=f"the dimension {name!r}")
            if refused is not None:
                raise QueryError(f"{one!r} of {name!r} {refused[1]}.")
        offered = chosen or [one for one in described if known.refuse(one) is None]
        found[name] = {one: described.get(one, "") for one in offered}
        if len(found[name]) >= EXCEL_ROWS:
            raise ContractError(
                f"{name!r} has {len(found[name]):,} members, and a sheet has room for {EXCEL_ROWS - 1:,}.",
                hint=f"Offer some of them: members={{{name!r}: [...]}}.",
            )
    return found


def _sheet(
    model: Model,
    version: str | None,
    across: Mapping[str, Any],
    measures: tuple[str, ...] | None,
    lists: Mapping[str, Mapping[str, str]],
) -> Sheet:
    for name in measures or ():
        if name not in model.measures:
            raise UnknownNameError("measure", name, model.measures, where=repr(model.id))
    chosen = measures or model.measures
    dimension, headings = _headings(model, across, lists)
    if dimension is not None and len(chosen) != 1:
        raise QueryError(
            f"across={dimension!r} needs one measure, and there are {len(chosen)}.", hint="Name one: measures=."
        )
    if version is not None:
        if VERSION not in model.dimensions:
            raise QueryError(f"{model.id!r} has no dimension {VERSION!r}; leave version= out.")
        if version not in lists.get(VERSION, {version: ""}) and not version.startswith("private."):
            raise UnknownNameError("version", version, lists[VERSION], where=repr(model.id))
    without = {dimension, VERSION if version is not None else None}
    dates = [date.name for date in model.schema.date_columns]
    dimensions = [name for name in model.dimensions if name not in without]
    scales = {c.name: _SCALE if c.scale is None else c.scale for c in model.schema.measures if c.name in chosen}
    return Sheet(
        model.id, version, dimensions, dates, scales, dimension, headings, [n for n in lists if n not in without]
    )


def _headings(
    model: Model, across: Mapping[str, Any], lists: Mapping[str, Mapping[str, str]]
) -> tuple[str | None, list[str]]:
    if not across:
        return None, []
    if len(across) != 1:
        raise QueryError(f"across takes one dimension, got {len(across)}.")
    ((name, given),) = across.items()
    if name not in model.dimensions or name == VERSION:
        raise UnknownNameError("dimension", str(name), [one for one in model.dimensions if one != VERSION])
    found = names(f"across[{name!r}]", given) or ()
    if not found or len(set(found)) < len(found):
        raise QueryError(f"across[{name!r}] must be a list of different members, got {list(found)!r}.")
    is_date = name in {date.name for date in model.schema.date_columns}
    for one in found:
        if not is_date and name in lists and one not in lists[name] and one != UNASSIGNED:
            raise UnknownNameError("member", one, lists[name], where=f"the dimension {name!r}")
        if one in model.dimensions:
            raise QueryError(f"across[{name!r}] has {one!r}, which is also the name of a dimension.")
    if len(found) + len(model.dimensions) > _MOST_COLUMNS:
        raise QueryError(f"An Excel sheet has {_MOST_COLUMNS:,} columns; across has {len(found):,} members.")
    return str(name), list(found)


def _values(frame: pl.DataFrame, sheet: Sheet) -> list[tuple[Any, ...]]:
    """Return the first rows of the entry sheet. Raises QueryError for columns that do not fit it."""
    keys = [*sheet.dimensions, *([sheet.across] if sheet.across else [])]
    unknown = [name for name in frame.columns if name not in {*keys, *sheet.scales}]
    missing = [name for name in keys if name not in frame.columns]
    if unknown or missing:
        raise QueryError(
            "rows does not fit the template: "
            + "; ".join(
                f"{word} {', '.join(map(repr, found))}"
                for word, found in (("without", missing), ("with", unknown))
                if found
            )
            + ".",
            hint=f"It takes the columns {', '.join([*keys, *sheet.scales])}.",
        )
    for name in (one for one in frame.columns if one in sheet.scales):
        values = frame.get_column(name)
        is_number = (values.dtype.is_numeric() or values.dtype == pl.Null) and not (
            values.dtype.is_float() and values.drop_nulls().is_finite().not_().any()
        )
        if not is_number:
            raise QueryError(f"The column {name!r} of rows must hold finite numbers, and has the type {values.dtype}.")
    if frame.select(keys).is_duplicated().any():
        raise QueryError("rows has several rows with the same members.")
    if sheet.across is not None:
        measure = next(iter(sheet.scales))
        strange = set(frame.get_column(sheet.across).cast(pl.String)) - set(sheet.headings)
        if strange:
            raise QueryError(
                f"rows has members of {sheet.across!r} that across has not: {sorted(map(str, strange))!r}."
            )
        frame = frame.with_columns(pl.col(sheet.across).cast(pl.String))
        frame = frame.pivot(sheet.across, index=sheet.dimensions, values=measure, maintain_order=True)
    if frame.height >= EXCEL_ROWS:
        raise ContractError(f"An Excel sheet has room for {EXCEL_ROWS - 1:,} rows, and rows has {frame.height:,}.")
    absent = [pl.lit(None).alias(name) for name in sheet.columns() if name not in frame.columns]
    return frame.with_columns(absent).select(sheet.columns()).rows()


class _Writer:
    """The workbook, sheet by sheet."""

    def __init__(self, workbook: Any, sheet: Sheet, lists: Mapping[str, Mapping[str, str]]) -> None:
        self._workbook = workbook
        self._sheet = sheet
        self.offered_members = {name: lists[name] for name in sheet.lists}
        self._bold = workbook.add_format({"bold": True, "bg_color": "#DDE6EE", "bottom": 1, "locked": True})

    def write(self, values: Iterable[Sequence[Any]]) -> None:
        entry, listed = self._workbook.add_worksheet(ENTRY), self._workbook.add_worksheet(LISTS)
        self._members(listed)
        self._entry(entry, values)
        self._help(self._workbook.add_worksheet(_HELP))
        about = self._workbook.add_worksheet(ABOUT)
        # A cell holds 32,767 characters.
        dumped = self._sheet.dump()
        for row, start in enumerate(range(0, len(dumped), 30_000)):
            about.write_string(row, 0, dumped[start : start + 30_000])
        about.very_hidden()
        entry.activate()

    def _members(self, page: Any) -> None:
        for at, (name, members) in enumerate(self.offered_members.items()):
            page.write_string(0, 2 * at, name, self._bold)
            page.write_string(0, 2 * at + 1, "description", self._bold)
            for row, (member, description) in enumerate(members.items(), start=1):
                page.write_string(row, 2 * at, member)
                page.write_string(row, 2 * at + 1, description)
        page.set_column(0, 2 * max(1, len(self.offered_members)), 20)
        page.freeze_panes(1, 0)
        page.protect()

    def _entry(self, page: Any, values: Iterable[Sequence[Any]]) -> None:
        from xlsxwriter.utility import xl_col_to_name  # type: ignore[import-untyped]

        texts = self._workbook.add_format({"num_format": "@", "locked": False})
        columns = self._sheet.columns()
        lists = list(self.offered_members)
        for at, name in enumerate(columns):
            page.write_string(0, at, name, self._bold)
            if name in self._sheet.dimensions:
                page.set_column(at, at, 18, texts)
                if self.offered_members.get(name):
                    source = xl_col_to_name(2 * lists.index(name))
                    page.data_validation(
                        1,
                        at,
                        EXCEL_ROWS - 1,
                        at,
                        {
                            "validate": "list",
                            "source": f"={LISTS}!${source}$2:${source}${len(self.offered_members[name]) + 1}",
                            # New periods are members of SAC, though no list may have them yet.
                            "show_error": name not in self._sheet.dates,
                            "error_title": "No such member",
                            "error_message": f"Choose a member of {name[:100]} from the list.",
                        },
                    )
                continue
            scale = min(self._sheet.scales.get(name, max(self._sheet.scales.values())), 2)
            shown = "#,##0" + ("." + "0" * scale if scale else "")
            page.set_column(at, at, 14, self._workbook.add_format({"num_format": shown, "locked": False}))
            page.data_validation(
                1,
                at,
                EXCEL_ROWS - 1,
                at,
                {
                    "validate": "decimal",
                    "criteria": "between",
                    "minimum": -1e24,
                    "maximum": 1e24,
                    "error_title": "Not a number",
                    "error_message": "This cell takes a number, or stays empty.",
                },
            )
        for row, cells in enumerate(values, start=1):
            for at, value in enumerate(cells):
                if value is not None and columns[at] in self._sheet.dimensions:
                    page.write_string(row, at, str(value))
                elif value is not None:
                    page.write_number(row, at, value)
        page.freeze_panes(1, len(self._sheet.dimensions))
        allowed = ("insert_rows", "delete_rows", "format_cells", "format_columns", "format_rows", "sort", "autofilter")
        page.protect(options=dict.fromkeys(allowed, True))

    def _help(self, page: Any) -> None:
        sheet = self._sheet
        into = f", version {sheet.version}" if sheet.version else ""
        lines = [
            f"Values for the model {sheet.model_id}{into}",
            "",
            f'Fill in the sheet "{ENTRY}": one row for each combination of {", ".join(sheet.dimensions) or "members"}.',
            'Choose members from the lists in the cells; the sheet "' + LISTS + '" has their descriptions.',
            "Numbers only in the other columns. An empty cell is not written; a zero is.",
            "Rows can be inserted, deleted and sorted. Leave the header as it is.",
            "Use no two rows with the same members.",
        ]
        for row, line in enumerate(lines):
            page.write_string(row, 0, line, *([self._workbook.add_format({"bold": True})] if not row else []))
        page.set_column(0, 0, 100)
        page.protect()
