"""Tell several records for one key from rows that came twice: by SAC's totals over all rows."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._connections import Interrupt
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._odata.page import cut_page
from sacnb._odata.schema import Column
from sacnb._odata.where import columns_of
from sacnb._pull.count import check_page, count_quietly, run_concurrently
from sacnb._pull.duplicates import Repeats, limbs_of
from sacnb._pull.plan import Job, Records
from sacnb.errors import BadAnswer, InconsistentAnswer, QueryError, RequestError

__all__ = ["Tally", "check_records", "count_keys", "has_single_records", "totals_of"]

_log = logging.getLogger("sacnb.pull")

_EXACT: Final = Context(prec=200)
# Sums and means of floats depend on the order in which they are added up.
_FLOAT_TOLERANCE: Final = 1e-9
_AGAIN: Final = "No data was saved. Download again; if it happens again and nobody is writing to the model, report it."


@dataclass(slots=True)
class _Values:
    """Values of a measure that are not null: their sum, size, bounds and number; decimals and integers are exact."""

    is_float: bool
    sum: Decimal = Decimal(0)
    floats: float = 0.0
    size: float = 0.0
    lowest: Decimal | None = None
    highest: Decimal | None = None
    count: int = 0

    def add(self, values: pa.ChunkedArray) -> None:
        for chunk in values.chunks:
            if len(chunk) > chunk.null_count:
                self.count += len(chunk) - chunk.null_count
                self._add(chunk)

    def _add(self, values: pa.Array) -> None:
        if self.is_float:
            floats = values.cast(pa.float64())
            self.floats += pc.sum(floats).as_py()
            self.size += pc.sum(pc.abs(floats)).as_py()
            self._widen(*(_decimal(bound.as_py()) for bound in pc.min_max(floats).values()))
            return
        scale = getattr(values.type, "scale", 0)
        small = _small(values)
        if small is not None:
            whole, bounds = int(small.sum()), [Decimal(int(bound)) for bound in (small.min(), small.max())]
            self._widen(*(bound.scaleb(-scale, _EXACT) for bound in bounds))
        else:
            whole = sum(word << (32 * place) for place, word in enumerate(limbs_of(values).sum(axis=0).tolist()))
            self._widen(*(_decimal(bound.as_py()) for bound in pc.min_max(values).values()))
        self.sum = _EXACT.add(self.sum, Decimal(whole).scaleb(-scale, _EXACT))

    def _widen(self, low: Decimal | None, high: Decimal | None) -> None:
        if low is not None and (self.lowest is None or low < self.lowest):
            self.lowest = low
        if high is not None and (self.highest is None or high > self.highest):
            self.highest = high

    def merge(self, other: _Values) -> None:
        self.sum = _EXACT.add(self.sum, other.sum)
        self.floats += other.floats
        self.size += other.size
        self.count += other.count
        self.lowest = min((one for one in (self.lowest, other.lowest) if one is not None), default=None)
        self.highest = max((one for one in (self.highest, other.highest) if one is not None), default=None)

    def is_sum(self, total: Decimal) -> bool:
        if not self.is_float:
            return total == self.sum
        return math.isclose(total, self.floats, rel_tol=_FLOAT_TOLERANCE, abs_tol=self.size * _FLOAT_TOLERANCE)

    def is_other(self, total: Decimal) -> bool:
        """Return whether a total is the smallest, largest or mean value, or their number."""
        total_of = self.floats if self.is_float else float(self.sum)
        mean = total_of / max(self.count, 1)
        is_mean = not math.isfinite(mean) or math.isclose(total, mean, rel_tol=_FLOAT_TOLERANCE)
        return is_mean or total in {self.lowest, self.highest, self.count}


def _small(values: pa.Array) -> npt.NDArray[np.int64] | None:
    """Return a 128-bit decimal column as the integers under it, if it has no nulls and 64 bits hold their sum."""
    if not pa.types.is_decimal128(values.type) or values.null_count:
        return None
    words = np.frombuffer(values.buffers()[1], "<i8").reshape(-1, 2)[values.offset : values.offset + len(values)]
    low = np.ascontiguousarray(words[:, 0])
    if max(-int(low.min()), int(low.max())) * len(low) >= 2**63 or not np.array_equal(words[:, 1], low >> 63):
        return None
    return low


class Tally:
    """Adds up the measures of rows as they come, to be compared with SAC's totals."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._values = {
            one.name: _Values(one.edm_type in {"Edm.Double", "Edm.Single"}) for one in columns if one.role == "measure"
        }
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Add the rows of a table."""
        self.rows += len(table)
        for name, values in self._values.items():
            values.add(table.column(name))

    def merge(self, other: Tally) -> None:
        """Add what another one has added up."""
        self.rows += other.rows
        for name, values in other._values.items():
            self._values[name].merge(values)

    @property
    def sums(self) -> tuple[Decimal | float, ...]:
        """The sums so far."""
        return tuple(one.floats if one.is_float else one.sum for one in self._values.values())

    @property
    def measures(self) -> list[str]:
        """The names of the measures."""
        return list(self._values)

    def compare(self, totals: dict[str, Decimal | None], repeats: Repeats) -> Records:
        """Return how the totals of SAC compare with the rows."""
        matched: list[str] = []
        other: list[str] = []
        differing: list[str] = []
        for name, values in self._values.items():
            total = totals.get(name)
            if total is None or not values.count:  # nothing to compare, or SAC gives no total
                other += [name] if values.count else []
            elif values.is_sum(total):
                matched.append(name)
            else:
                (other if values.is_other(total) else differing).append(name)
        unknown = "" if matched or other or differing else "no measure has a value"
        return Records(repeats.rows, repeats.keys, tuple(matched), tuple(other), tuple(differing), unknown)


def check_records(job: Job, tally: Tally, repeats: Repeats, run: int) -> Records:
    """Tell several records for one key from rows that came twice, and return what is known of the records.

    The rows are compared with SAC's totals. A fault is where no measure has SAC's total and one of them cannot be
    explained by another aggregation than a sum. A *run* of rows that stands on two pages is a fault, unless a total and
    SAC's number of keys prove the rows.

    Raises:
        InconsistentAnswer: Rows came twice.
        Cancelled: The user stopped the job.
    """
    shared = f"{repeats.rows:,} rows of {job.label} share their key with another row, the first: {repeats.first}"
    totals = totals_of(job, tally.measures)
    if isinstance(totals, str):
        found = Records(repeats.rows, repeats.keys, unknown=totals)
    else:
        found = tally.compare(totals, repeats)
    if found.differing and not found.matched:
        name = found.differing[0]
        problem = f"{shared}; and SAC has another total of {name!r} than all rows together."
        raise InconsistentAnswer(problem, hint=_AGAIN)
    if run and not (found.matched and count_keys(job) == tally.rows - repeats.rows + repeats.keys):
        raise InconsistentAnswer(
            f"{shared}; {run:,} of them, one after the other, stand on two pages, and SAC's totals do not prove that "
            "they are records.",
            hint=f"{_AGAIN} Another page_size or one more measure may tell them apart.",
        )
    return found


def totals_of(job: Job, measures: Sequence[str]) -> dict[str, Decimal | None] | str:
    """Return SAC's totals of the measures over the rows of a job, or why there are none."""
    if not measures:
        return "no measure was selected"
    if job.query.top is not None:
        return "the rows are limited"
    if columns_of(job.query.where) - {column.name for column in job.schema.dimensions}:
        return "the filter is on more than dimensions"
    try:
        query = replace(
            job.query,
            entity_set=FACT_DATA_AGGREGATION,
            select=tuple(measures),
            order_by=(),
            page_size=None,
            count=False,
        )
        pieces = query.split(job.schema, job.tenant_url)
        found = run_concurrently(job, [_total_of(job, one.url(job.tenant_url, job.schema)) for one in pieces])
    except (QueryError, RequestError, BadAnswer) as error:
        _log.info("%s: SAC's totals could not be read: %s", job.label, error)
        return "SAC did not give one"
    totals: dict[str, Decimal | None] = dict.fromkeys(measures)
    for one in found:
        for name, value in one.items():
            before = totals.get(name)
            totals[name] = value if before is None else before if value is None else _EXACT.add(before, value)
    return totals


