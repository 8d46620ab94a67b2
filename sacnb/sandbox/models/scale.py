"""``SCALE``: any number of rows, each computed from its number on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Final

import polars as pl

from sacnb.sandbox.model import HIERARCHY_ROOT, Dimension, Model, date_dimension, dimension, version_dimension
from sacnb.sandbox.schema import Column, decimal_column, text_column

__all__ = ["MAX_ROWS", "scale"]

_VERSIONS: Final = {"public.Actual": "Actual", "public.Plan": "Plan"}
_MONTHS: Final = tuple(f"{year}{month:02d}" for year in range(2015, 2025) for month in range(1, 13))
# Texts that break naive clients: leading and trailing blanks, quotes, escapes, line ends, the separator of JSON rows,
# reserved characters of URLs, and characters of two, three and four bytes.
_REGIONS: Final = (
    "Pacific West ", " Leading", "#", "Zürich", "São Paulo", "日本", "Ελλάδα", "🚀 Orbit", "O'Hare", 'The "Loop"',
    "Back\\slash", "Line\nbreak", "Tab\tstop", 'North},{"x":1', "50% + tax & duty = a/b?c;d", "<b>{bold}</b>",
)  # fmt: skip
_CHANNELS: Final = ("Direct", "Partner", "Online", "#")
_PRODUCTS: Final = tuple(f"P-{number:03d}" for number in range(500))
# Customer numbers as in SAP: leading zeros are lost if they are read as numbers.
_CUSTOMERS: Final = tuple(f"{number:010d}" for number in range(100_000))
_SEGMENTS: Final = ("Industry", "Retail ", "Public sector", "Größe XL", "#")
# Ordered from the dimension that changes most often to the one that changes least.
_DIMENSIONS: Final[Mapping[str, Sequence[str]]] = {
    "Customer": _CUSTOMERS,
    "Product": _PRODUCTS,
    "Region": _REGIONS,
    "Date": _MONTHS,
    "Channel": _CHANNELS,
    "Version": tuple(_VERSIONS),
}
_ORDER: Final = ("Version", "Date", "Region", "Channel", "Product", "Customer")
_COLUMNS: Final = (
    *(text_column(name, key=True, max_length=300 if name == "Version" else 256) for name in _ORDER),
    decimal_column("Amount"),
    decimal_column("Quantity"),
)


def _combinations() -> int:
    total = 1
    for members in _DIMENSIONS.values():
        total *= len(members)
    return total


# More rows would repeat a key.
MAX_ROWS: Final = _combinations()
# Coprime to MAX_ROWS, so that number * _STRIDE + seed (mod MAX_ROWS) reaches every combination once.
_STRIDE: Final = 7_654_321
_PRIME: Final = 2_147_483_647
_NULL_EVERY: Final = 200
_MEASURE: Final = pl.Decimal(31, 7)


@dataclass(frozen=True, slots=True)
class _ScaleFacts:
    """Facts computed from the row number; the same number always gives the same row."""

    row_count: int
    seed: int
    columns: tuple[Column, ...] = field(default=_COLUMNS, repr=False)
    trims_decimals: bool = True

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of the rows with these numbers."""
        number = numbers.cast(pl.UInt64)
        combination = (number * _STRIDE + self.seed % MAX_ROWS) % MAX_ROWS
        made: list[pl.Series] = []
        for name in names:
            if name == "Amount":
                made.append(self._amount(number))
            elif name == "Quantity":
                made.append(self._quantity(number))
            else:
                made.append(_members(name).gather(combination // _divisor(name) % len(_DIMENSIONS[name])))
        return pl.DataFrame([s.alias(n) for s, n in zip(made, names, strict=True)])

    def _noise(self, number: pl.Series, salt: int) -> pl.Series:
        """Return pseudo-random numbers below 2^31; no step overflows 64 bits."""
        mixed = (number * 48_271 + (self.seed * 7_919 + salt) % _PRIME) % _PRIME
        return (mixed * mixed + salt) % _PRIME

    def _amount(self, number: pl.Series) -> pl.Series:
        """Return amounts of up to 15 digits, which a float64 holds exactly, with 0 to 7 decimals; some are null."""
        noise = self._noise(number, 1)
        fine = (self._noise(number, 2) * 1_000_003 + noise) % 10**15
        kept = pl.Series([10 ** (7 - digits) for digits in range(8)], dtype=pl.UInt64).gather(noise // 1000 % 8)
        signed = (fine // kept * kept).cast(pl.Int64) * (1 - 2 * (noise // 8000 % 10 == 0).cast(pl.Int64))
        frame = pl.DataFrame({"units": signed, "noise": noise})
        value = (pl.col("units").cast(pl.Decimal(31, 0)) * Decimal("0.0000001")).cast(_MEASURE)
        return frame.select(pl.when(pl.col("noise") % _NULL_EVERY != 0).then(value)).to_series()

    def _quantity(self, number: pl.Series) -> pl.Series:
        """Return whole numbers from 0 to 999, never null."""
        return (self._noise(number, 3) % 1000).cast(_MEASURE)


@cache
def _members(name: str) -> pl.Series:
    return pl.Series(name, _DIMENSIONS[name], dtype=pl.String)


@cache
def _divisor(name: str) -> int:
    product = 1
    for other, members in _DIMENSIONS.items():
        if other == name:
            break
        product *= len(members)
    return product


def _plain(ids: Sequence[str], descriptions: Sequence[str], **attributes: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({"ID": ids, "Description": descriptions, **attributes})


def _products() -> Dimension:
    """Return products in 20 groups below one node; the facts hold products only."""
    groups = {f"G-{number:02d}": f"Product group {number}" for number in range(20)}
    parents = {"ALL": HIERARCHY_ROOT, **dict.fromkeys(groups, "ALL")}
    parents.update((product, f"G-{position // 25:02d}") for position, product in enumerate(_PRODUCTS))
    texts = ["All products", *groups.values(), *(f"Product {product[2:]}" for product in _PRODUCTS)]
    return dimension(_plain(list(parents), texts), parents)


@cache
def _dimensions() -> Mapping[str, Dimension]:
    return {
        "Version": version_dimension(_VERSIONS),
        "Date": date_dimension(_MONTHS),
        "Region": dimension(_plain(_REGIONS, [f"Region {number}" for number in range(len(_REGIONS))])),
        "Channel": dimension(_plain(_CHANNELS, ["Direct sales", "Partners", "Online shop", "Unassigned"])),
        "Product": _products(),
        "Customer": dimension(
            _plain(
                _CUSTOMERS,
                [f"Customer {number}" for number in range(len(_CUSTOMERS))],
                Segment=[_SEGMENTS[number % len(_SEGMENTS)] for number in range(len(_CUSTOMERS))],
            )
        ),
    }


def scale(rows: int, seed: int = 0) -> Model:
    """Return a sales model of ``rows`` rows without repeated keys.

    Raises:
        ValueError: fewer than 0 or more than ``MAX_ROWS`` rows.
    """
    if not 0 <= rows <= MAX_ROWS:
        raise ValueError(f"SCALE can have 0 to {MAX_ROWS} rows, not {rows}.")
    return Model(
        provider_id="SCALE",
        name="Scale",
        description=f"Made-up sales, {rows:,} rows: for large exports and awkward texts.",
        facts=_ScaleFacts(rows, seed),
        dimensions=_dimensions(),
    )
