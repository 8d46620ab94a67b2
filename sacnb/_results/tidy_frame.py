"""The tidy frame of a result, with its files and its chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from sacnb._arguments import flag, names, one_of, text
from sacnb._frames.convert import arrow_schema, to_pandas
from sacnb._frames.tidy import Aggregation
from sacnb._frames.tidy import TidyFrame as TidyRows
from sacnb._odata.schema import Schema
from sacnb._results.files import Tabular, Target, write_arrow, write_parquet
from sacnb._results.info import ResultInfo, about_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from sacnb._charts.plot import Chart, Kind, Labels, Theme

__all__ = ["TidyFrame", "beside_ids"]


@dataclass(frozen=True, slots=True, repr=False)
class TidyFrame(TidyRows, Tabular):
    """A tidy frame, with counts of the rows and values left out; what ``Result.tidy`` returns.

    ``frame`` is the polars frame and ``grain`` that of its dates. ``rows_without_date`` counts rows of the result whose
    date is ``#``, empty or unreadable. ``rows_without_value`` counts, in the other rows, the measures that are null or
    not a number. ``note`` says both in words, and what was aggregated; it is empty where there is nothing to say.
    """

    __module__ = "sacnb"

    schema: Schema = field(kw_only=True)
    info: ResultInfo = field(kw_only=True)
    agg: Aggregation = field(default="sum", kw_only=True)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, kw_only=True, repr=False)

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        table = self.frame.to_arrow()
        texts = {pa.large_string(), pa.string_view()}  # polars' own
        fields = [pa.field(one.name, pa.string()) if one.type in texts else one for one in table.schema]
        return table.cast(pa.schema(fields))

    def polars(self) -> pl.DataFrame:
        """Return the rows as a polars frame, as ``frame`` does."""
        return self.frame

    def pandas(self, *, backend: Literal["numpy", "pyarrow"] = "numpy") -> pd.DataFrame:
        """Return the rows as a pandas frame; see ``Result.pandas``."""
        one_of("backend", backend, ("numpy", "pyarrow"))
        return to_pandas(self.arrow(), backend=backend)

    def to_parquet(self, target: Target) -> None:
        """Write the rows as Parquet; ``target`` is a path, whose file is replaced in one step, or a binary stream."""
        write_parquet(self.arrow(), {}, target)

    def to_arrow(self, target: Target) -> None:
        """Write the rows as an Arrow IPC file."""
        write_arrow(self.arrow(), {}, target)

    def plot(
        self,
        *,
        by: str | Sequence[str] | None = None,
        measure: str | None = None,
        kind: Kind | None = None,
        labels: Labels | None = None,
        other: bool = False,
        title: str | None = None,
        unit: str | None = None,
        theme: Theme | None = None,
    ) -> Chart:
        """Draw the rows as they are; the arguments, and what it raises, are those of ``Result.plot``."""
        from sacnb._charts.plot import plot_frame

        return plot_frame(
            self.frame.drop([f"label_{name}" for name in self.texts]),
            self.grain,
            self.schema,
            by=names("by", by),
            measure=text("measure", measure),
            agg=self.agg,
            kind=text("kind", kind),  # type: ignore[arg-type]  # plot_frame() names those there are
            labels=beside_ids(self.texts) if labels is None else labels,
            other=flag("other", other),
            title=text("title", title),
            unit=text("unit", unit),
            theme=text("theme", theme),  # type: ignore[arg-type]
            notes=[self.note],
            table=arrow_schema(self.info.columns).empty_table(),
            measures=[column.name for column in self.info.columns if column.role == "measure"],
        )

    def _about(self) -> Mapping[str, object]:
        more = {"grain": self.grain, "aggregation": self.agg, "note": self.note}
        return {**about_of(self.info), **{name: value for name, value in more.items() if value}}


def beside_ids(texts: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return labels for a chart that keep the id beside the description."""
    return {
        name: {one: text if text == one else f"{text} ({one})" for one, text in words.items()}
        for name, words in texts.items()
        if words
    }
