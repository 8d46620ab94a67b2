"""``python -m judges.cap_speed``: pulls from SAP CAP, which is not our sandbox, beside the wire and a plain loop.

CAP makes each page anew and does not compress, so a page takes it longer than the network; the ratio to the wire shows
what sacnb adds. Everything runs in one process, in turns, and the best of three counts.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import pandas as pd
import requests

import sacnb

from .cap_tenant import KEYS, Cap, serving
from .conditions import Row
from .inputs import gather

_PAGE_ROWS: Final = 50_000
_DELAY_MS: Final = 50
_ROUNDS: Final = 3


def main() -> int:
    """Print the seconds of each way, and their ratio to the wire."""
    parser = argparse.ArgumentParser(prog="python -m judges.cap_speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    inputs = gather()
    if not (inputs.has("@sap/cds") and inputs.has("@cap-js/sqlite")):
        print("NOT MEASURED: it needs Node 22 and npm's @sap/cds and @cap-js/sqlite")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(inputs, _facts(rows), folder, delay_ms=_DELAY_MS, page_rows=_PAGE_ROWS) as cap:
            ways = _ways(cap, folder)
            seconds = {way: float("inf") for way in ways}
            for _, (way, run) in itertools.product(range(_ROUNDS), ways.items()):
                began = time.perf_counter()
                found = run()
                seconds[way] = min(seconds[way], time.perf_counter() - began)
                if found != rows:
                    print(f"WRONG: {way} gave {found:,} of {rows:,} rows")
                    return 1
    wire = seconds["the wire: every page, thrown away"]
    print(f"SAP CAP, {rows:,} rows in pages of {_PAGE_ROWS:,}, each held back {_DELAY_MS} ms")
    for way, taken in seconds.items():
        print(f"  {way:<36}{taken:8.2f} s {taken / wire:6.2f} times the wire")
    return 0


def _facts(count: int) -> list[Row]:
    """Return facts with distinct keys; one in a hundred has a null outside its key, and none within."""
    chance = random.Random(1)
    months = [f"{year}{month:02}" for year in range(2015, 2025) for month in range(1, 13)]
    columns = ("Version", "Date", "Region")
    per_region = -(-count // (2 * len(months) * 50))
    made = itertools.product(
        ("public.Actual", "public.Plan"), months, [f"R{n:02}" for n in range(50)], range(per_region)
    )
    return [
        {
            **dict(zip(columns, key[:3], strict=True)),
            "Product": f"P-{key[3]:06}",
            "Amount": None if chance.random() < 0.01 else Decimal(chance.randint(-(10**9), 10**9)).scaleb(-2),
            "Quantity": chance.randint(0, 99),
            "Note": None,
            "Flag": None,
            "Day": None,
        }
        for key in itertools.islice(made, count)
    ]


def _ways(cap: Cap, folder: Path) -> dict[str, Callable[[], int]]:
    tenant = sacnb.connect(cap.tenant_url, page_size=_PAGE_ROWS, **cap.arguments(folder / "cache"))  # type: ignore[arg-type]
    model = tenant.model("CAP")
    session = requests.Session()
    session.trust_env = False
    token = session.post(f"{cap.tenant_url}/oauth/token", auth=("judge", "secret"), timeout=60).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    session.headers["Prefer"] = f"odata.maxpagesize={_PAGE_ROWS}"
    url = f"{cap.tenant_url}/api/v1/dataexport/providers/sac/CAP/FactData?$orderby={','.join(KEYS)}"

    def pages() -> Iterator[tuple[str, list[Any]]]:
        following: str | None = url
        while following is not None:
            page = session.get(following, timeout=300).json()
            yield following, page["value"]
            link = page.get("@odata.nextLink")
            following = None if link is None else urljoin(following, link)

    links = [(link, len(rows)) for link, rows in pages()]

    def wire() -> int:
        for link, _ in links:
            session.get(link, timeout=300).raise_for_status()
        return sum(count for _, count in links)

    def loop() -> int:
        return len(pd.concat([pd.DataFrame(rows) for _, rows in pages()]))

    return {
        "the wire: every page, thrown away": wire,
        "sacnb stream()": lambda: sum(batch.num_rows for batch in model.facts().stream()),
        "sacnb fetch()": lambda: len(model.facts().fetch(progress=None)),
        "requests, json and a pandas frame": loop,
    }


if __name__ == "__main__":
    raise SystemExit(main())
