"""Decimals to float64, correctly rounded, and the decimals that a float64 cannot hold.

pyarrow's own cast multiplies by a power of ten and is off by one unit in the last place for a quarter of typical
measures (``413534.2`` becomes ``413534.19999999995``), so it is not used.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._frames.edm import MAX_DECIMAL_DIGITS

__all__ = ["first_lossy", "mean_float64", "to_float64"]

# Up to here an integer is exact in a float64, and up to 10^22 a power of ten is: dividing one by the other rounds
# once, and so correctly.
_EXACT_INTEGER: Final = 2**53
_EXACT_POWER: Final = 22
# Every decimal of at most 15 significant digits survives the way to float64 and back (DBL_DIG).
_SAFE_INTEGER: Final = 10**15


def _unscaled(array: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The integers under a decimal128 array, and where they fit into 64 bits; slots of nulls hold anything."""
    words = np.frombuffer(array.buffers()[1], dtype="<i8").reshape(-1, 2)[array.offset : array.offset + len(array)]
    low, high = words[:, 0], words[:, 1]
    return low, high == low >> 63


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_]:
    if not array.null_count:
        return np.zeros(len(array), dtype=np.bool_)
    valid = np.unpackbits(np.frombuffer(array.buffers()[0], dtype=np.uint8), bitorder="little")
    missing: npt.NDArray[np.bool_] = valid[array.offset : array.offset + len(array)] == 0
    return missing


def _numbers(values: npt.NDArray[Any], nulls: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """A numpy array as an Arrow array, without ``pa.array``, which imports pandas on its way: a quarter second."""
    kind = pa.from_numpy_dtype(values.dtype)
    valid = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def _within(low: npt.NDArray[np.int64], fits: npt.NDArray[np.bool_], limit: int) -> npt.NDArray[np.bool_]:
    return fits & (low > -limit) & (low < limit)


def _array_to_float64(array: pa.Array) -> pa.Array:
    if not pa.types.is_decimal128(array.type) or array.type.scale > _EXACT_POWER or not len(array):
        # The way through the text is slower and right for every value: Arrow's parser rounds correctly.
        return array.cast(pa.string()).cast(pa.float64())
    low, fits = _unscaled(array)
    nulls = _nulls(array)
    easy = _within(low, fits, _EXACT_INTEGER)
    values = low / np.float64(10.0**array.type.scale)
    hard = np.flatnonzero(~easy & ~nulls)
    if len(hard):
        rest = array.take(_numbers(hard)).cast(pa.string()).cast(pa.float64())
        values[hard] = np.frombuffer(rest.buffers()[1], dtype=np.float64)[rest.offset : rest.offset + len(rest)]
    return _numbers(values, nulls if array.null_count else None)


def to_float64(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as float64, each rounded correctly, as ``float(Decimal)`` would; nulls stay null.

    Args:
        values: A chunked array of any decimal, integer or floating type.
    """
    if not pa.types.is_decimal(values.type):
        return values.cast(pa.float64(), safe=False)
    return pa.chunked_array([_array_to_float64(chunk) for chunk in values.chunks], pa.float64())


def mean_float64(sums: pa.ChunkedArray, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sums without nulls, each divided by its count; the nearest float64 as long as both have less than 16 digits.

    Dividing the float64 of a sum would round twice: three values of 0.1 would have a mean of 0.09999999999999999.
    """
    rounded = to_float64(sums).combine_chunks()
    if not len(rounded):
        return np.empty(0)
    means: npt.NDArray[np.float64] = np.frombuffer(rounded.buffers()[1], dtype=np.float64)[: len(rounded)] / counts
    exact = sums.combine_chunks()
    if pa.types.is_decimal128(exact.type):
        low, fits = _unscaled(exact)
        divisors = counts * np.float64(10.0**exact.type.scale)
        easy = _within(low, fits, _EXACT_INTEGER) & (divisors < _EXACT_INTEGER)
        means[easy] = low[easy] / divisors[easy]
    return means


def _lossy_candidates(array: pa.Array) -> pa.Array:
    """The values of more than 15 digits, counted with the zeros at their end, and without nulls."""
    if not pa.types.is_decimal128(array.type) or not len(array):
        return array.drop_null()
    low, fits = _unscaled(array)
    return array.take(_numbers(np.flatnonzero(~_within(low, fits, _SAFE_INTEGER) & ~_nulls(array))))


def first_lossy(values: pa.ChunkedArray) -> tuple[int, str] | None:
    """How many decimals lose digits as float64, and the first of them as text; ``None`` if none does.

    A value is lost where the shortest text of its float64 is another number: ``12345678901234567.1234567`` is, and
    ``12345678901234.5000000`` is not.
    """
    count, example = 0, ""
    for chunk in values.chunks:
        found = _lossy_candidates(chunk)
        if not len(found):
            continue
        # The shortest text of the float64 never has more digits after the point than the value it came from, but
        # rounding up may carry into one more digit before it: hence the wider decimal on both sides.
        wide = pa.decimal256(MAX_DECIMAL_DIGITS, chunk.type.scale)
        back = found.cast(pa.string()).cast(pa.float64()).cast(pa.string()).cast(wide)
        lost = found.filter(pc.not_equal(found.cast(wide), back))
        if len(lost):
            example = example or lost[0].cast(pa.string()).as_py()
            count += len(lost)
    return (count, example) if count else None
