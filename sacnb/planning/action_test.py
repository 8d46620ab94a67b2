"""Test a data action: random inputs, a run, and a comparison with a formula."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from sacnb._arguments import callback, elements, flag, mapping, plain, required_text, whole_number
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._write.slice import as_decimal
from sacnb._write.target import VERSION
from sacnb.errors import ContractError, QueryError, UnknownNameError
from sacnb.planning.template import offered_members

if TYPE_CHECKING:
    from sacnb._actions.multi_action import MultiAction
    from sacnb._tenant import Model

__all__ = ["ActionTest", "data_action_test"]

_SCALE: Final = 7
_MOST_IN_FILTER: Final = 30
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ActionTest(Previewed):
    """The outcome of ``data_action_test``.

    ``differences`` is a polars frame of the rows that are not as the formula has them, sorted by their members:
    ``difference`` (missing, other, unexpected), the dimensions, and each measure ``_expected`` and ``_found``.
    ``inputs`` are the facts that the action started from, and ``run_id`` is its run.
    """

    __module__ = "sacnb.planning"

    action_id: str
    run_id: str
    seed: int
    inputs: pl.DataFrame
    expected: pl.DataFrame
    found: pl.DataFrame
    differences: pl.DataFrame

    @property
    def passed(self) -> bool:
        """Return whether all rows are as the formula has them."""
        return not self.differences.height

    def facts(self) -> dict[str, str]:
        """Return the outcome in words, by name."""
        told = f"{self.differences.height:,} of {max(self.expected.height, self.found.height):,} rows differ"
        about = {
            "multi-action": self.action_id,
            "run": self.run_id,
            "inputs": f"{self.inputs.height:,} rows (seed {self.seed})",
            "outcome": "as the formula" if self.passed else told,
        }
        shown = [
            ", ".join(f"{name}={value}" for name, value in row.items())
            for row in self.differences.head(_SHOWN).iter_rows(named=True)
        ]
        return {**about, **{f"row {number}": words for number, words in enumerate(shown, start=1)}}

    def __repr__(self) -> str:
        return "\n".join(["ActionTest", *(f"  {name}: {value}" for name, value in self.facts().items())])

    def _preview(self) -> Preview:
        return fact_table("Test of a data action", self.facts())


def data_action_test(
    model: Model,
    action: MultiAction,
    formula: Callable[[pl.DataFrame], pl.DataFrame],
    *,
    version: str,
    output: str | None = None,
    members: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    rows: int = 100,
    largest: int = 1000,
    decimals: int = 2,
    seed: int = 0,
    tolerance: float = 0.0,
    overwrite: bool = False,
    timeout_s: float = 3600.0,
) -> ActionTest:
    """Write random values, run the multi-action that has the data action, and compare what it wrote with a formula.

        def formula(inputs):
            return inputs.with_columns(pl.col("Amount") * 2)

        test = planning.data_action_test(model, action, formula, version="public.Test", members={"Date": ["202501"]})
        assert test.passed, test

    Random values are written, and the action writes what it does, so take a version that is there for tests. Both stay
    in it. SAC runs multi-actions for named users only.

    Args:
        model: The model that the action works on.
        action: The multi-action.
        formula: Gets the facts of *version* after the random values were written, with decimals, and returns those of
            *output* after the run: a column for each dimension (without ``Version``: *output*) and measure compared.
        version: The version that gets random values.
        output: The version to compare; by default the same.
        members: The slice that gets values and is compared, by dimension; by default all members that take values.
        parameters: The parameters of the action, as for ``action.run``.
        rows: The number of random rows; fewer where the slice has fewer combinations of members.
        largest: Values are between this number and its negative.
        decimals: The number of decimals of the values, at most 7.
        seed: The seed of the random numbers.
        tolerance: The difference that counts as none.
        overwrite: Write although the slice of *version* has facts.
        timeout_s: The seconds to wait for the run.

    Raises QueryError for arguments and for a slice with facts; ContractError for a frame of the formula with repeated
    keys; UnknownNameError; what ``Model.write``, ``action.run`` and ``run.wait`` raise.
    """
    version = required_text("version", version)
    output = version if output is None else required_text("output", output)
    count, seed = whole_number("rows", rows, least=1) or 1, whole_number("seed", seed) or 0
    places, most = whole_number("decimals", decimals) or 0, whole_number("largest", largest, least=1) or 1
    allowed = _tolerance(tolerance)
    if callback("formula", formula) is None or places > _SCALE:
        wrong = (
            f"decimals must be at most {_SCALE}, got {places}." if places > _SCALE else "formula must be a function."
        )
        raise QueryError(wrong)
    wanted = _wanted(model, members)
    if VERSION not in model.dimensions or VERSION in wanted:
        raise QueryError(f"version= and output= name members of {VERSION!r}, which {model.id!r} must have.")
    before = _facts(model, version, wanted)
    if before.height and not flag("overwrite", overwrite):
        raise QueryError(
            f"The slice of {version!r} has {before.height:,} facts, which random values would overwrite.",
            hint="Take a version for tests, narrow members=, or say overwrite=True.",
        )
    # Seeded, so that a test that fails can be repeated; no secret depends on it.
    source = random.Random(seed)
    keys = _random_keys(model, wanted, count, source)
    values = {name: _random_values(keys.height, most, places, source) for name in model.measures}
    model.write(keys.with_columns(**values), version=version, undo=False, progress=None)
    inputs = _facts(model, version, wanted)
    expected = _expected(model, formula(inputs), output)
    run = action.run(parameters).wait(timeout_s=timeout_s)
    found = _facts(model, output, wanted)
    return ActionTest(
        action.id, run.id, seed, inputs, expected, found, _differences(model, expected, found, Decimal(str(allowed)))
    )


def _tolerance(value: object) -> float:
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal) or not 0 <= found < math.inf:
        raise QueryError(f"tolerance must be a number of at least 0, got {value!r}.")
    return float(found)


def _wanted(model: Model, members: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Return the members of the slice that were named, by dimension."""
    found: dict[str, list[str]] = {}
    for name, value in mapping("members", members).items():
        if name not in model.dimensions:
            raise UnknownNameError("dimension", str(name), model.dimensions, where=repr(model.id))
        several = [value] if isinstance(value, str) else elements(f"members[{name!r}]", value)
        found[name] = [required_text(f"members[{name!r}]", one) for one in several or ()]
        if not found[name]:
            raise QueryError(f"members[{name!r}] must name members, got {value!r}.")
    return found


