"""What it costs to cut a page, beside a parse of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from sacnb._odata.page import _cut_fast, cut_page


def best_s(do: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return min(taken)


@pytest.mark.benchmark
@pytest.mark.parametrize("region", ["Pacific West", "Pacific [West]"], ids=["plain", "with brackets"])
def test_cutting_a_page_of_8_mb_costs_a_fraction_of_a_parse(region: str) -> None:
    rows = [
        {
            "Version": "public.Actual",
            "Date": f"20{n % 90 + 10}{n % 12 + 1:02d}",
            "Account": f"ACCOUNT_{n % 1000:06d}",
            "Region": f"{region} {n % 50}",
            "Product": f"P{n % 3000:08d}",
            "Customer": f"Customer {n}",
            "SignedData": n * 1.25,
        }
        for n in range(55_000)
    ]
    members = {"@odata.context": "$metadata#FactData", "value": rows, "@odata.nextLink": "FactData?$skiptoken=5"}
    body = json.dumps(members, separators=(",", ":")).encode()
    assert _cut_fast(body) is not None
    cut, parsed = best_s(lambda: cut_page(body)), best_s(lambda: json.loads(body))
    print(f"\n{len(body) / 1e6:.1f} MB: cut {cut * 1e3:.1f} ms, json.loads {parsed * 1e3:.1f} ms, {parsed / cut:.0f} x")
    assert parsed > 5 * cut
