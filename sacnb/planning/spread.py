"""Spread totals over members or months by the shares of a reference, exact to the last digit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, Final, Literal

import polars as pl

from sacnb._arguments import flag, names, one_of, plain, text, whole_number
from sacnb._write.check import ROW, Problems, describe
from sacnb._write.frame import read_frame
from sacnb.errors import QueryError, RowsError

__all__ = ["spread"]

# Of the measures in SAC's metadata (Decimal(31, 7)).
_SCALE: Final = 7
_DIGITS: Final = 38
_WEIGHT: Final = "\0weight"
# Digits for the largest float beside the smallest.
_EXACT: Final = Context(prec=800)


def spread(
    totals: object,
    reference: object,
    *,
    measure: str | None = None,
    weight: str | None = None,
    over: Sequence[str] | str | None = None,
    scale: int | None = None,
    zero: Literal["error", "equal"] = "error",
    signed: bool = False,
) -> pl.DataFrame:
    """Spread each total over the rows of a reference that share its members, in proportion to their values.

        spread(pl.DataFrame({"Date": ["202501"], "Amount": [1000]}), last_year.drop("Version"))

    The columns that both frames have tie a total to its rows: with ``Date`` in both, each month is spread by its own
    shares; with ``Date`` in the totals only, all months by the same. The parts of a total add up to it exactly, and
    none differs from its share by a whole unit of the last decimal: the units that rounding leaves over go to the
    largest remainders, then to the larger weights, then by member in order.

    Args:
        totals: A frame of totals, one row each; or a single number.
        reference: The frame whose values are the weights, one row for each combination of members.
        measure: The column of the totals; by default the only column of decimals or floats.
        weight: The column of weights; by default that of the measure's name.
        over: The columns of the reference to spread over; by default all that the totals do not have, except
            decimals and floats.
        scale: The decimals of the result; by default those of a decimal total, and otherwise 7, as SAC's measures.
            Floats are rounded to it; another total with more decimals is a problem.
        zero: "equal" spreads a total in equal parts where the weights add up to zero; "error" raises.
        signed: Take weights of both signs, whose parts can exceed the total.

    Returns:
        The columns of the totals, then those that were spread over; the measure is a Decimal. A weight that is zero or
        null gives a part of zero, so that an update leaves no old value behind. Rows of the reference without a total
        are left out.

    Raises RowsError with all problems as a frame; QueryError for arguments.
    """
    scale = whole_number("scale", scale)
    if scale is not None and scale > _DIGITS:
        raise QueryError(f"scale must be at most {_DIGITS}, the digits of a decimal, got {scale}.")
    equal = one_of("zero", zero, ("error", "equal")) == "equal"
    signed = flag("signed", signed)
    weights = read_frame(reference)
    number = _number(totals)
    measure = text("measure", measure)
    weight = text("weight", weight)
    if number is not None:
        measure = measure or weight or _only_measure(weights, "reference")
        if isinstance(number, Decimal) and not number.is_finite():
            raise QueryError(f"A total must be a number, got {number}.")
        given = pl.DataFrame({measure: [number]}, strict=False)
    else:
        given = read_frame(totals)
        measure = measure or _only_measure(given, "totals")
    columns = _columns(given, weights, measure, weight or measure, names("over", over))
    if scale is None:
        kind = given.schema[measure]
        scale = kind.scale if isinstance(kind, pl.Decimal) and number is None else _SCALE
    with localcontext(_EXACT):  # the program's own may have fewer digits than a total
        return _Spread(given, weights, columns, scale=scale, equal=equal, signed=signed).frame()


def _number(value: object) -> Any:
    """Return *value* where it is one number, as Python's own."""
    found = plain(value)
    return found if isinstance(found, int | float | Decimal) and not isinstance(found, bool) else None


def _is_measure(kind: pl.DataType) -> bool:
    return kind.is_float() or kind.is_decimal()