def _total_of(job: Job, url: str) -> Callable[[Interrupt], dict[str, Decimal | None]]:
    def ask(stop: Interrupt) -> dict[str, Decimal | None]:
        answer = job.context.session.fetch("GET", url, operation="read totals", check=check_page, cancelled=stop)
        try:
            rows = json.loads(cut_page(answer.body, status=answer.status).rows, parse_float=Decimal, parse_int=Decimal)
        except (ValueError, RecursionError, InvalidOperation) as error:
            raise BadAnswer(f"SAC sent a total that cannot be read: {error}.") from error
        if len(rows) > 1 or not all(isinstance(row, dict) for row in rows):
            raise BadAnswer(f"SAC sent {len(rows):,} rows where one total was expected.")
        return {name: _decimal(value) for row in rows for name, value in row.items() if not name.startswith("@")}

    return ask


def _decimal(value: Any) -> Decimal | None:
    """Return a number, or the text of one, exactly; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def count_keys(job: Job) -> int | None:
    """Return SAC's number of keys without the job's limit; ``None`` where it does not say.

    An aggregation that keeps every dimension has one row for each key.

    Raises:
        SacError: The session's errors, but for refusals.
    """
    select = tuple(column.name for column in job.columns if column.role != "attribute")
    keys = replace(
        job.query, entity_set=FACT_DATA_AGGREGATION, select=select, order_by=(), top=None, page_size=1, count=True
    )
    try:
        calls = [_count_in(job, one.url(job.tenant_url, job.schema)) for one in keys.split(job.schema, job.tenant_url)]
        counts = run_concurrently(job, calls)
    except (QueryError, BadAnswer, RequestError) as error:
        _log.info("%s: the keys could not be counted: %s", job.label, error)
        return None
    return None if None in counts else sum(counts)


def _count_in(job: Job, url: str) -> Callable[[Interrupt], int | None]:
    def ask(stop: Interrupt) -> int | None:
        answer = job.context.session.fetch("GET", url, operation="count keys", check=check_page, cancelled=stop)
        return cut_page(answer.body, status=answer.status).count

    return ask


def has_single_records(job: Job) -> bool:
    """Return whether SAC counts as many keys as rows: each key then has one record."""
    keys = count_keys(job)
    return keys is not None and keys == count_quietly(replace(job, query=replace(job.query, top=None)))