def _random_keys(model: Model, wanted: Mapping[str, list[str]], count: int, source: random.Random) -> pl.DataFrame:
    """Return *count* combinations of members of the slice, each once; fewer where there are fewer."""
    offered = offered_members(model, wanted)
    dimensions = [name for name in model.dimensions if name != VERSION]
    for name in dimensions:
        if not offered.get(name):
            raise QueryError(f"Which members {name!r} has is not known.", hint=f"members={{{name!r}: [...]}}")
    choices = [sorted(offered[name]) for name in dimensions]
    there = math.prod(len(one) for one in choices)
    keys = [_combination(number, choices) for number in source.sample(range(there), min(count, there))]
    return pl.DataFrame(keys, schema=dict.fromkeys(dimensions, pl.String), orient="row")


def _random_values(count: int, most: int, places: int, source: random.Random) -> pl.Series:
    unit = 10**places
    values = [Decimal(source.randint(-most * unit, most * unit)).scaleb(-places) for _ in range(count)]
    return pl.Series(values, dtype=pl.Decimal(38, _SCALE))


def _combination(number: int, choices: list[list[str]]) -> tuple[str, ...]:
    found = []
    for one in choices:
        number, at = divmod(number, len(one))
        found.append(one[at])
    return tuple(found)


def _facts(model: Model, version: str, wanted: Mapping[str, list[str]]) -> pl.DataFrame:
    """Return the facts of a slice of a version. A long list of members is not sent: the address would be too long."""
    where = {VERSION: version, **{name: some for name, some in wanted.items() if len(some) <= _MOST_IN_FILTER}}
    found = model.facts(where=where).fetch(progress=None).polars(decimals=True)
    return found.filter(*(pl.col(name).is_in(some) for name, some in wanted.items()))


def _expected(model: Model, made: object, output: str) -> pl.DataFrame:
    """Return the frame of the formula with keys as texts and measures as decimals."""
    if not isinstance(made, pl.DataFrame):
        raise QueryError(f"formula must return a polars DataFrame, got a {type(made).__name__}.")
    if VERSION not in made.columns:
        made = made.with_columns(pl.lit(output).alias(VERSION))
    measures = [name for name in made.columns if name in model.measures]
    keys = list(model.dimensions)
    unknown = [name for name in made.columns if name not in {*keys, *model.measures}]
    missing = [name for name in keys if name not in made.columns]
    if unknown or missing or not measures:
        raise QueryError(
            f"formula must return the dimensions and measures of {model.id!r}; missing: {missing or 'measures'}, "
            f"unknown: {unknown or 'none'}.",
            hint=f"Dimensions: {', '.join(keys)}. Measures: {', '.join(model.measures)}.",
        )
    found = made.select(
        *(pl.col(name).cast(pl.String) for name in keys),
        *(as_decimal(name, _SCALE, made.schema[name]) for name in measures),
    ).with_columns(pl.lit(output).alias(VERSION))
    if found.select(keys).is_duplicated().any():
        raise ContractError("formula returned several rows with the same members.")
    return found


def _differences(model: Model, expected: pl.DataFrame, found: pl.DataFrame, tolerance: Decimal) -> pl.DataFrame:
    keys = list(model.dimensions)
    measures = [name for name in expected.columns if name in model.measures]
    left = expected.select(*keys, *(pl.col(m).alias(f"{m}_expected") for m in measures), pl.lit(1).alias("\0left"))
    right = found.select(
        *(pl.col(name).cast(pl.String) for name in keys),
        *(as_decimal(m, _SCALE, found.schema[m]).alias(f"{m}_found") for m in measures),
        pl.lit(1).alias("\0right"),
    )
    joined = left.join(right, on=keys, how="full", coalesce=True).sort(keys)
    other = pl.any_horizontal(
        pl.col(f"{m}_expected").is_null().ne(pl.col(f"{m}_found").is_null())
        | ((pl.col(f"{m}_expected") - pl.col(f"{m}_found")).abs() > tolerance).fill_null(value=False)
        for m in measures
    )
    kind = (
        pl.when(pl.col("\0left").is_null())
        .then(pl.lit("unexpected"))
        .when(pl.col("\0right").is_null())
        .then(pl.lit("missing"))
        .when(other)
        .then(pl.lit("other"))
    )
    columns = [name for m in measures for name in (f"{m}_expected", f"{m}_found")]
    return joined.select(kind.alias("difference"), *keys, *columns).filter(pl.col("difference").is_not_null())