def _only_measure(frame: pl.DataFrame, argument: str) -> str:
    found = [name for name, kind in frame.schema.items() if _is_measure(kind)]
    if len(found) != 1:
        raise QueryError(
            f"measure is missing: {argument} has {len(found)} columns of decimals or floats.",
            hint=f"Name it: measure=, of {', '.join(frame.columns)}.",
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class _Columns:
    measure: str
    weight: str
    shared: tuple[str, ...]
    over: tuple[str, ...]


def _columns(
    totals: pl.DataFrame, reference: pl.DataFrame, measure: str, weight: str, over: tuple[str, ...] | None
) -> _Columns:
    """Return the columns by their use; names and types are checked."""
    for frame, name, argument in ((totals, measure, "totals"), (reference, weight, "reference")):
        if name not in frame.columns:
            raise QueryError(
                f"{argument} has no column {name!r}.",
                hint=f"Name it with {'measure' if argument == 'totals' else 'weight'}=, of {', '.join(frame.columns)}.",
            )
        kind = frame.schema[name]
        if not (kind.is_numeric() or kind == pl.Null):
            raise QueryError(f"The column {name!r} of {argument} must be numbers, and has the type {kind}.")
    keys = [name for name in totals.columns if name != measure]
    taken = {measure, weight}
    shared = tuple(name for name in keys if name in reference.columns and name not in taken)
    for name in shared:
        left, right = totals.schema[name], reference.schema[name]
        if left != right:
            raise QueryError(
                f"{name!r} is {left} in totals and {right} in reference, so nothing would match.",
                hint=f"Cast one of them: frame.with_columns(pl.col({name!r}).cast(...)).",
            )
    free = [name for name in reference.columns if name not in {*shared, *taken}]
    if over is None:
        over = tuple(name for name in free if not _is_measure(reference.schema[name]))
    wrong = [name for name in over if name not in free or name in keys]
    if wrong or not over:
        raise QueryError(
            f"over={over!r} must name columns that the reference has and the totals do not have.",
            hint=f"There is: {', '.join(free)}." if free else "The reference has no such column.",
        )
    return _Columns(measure, weight, shared, over)


class _Spread:
    """One spread: check both frames, join them, and divide each total."""

    def __init__(
        self, totals: pl.DataFrame, reference: pl.DataFrame, columns: _Columns, *, scale: int, equal: bool, signed: bool
    ) -> None:
        self._columns = columns
        self._scale = scale
        self._equal = equal
        self._signed = signed
        self._problems = Problems()
        self._wrong: dict[tuple[str, str], list[int]] = {}  # totals by problem and message
        self._totals = totals.with_row_index(ROW)
        keep = [*columns.shared, *columns.over]
        weights = reference.with_row_index(ROW).select(ROW, *keep, pl.col(columns.weight).alias(_WEIGHT))
        self._reference = weights

    def frame(self) -> pl.DataFrame:
        columns = self._columns
        keys = [name for name in self._totals.columns if name not in {ROW, columns.measure}]
        self._refuse_repeated(self._totals, keys, "totals")
        self._refuse_repeated(self._reference, [*columns.shared, *columns.over], "reference")
        totals = self._units()
        weights = self._whole_weights()
        self._raise_problems()
        joined = self._joined()
        parts = self._parts(joined, totals, weights)
        self._raise_problems()
        values = [Decimal(part).scaleb(-self._scale) for part in parts]
        if max((value.adjusted() for value in values), default=0) >= _DIGITS - self._scale:
            raise QueryError(f"A part has more than the {_DIGITS} digits of a decimal with scale={self._scale}.")
        made = pl.Series(columns.measure, values, dtype=pl.Decimal(_DIGITS, self._scale))
        order = [*keys, *columns.over, columns.measure]
        return joined.with_columns(made).select(order)

    def _joined(self) -> pl.DataFrame:
        """Return a row for each part, those of a total together and in the order of the members."""
        columns = self._columns
        totals = self._totals.drop(columns.measure)
        reference = self._reference.rename({ROW: "\0at"})
        if columns.shared:
            joined = totals.join(reference, on=list(columns.shared), how="inner", nulls_equal=True)
        else:
            joined = totals.join(reference, how="cross")
        alone = totals.join(joined.select(ROW).unique(), on=ROW, how="anti")
        shown = ", ".join(map(repr, columns.shared)) or "any column"
        self._problems.add_rows(
            self._totals.join(alone.select(ROW), on=ROW, how="semi"),
            columns.measure,
            "no reference",
            f"The reference has no row with the members of this total in {shown}. A column whose members should not "
            "be compared has to be dropped from the reference.",
        )
        self._raise_problems()
        return joined.drop(_WEIGHT).sort(ROW, *columns.over)

    def _parts(self, joined: pl.DataFrame, totals: dict[int, int], weights: dict[int, int]) -> list[int]:
        parts: list[int] = []
        ats = joined.get_column("\0at").to_list()
        for row, start, end in _runs(joined.get_column(ROW).to_list()):
            own = [weights[at] for at in ats[start:end]]
            if not self._signed and min(own) < 0 < max(own):
                self._report(
                    row, "mixed signs", "The weights have both signs. Take the absolute values, or signed=True."
                )
            elif not sum(own) and totals[row] and not self._equal:
                self._report(row, "zero reference", 'The weights add up to zero. zero="equal" spreads in equal parts.')
            else:
                parts += divide(totals[row], own if sum(own) else [1] * len(own))
        return parts

    def _report(self, row: int, problem: str, message: str) -> None:
        self._wrong.setdefault((problem, message), []).append(row)

    def _refuse_repeated(self, frame: pl.DataFrame, keys: list[str], argument: str) -> None:
        again = frame.filter(pl.struct(keys).is_duplicated()) if keys else frame.slice(1)
        self._problems.add_rows(
            again, keys[0] if keys else ROW, "duplicate key", f"Another row of {argument} has the same members."
        )

    def _units(self) -> dict[int, int]:
        """Return each total as a whole number of units of the last decimal."""
        measure = self._columns.measure
        found: dict[int, int] = {}
        may_round = self._totals.schema[measure].is_float()
        for row, value in _numbers(self._totals, measure):
            exact = value.scaleb(self._scale) if value is not None and value.is_finite() else None
            units = None if exact is None else exact.to_integral_value(ROUND_HALF_EVEN)
            if value is None or exact is None or units is None:
                self._report(row, "null" if value is None else "type", "A total must be a number.")
            elif units != exact and not may_round:
                message = f"The total has more than {self._scale} decimals. Round it first, or raise scale=."
                self._report(row, "precision", message)
            else:
                found[row] = int(units)
        return found

    def _whole_weights(self) -> dict[int, int]:
        """Return the weights as whole numbers in the same proportions; null is zero."""
        found: dict[int, Decimal] = {}
        bad: list[int] = []
        for row, value in _numbers(self._reference, _WEIGHT):
            if value is not None and not value.is_finite():
                bad.append(row)
            else:
                found[row] = value or Decimal(0)
        wrong = self._reference.filter(pl.col(ROW).is_in(bad)).rename({_WEIGHT: self._columns.weight})
        self._problems.add_rows(wrong, self._columns.weight, "type", "A weight of the reference is not a number.")
        finest = min((int(value.as_tuple().exponent) for value in found.values()), default=0)
        return {row: int(value.scaleb(-finest)) for row, value in found.items()}

    def _raise_problems(self) -> None:
        for (problem, message), rows in self._wrong.items():
            wrong = self._totals.filter(pl.col(ROW).is_in(rows))
            self._problems.add_rows(wrong, self._columns.measure, problem, message)
        found = self._problems.frame()
        if found.height:
            raise RowsError(
                f"The totals cannot be spread: {describe(found)}",
                problems=found,
                hint="error.problems is a frame of all of them.",
            )


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights that do not add up to zero: the method of largest remainders."""
    whole = sum(weights)
    sign = -1 if total < 0 else 1
    if whole < 0:
        whole, weights = -whole, [-weight for weight in weights]
    pairs = [divmod(abs(total) * weight, whole) for weight in weights]
    left = abs(total) - sum(part for part, _ in pairs)
    first = sorted(range(len(weights)), key=lambda at: (-pairs[at][1], -weights[at], at))[:left]
    extra = dict.fromkeys(first, 1)
    return [sign * (part + extra.get(at, 0)) for at, (part, _) in enumerate(pairs)]


def _runs(rows: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield each row number that stands there, and where its run begins and ends."""
    start = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or rows[at] != rows[start]:
            yield rows[start], start, at
            start = at


def _numbers(frame: pl.DataFrame, name: str) -> Iterator[tuple[int, Decimal | None]]:
    """Yield row numbers and values; floats by their shortest text, as they are shown."""
    texts = frame.get_column(name).cast(pl.String)
    for row, value in zip(frame.get_column(ROW), texts, strict=True):
        yield row, None if value is None else Decimal(value)
