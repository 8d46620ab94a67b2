"""What it costs to decode a page, beside ``json.loads`` and a pandas frame, which is what most clients do.

Measured in turns, so that whatever else the machine does falls on all of them; the best of several rounds counts, since
noise only ever adds. The ratios are printed, and recorded for docs/performance.md; run it with ``make bench``.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest

from sacnb._frames.decode import decode_natively, decode_rows
from sacnb._frames.strict import decode_strictly
from sacnb._odata.schema import Column
from sacnb._wire import message
from sacnb.sandbox import Column as SandboxColumn
from sacnb.sandbox.misbehaviours import PAGE_SHAPES
from sacnb.sandbox.pages import shape_body, shape_rows

pytestmark = pytest.mark.benchmark

ROWS = 50_000
ROUNDS = 5
MEMBERS = {"Version": 3, "Account": 300, "Region": 50, "Product": 10_000, "Customer": 100_000, "CostCenter": 99}
COLUMNS = [
    Column("Date", "Edm.String", "dimension"),
    *(Column(name, "Edm.String", "dimension") for name in MEMBERS),
    Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
]
# Refused in any case: half a character is no text, and deep nesting could exhaust the stack.
REFUSED = {"lone_surrogate_once", "deep_value"}


@pytest.fixture(scope="module")
def page() -> bytes:
    """Fifty thousand rows as SAC would send them: seven dimensions, some of them unicode, and one measure."""
    chance = random.Random(1)
    rows = [
        {
            "Date": f"20{chance.randint(10, 24)}{chance.randint(1, 12):02}",
            **{name: f"{name[0]}ü_{chance.randrange(count):06}" for name, count in MEMBERS.items()},
            "Amount": None if chance.random() < 0.005 else round(chance.uniform(-1e6, 1e6), 2),
        }
        for _ in range(ROWS)
    ]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()


def best(*jobs: Callable[[], object]) -> list[float]:
    """The best time of each job in seconds, the jobs taken in turns."""
    times = [float("inf")] * len(jobs)
    for _ in range(ROUNDS):
        for i, job in enumerate(jobs):
            start = time.perf_counter()
            job()
            times[i] = min(times[i], time.perf_counter() - start)
    return times


def test_decoding_a_page_beside_json_and_pandas(page: bytes, record_property: Callable[[str, Any], None]) -> None:
    assert decode_natively(page, COLUMNS) is not None

    def peer() -> Any:
        return pd.DataFrame(json.loads(page))

    ours, strict, theirs = best(lambda: decode_rows(page, COLUMNS), lambda: decode_strictly(page, COLUMNS), peer)
    print(
        f"\ndecode {ROWS:,} rows ({len(page) / 1e6:.1f} MB): sacnb {ours * 1000:.0f} ms, "
        f"json + pandas {theirs * 1000:.0f} ms: {theirs / ours:.1f} times as quick; "
        f"strict decoder {strict * 1000:.0f} ms: {strict / theirs:.1f} times json + pandas"
    )
    record_property("decode_ours_ms", ours * 1000)
    record_property("decode_strict_ms", strict * 1000)
    record_property("decode_theirs_ms", theirs * 1000)
    assert theirs > 1.5 * ours


def test_two_threads_decode_two_pages_at_once(page: bytes, record_property: Callable[[str, Any], None]) -> None:
    """The native decoder lets go of the interpreter's lock; with it held, two threads would take twice as long."""
    with ThreadPoolExecutor(2) as pool:
        one, two = best(
            lambda: [decode_rows(page, COLUMNS) for _ in range(4)],
            lambda: list(pool.map(lambda _: decode_rows(page, COLUMNS), range(4))),
        )
    record_property("decode_threads_ratio", one / two)
    print(f"\ndecode 4 pages: one thread {one * 1000:.0f} ms, two threads {two * 1000:.0f} ms: {one / two:.2f} times")


def test_unpacking_a_page_beside_zlib(
    page: bytes, record_property: Callable[[str, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    isal = pytest.importorskip("isal.isal_zlib")
    packed = gzip.compress(page)

    def unpack(module: object) -> None:
        monkeypatch.setattr(message, "_inflate", module)
        message.read_body(io.BytesIO(packed), "gzip")

    ours, theirs = best(lambda: unpack(isal), lambda: unpack(zlib))
    print(f"\nunpack {len(page) / 1e6:.1f} MB: isal {ours * 1000:.1f} ms, zlib {theirs * 1000:.1f} ms")
    record_property("unpack_isal_ms", ours * 1000)
    record_property("unpack_zlib_ms", theirs * 1000)


@pytest.mark.parametrize("shape", sorted(PAGE_SHAPES.keys() - REFUSED))
def test_a_shape_of_a_page_beside_the_plain_page(
    page: bytes, shape: str, record_property: Callable[[str, Any], None]
) -> None:
    columns = [
        SandboxColumn(
            column.name, column.edm_type, key=column.role == "dimension", precision=column.precision, scale=column.scale
        )
        for column in COLUMNS
    ]
    rows = [json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in json.loads(page)]
    shaped = shape_body(f"[{','.join(shape_rows(rows, columns, shape))}]".encode(), shape)
    plain, other = best(lambda: decode_rows(page, COLUMNS), lambda: decode_rows(shaped, COLUMNS))
    print(f"\n{shape}: {other * 1000:.0f} ms, {other / plain:.2f} times the plain page")
    record_property(f"shape_{shape}_ratio", other / plain)
