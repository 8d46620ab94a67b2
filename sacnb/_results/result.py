"""The result of a query: its rows, and their ways into frames, files and charts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from sacnb._arguments import flag, folder, mapping, names, one_of, required_text, text
from sacnb._frames.convert import to_pandas, to_polars, with_floats
from sacnb._frames.preview import AT_TOP, preview
from sacnb._frames.tidy import Aggregation, tidy, with_label_columns
from sacnb._odata.schema import DateColumn, Grain, Schema
from sacnb._rendering import Paged, Preview
from sacnb._results.files import Tabular, Target, UnusableFileError, read_parquet, write_arrow, write_parquet
from sacnb._results.info import (
    REASON,
    KnownMembers,
    ResultInfo,
    about_of,
    from_metadata,
    rollup_pairs,
    said_of_mixed,
    to_metadata,
    warn_of_mixed,
)
from sacnb._results.tidy_frame import TidyFrame, beside_ids
from sacnb.errors import ContractError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from sacnb._charts.plot import Chart, Kind, Labels, Theme
    from sacnb._charts.variance import Accounts, Better, Variance

__all__ = ["Result", "ResultInfo", "TidyFrame", "read_result"]


@dataclass(frozen=True, slots=True, repr=False)
class Result(Paged, Tabular):
    """The rows of one query.

    ``table`` holds them with exact decimals, in SAC's order; ``schema`` describes the entity set they come from;
    ``info`` says what was queried, when, and by whom. ``stale`` is true if SAC failed and this is the last good result
    from the cache; ``warning`` then says how old it is and why. ``labelled`` names the dimensions whose descriptions
    stand beside their ids, in columns such as ``Sector_description``; ``arrow()`` and ``to_parquet`` are without them.
    """

    __module__ = "sacnb"

    table: pa.Table
    schema: Schema
    info: ResultInfo
    warning: str | None = None
    stale: bool = False
    labelled: tuple[str, ...] = ()
    members: KnownMembers = field(default_factory=KnownMembers, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table, without a copy; each field's metadata describes its column."""
        return self.table

    def polars(self, *, decimals: bool = False) -> pl.DataFrame:
        """Return the rows as a polars frame; measures are ``Float64``, or exact with ``decimals=True``.

        Raises:
            ContractError: ``decimals=True`` and a value has more than 38 digits, the most that polars holds.

        Warns:
            PrecisionWarning: A float64 cannot hold all digits.
        """
        return to_polars(self._shown(), decimals=flag("decimals", decimals))

    def pandas(self, *, decimals: bool = False, backend: Literal["numpy", "pyarrow"] = "numpy") -> pd.DataFrame:
        """Return the rows as a pandas frame; measures are ``float64``, or exact Arrow decimals with ``decimals=True``.

        ``backend="pyarrow"`` keeps every column in Arrow, which is fast and needs little memory.

        Warns:
            PrecisionWarning: A float64 cannot hold all digits.
        """
        one_of("backend", backend, ("numpy", "pyarrow"))
        return to_pandas(self._shown(), decimals=flag("decimals", decimals), backend=backend)

    def _shown(self) -> pa.Table:
        """Return the rows with descriptions beside the ids of ``labelled``."""
        table = self.table
        for dimension in self.labelled:
            column = table.column(dimension)
            texts = self.members.texts(dimension, read=True)
            words = pa.chunked_array([pa.array([texts.get(one) for one in column.to_pylist()], pa.string())])
            place = table.column_names.index(dimension) + 1
            table = table.add_column(place, _label_name(dimension, table.column_names), words)
        return table

    def tidy(
        self,
        grain: Grain | None = None,
        *,
        date: str | DateColumn | None = None,
        agg: Aggregation = "sum",
        rollup: Mapping[str, int | str | Sequence[str]] | None = None,
        hierarchy: Mapping[str, str] | None = None,
        members: Mapping[str, pl.DataFrame] | None = None,
        labels: bool | None = None,
    ) -> TidyFrame:
        """Return the rows as a long frame: ``date``, ``dim_*``, ``value``, and ``dim_measure`` for several measures.

        Args:
            grain: ``"day"``, ``"week"``, ``"month"``, ``"quarter"`` or ``"year"``, not finer than the model's.
            date: The date column, if there are several.
            agg: How to combine values when the grain gets coarser; ``"sum"`` is wrong for headcounts, balances and
                rates.
            rollup: Add dimensions up along their hierarchy: ``{"Sector": 2}`` to the members at level 2 (0 is the
                root; members above stay), ``{"Sector": ["30", "20"]}`` to these nodes, each with all below it.
            hierarchy: The hierarchy by dimension, if there are several: ``{"Store": "H2"}``; by default the first.
            members: ``model.members()`` by dimension, if the result does not know them, such as one from a file.
            labels: Add the description beside each dimension, as ``label_<name>``; by default as fetched.

        Raises:
            ContractError: There is no date or measure, the grain is too fine, or two rows have the same key.
            UnknownNameError: ``date`` is not a column of the result.

        Warns:
            PrecisionWarning: A float64 cannot hold all digits.
            MixedVersionsWarning, MixedAccountsWarning: SAC added up versions or accounts.
        """
        if isinstance(date, DateColumn):
            required_text("date.name", date.name)
        else:
            date = text("date", date)
        given = mapping("members", members)
        labels = None if labels is None else flag("labels", labels)
        known = KnownMembers(self.members.of, given) if given else self.members
        dimensions = [column.name for column in self.schema.dimensions if column.name in self.table.column_names]
        chosen, pairs = mapping("hierarchy", hierarchy), {}
        for name, wanted in mapping("rollup", rollup).items():
            if name not in dimensions:
                raise UnknownNameError("dimension", str(name), dimensions, where="the result")
            pairs[name] = rollup_pairs(name, wanted, known.of(name), text("hierarchy", chosen.get(name)))
        made = tidy(self.table, self.schema, _grain(grain), date=date, agg=_aggregation(agg), rollup=pairs)
        self._warn_of_mixed()
        texts = {name: known.texts(name, read=True) for name in dimensions} if labels else {}
        if labels is None:
            texts = {name: known.texts(name, read=True) for name in self.labelled}
        texts = {name: words for name, words in texts.items() if words and f"dim_{name}" in made.frame.columns}
        return TidyFrame(
            with_label_columns(made.frame, texts),
            made.grain,
            made.rows_without_date,
            made.rows_without_value,
            f"{said_of_mixed(self.info.mixed)} {made.note}".strip(),
            schema=self.schema,
            info=self.info,
            agg=agg,
            texts=texts,
        )

    def to_parquet(self, target: Target, *, floats: bool = False) -> None:
        """Write the rows as Parquet, with exact decimals; ``info`` and ``schema`` go into the metadata.

        ``target`` is a path, whose file is replaced in one step, or a binary stream. For readers without decimals,
        ``floats=True`` writes measures as float64; without the metadata, because such a file is no exact result.

        Warns:
            PrecisionWarning: ``floats=True``, and a float64 cannot hold all digits.
        """
        if flag("floats", floats):
            write_parquet(with_floats(self.table, remedy="Leave floats=True out."), {}, target)
            return
        write_parquet(self.table, to_metadata(self.info, self.schema, self.table.schema), target)

    def to_arrow(self, target: Target) -> None:
        """Write the rows as an Arrow IPC file, with exact decimals and the metadata of ``to_parquet``."""
        write_arrow(self.table, to_metadata(self.info, self.schema, self.table.schema), target)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike[str]) -> Result:
        """Read a file of ``to_parquet``: the same rows, types, schema and info.

        Raises:
            ContractError: The file is damaged, or was not written by this version of sacnb.
            OSError: It cannot be opened.
        """
        try:
            return read_result(folder("path", path))
        except UnusableFileError as e:
            raise ContractError(f"{os.fspath(path)} {e}.", hint="Write it again with to_parquet().") from e

    def plot(
        self,
        grain: Grain | None = None,
        *,
        by: str | Sequence[str] | None = None,
        measure: str | None = None,
        agg: Aggregation = "sum",
        kind: Kind | None = None,
        labels: Labels | None = None,
        other: bool = False,
        title: str | None = None,
        unit: str | None = None,
        theme: Theme | None = None,
    ) -> Chart:
        """Draw the rows: lines over time, bars of a dimension, or a heat map of two.

        Too many lines become a heat map over time; ``kind="line"`` colours the largest instead and draws the others
        grey. Lines are labelled at their ends where the labels fit. Versions look the same in every chart: actuals blue
        and solid, plans orange and dashed, forecasts green and dotted. The subtitle says what is left out.

        Args:
            grain: The grain of the dates; see ``tidy``.
            by: One or two dimensions that distinguish the lines (colour, then dashes); by default those with more than
                one member in the result.
            measure: The measure, if the result has several; by default all of them.
            agg: How to combine values when the grain gets coarser; see ``tidy``.
            kind: ``"line"``, ``"bar"`` or ``"heatmap"``, instead of the automatic choice.
            labels: Member labels by dimension: ``{"Sector": model.members("Sector")}``, or a mapping of ids to texts
                instead of the frame.
            other: If there are more members than fit, also draw the sum of the rest. Only the caller knows whether
                members may be added up.
            title: By default the model and the measure.
            unit: The unit of the values for the axis; SAC's export does not tell it.
            theme: ``"light"`` or ``"dark"``: the chart has its own background, so that it is readable on any page. By
                default dark if Altair's theme is dark (``alt.theme.enable("dark")``), else light.

        Raises:
            MissingExtraError: The extra ``plot`` is not installed.
            ContractError: More dimensions vary than the chart shows, so it would draw several values as one.
            UnknownNameError: ``by``, ``measure``, ``kind``, ``labels`` or ``theme`` is unknown.
        """
        from sacnb._charts.plot import plot

        self._warn_of_mixed()
        return plot(
            self.table,
            self.schema,
            _grain(grain),
            by=names("by", by),
            measure=text("measure", measure),
            agg=_aggregation(agg),
            kind=text("kind", kind),  # type: ignore[arg-type]  # plot() names those there are
            labels=beside_ids({name: self.members.texts(name, read=False) for name in self.members.names()})
            if labels is None
            else labels,
            other=flag("other", other),
            title=text("title", title),
            unit=text("unit", unit),
            theme=text("theme", theme),  # type: ignore[arg-type]
            note=" ".join(filter(None, (self._age(), said_of_mixed(self.info.mixed)))),
        )

    def _warn_of_mixed(self) -> None:
        cure = "fetch it with the others"
        warn_of_mixed(self.info.mixed, self.info.provider_id, what="The values of this result add up", cure=cure)

    def variance(
        self,
        *,
        base: str,
        against: str,
        by: str | Sequence[str] | None = None,
        measure: str | None = None,
        grain: Grain | None = None,
        accounts: Accounts | None = None,
        better: Better | None = None,
    ) -> Variance:
        """Compare two versions: absolute and relative differences, computed from exact decimals and rounded once.

        Args:
            base: The version to compare with, such as ``"public.Plan"``.
            against: The version to compare, such as ``"public.Actual"``; the variance is this minus ``base``.
            by: The dimensions to compare by, including the date column; other dimensions are added up, and the
                result's ``note`` says so. By default all dimensions that vary.
            measure: The measure, if the result has several.
            grain: The grain of the dates, if comparing by date; see ``tidy``.
            accounts: ``model.members("Account")``, or the type of each account (``INC``, ``EXP``, ...): more income
                and less expense are favourable.
            better: ``"higher"`` or ``"lower"``, if that holds for all values.

        Raises:
            ContractError: There is no version dimension, or the arguments do not fit the result.
            UnknownNameError: The result has no such version, dimension or measure.

        Warns:
            MixedAccountsWarning: The sums mix accounts.
        """
        from sacnb._charts.variance import variance

        return variance(
            self.table,
            self.schema,
            base=required_text("base", base),
            against=required_text("against", against),
            by=names("by", by),
            measure=text("measure", measure),
            grain=_grain(grain),
            accounts=accounts,
            better=text("better", better),  # type: ignore[arg-type]  # variance() names those there are
            note=self._age(),
        )

    def variance_plot(
        self,
        *,
        base: str,
        against: str,
        by: str,
        kind: Literal["bar", "waterfall"] = "bar",
        measure: str | None = None,
        grain: Grain | None = None,
        accounts: Accounts | None = None,
        better: Better | None = None,
        labels: Labels | None = None,
        title: str | None = None,
        unit: str | None = None,
        theme: Theme | None = None,
    ) -> Chart:
        """Draw ``variance(...)``: bars, or a waterfall from the total of ``base`` to that of ``against``.

        Favourable is blue, unfavourable orange; grey is neutral or unknown. The other arguments are those of
        ``variance`` and ``plot``.

        Raises what ``variance`` raises; MissingExtraError if the extra ``plot`` is not installed.
        """
        made = self.variance(
            base=base, against=against, by=by, measure=measure, grain=grain, accounts=accounts, better=better
        )
        return made.plot(kind, labels=labels, title=title, unit=unit, theme=theme)

    def _age(self) -> str | None:
        """Return the warning of an old result as far as readers of a chart need it: no addresses, no request ids."""
        return self.warning.partition(REASON)[0] if self.warning is not None else None

    def _about(self) -> Mapping[str, object]:
        return about_of(self.info, self.warning)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the rows to any library that reads Arrow streams, such as polars and DuckDB."""
        return self.table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return self._preview().text()

    def _preview(self, rows: int = 0) -> Preview:
        """Leave out the time of the refresh, so that a notebook looks the same when it is run again."""
        info = self.info
        span = f", {info.min_date} to {info.max_date}" if info.min_date else ""
        title = (
            f"{info.provider_id}/{info.entity_set}: {_count(info.row_count, 'row')}, "
            f"{_count(self.table.num_columns + len(self.labelled), 'column')}{span} ({info.source})"
        )
        dates = [date.name for date in self.schema.date_columns]
        notes = tuple(note for note in (self.warning, said_of_mixed(info.mixed)) if note)
        # Descriptions for the rows on show only: a result may have millions.
        head = replace(self, table=self.table.slice(0, AT_TOP + rows))._shown()
        return preview(head, title=title, notes=notes, kept=dates, more_rows=rows, total=len(self))


def _label_name(dimension: str, taken: Sequence[str]) -> str:
    name = f"{dimension}_description"
    while name in taken:
        name += "_"
    return name


def _grain(grain: object) -> Any:
    """Return *grain* as text; which grains there are is checked where the dates are known."""
    return text("grain", grain)


def _aggregation(agg: object) -> Any:
    return required_text("agg", agg)


def read_result(path: Path) -> Result:
    """Read a file of ``Result.to_parquet``.

    Raises:
        UnusableFileError: The file is damaged, or was not written by this version of sacnb.
        OSError: It cannot be opened.
    """
    table, metadata = read_parquet(path)
    info, schema = from_metadata(metadata, table.schema)
    if table.num_rows != info.row_count or table.column_names != [column.name for column in info.columns]:
        raise UnusableFileError("has other rows or columns than its metadata says")
    return Result(table, schema, info)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
