"""SAP CAP, on loopback and behind SAC's paths, as a tenant; what comes is compared with plain Python on its rows."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl

import sacnb

from .conditions import COMMON, Condition, Row
from .inputs import Inputs
from .rows import TEXTS, Conditions
from .verdict import Verdict

_HERE: Final = Path(__file__).parent
KEYS: Final = ("Version", "Date", "Region", "Product")
TYPES: Final[dict[str, str]] = {
    "Version": "Edm.String",
    "Date": "Edm.String",
    "Region": "Edm.String",
    "Product": "Edm.String",
    "Amount": "Edm.Decimal",
    "Quantity": "Edm.Int32",
    "Note": "Edm.String",
    "Flag": "Edm.Boolean",
    "Day": "Edm.Date",
}
_REGIONS: Final = tuple(text for text in TEXTS if text.strip() == text and text)[:20]
_PRODUCTS: Final = tuple(f"P-{number:03}" for number in range(1, 10))
_ROWS: Final = 4_000
_PAGE: Final = 500  # as the model of CAP declares it
_START_TIMEOUT_S: Final = 300
_PULL_TIMEOUT_S: Final = 120

_PULL: Final = """
import json, sys
import sacnb
told = json.loads(sys.argv[1])
facts = sacnb.connect(told.pop("tenant_url"), **told["connect"]).model("CAP").facts(**told["facts"])
def progress(now):
    print(now.rows, flush=True)
print("done", facts.to_parquet(told["folder"], progress=progress).row_count, flush=True)
"""


@dataclass
class Cap:
    """CAP in a process of its own."""

    port: int
    asked: list[str] = field(default_factory=list)

    @property
    def tenant_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def arguments(self, cache_dir: Path) -> dict[str, str]:
        """What ``connect`` needs besides the address."""
        return {
            "token_url": f"{self.tenant_url}/oauth/token",
            "client_id": "judge",
            "client_secret": "secret",
            "cache_dir": str(cache_dir),
        }


def judge_tenant(inputs: Inputs, folder: Path, *, seed: int, count: int) -> Verdict:
    """Judge what users do with a tenant: look, fetch, filter, split, scan, ask in SQL, be killed and go on."""
    verdict = Verdict("SAP CAP as a tenant")
    random_ = random.Random(seed)
    rows = make_facts(random_)
    with serving(inputs, rows, folder, delay_ms=0) as cap:
        tenant = sacnb.connect(cap.tenant_url, **cap.arguments(folder / "cache"))  # type: ignore[arg-type]
        with tenant:
            checks = _Checks(tenant, rows, verdict)
            checks.all(random_, count)
    with serving(inputs, rows, folder, delay_ms=60) as cap:
        for partitions in (None, 3):
            _judge_kills(verdict, cap, rows, folder, partitions=partitions, random_=random_)
    return verdict


def make_facts(random_: random.Random, count: int = _ROWS) -> list[Row]:
    """Return facts with distinct keys, members that are awkward in a URL, and gaps in everything that is no key."""
    months = [f"{year}{month:02}" for year in (2022, 2023, 2024) for month in range(1, 13)]
    every = [
        (version, month, region, product)
        for version in ("public.Actual", "public.Plan")
        for month in months
        for region in _REGIONS
        for product in _PRODUCTS
    ]

    def some(value: Any) -> Any:
        return None if random_.random() < 0.1 else value

    return [
        {
            **dict(zip(KEYS, key, strict=True)),
            "Amount": some(Decimal(random_.randint(-(10**10), 10**10)).scaleb(-4)),
            "Quantity": some(random_.randint(-100, 100)),
            "Note": some(random_.choice(TEXTS)),
            "Flag": some(random_.random() < 0.5),
            "Day": some(date(2024, random_.randint(1, 12), random_.randint(1, 28))),
        }
        for key in random_.sample(every, count)
    ]


@contextmanager
def serving(
    inputs: Inputs, rows: Sequence[Row], folder: Path, *, delay_ms: int, page_rows: int = _PAGE
) -> Iterator[Cap]:
    """Run CAP with these facts; each page of them is held back for *delay_ms*."""
    assert inputs.node is not None
    data = {
        "sac.FactData": list(rows),
        "sac.RegionMaster": [{"ID": one, "Description": f"Region {one}"} for one in _REGIONS],
        "sac.ProductMaster": [{"ID": one, "Description": one} for one in _PRODUCTS],
        "Administration.Namespaces": [{"NamespaceID": "sac", "Description": "Models"}],
        "Administration.Providers": [
            {"ProviderID": "CAP", "NamespaceID": "sac", "ProviderName": "Judged", "Description": "", "ServiceURL": ""}
        ],
    }
    declared = (_HERE / "cap_model.cds").read_text(encoding="utf-8")
    model = folder / "model.cds"
    model.write_text(declared.replace(f"@cds.query.limit: {_PAGE}", f"@cds.query.limit: {page_rows}"), encoding="utf-8")
    stored = folder / "rows.json"
    stored.write_text(json.dumps(data, default=str), encoding="utf-8")
    command = [
        inputs.node, "--no-warnings", str(_HERE / "cap_server.cjs"), str(inputs.node_modules),
        str(model), str(stored), str(delay_ms),
    ]  # fmt: skip
    with (
        (folder / "cap.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        stop = threading.Timer(_START_TIMEOUT_S, process.kill)
        stop.start()
        first = process.stdout.readline()
        stop.cancel()
        if not first:
            raise RuntimeError(f"CAP did not start: {(folder / 'cap.log').read_text(encoding='utf-8')[-2000:]}")
        cap = Cap(json.loads(first)["port"])
        lines = process.stdout
        reader = threading.Thread(target=lambda: cap.asked.extend(json.loads(line)["url"] for line in lines))
        reader.start()
        try:
            yield cap
        finally:
            process.terminate()
            reader.join()


class _Checks:
    """What is tried with a running tenant; each check that fails, or raises, is one wrong."""

    def __init__(self, tenant: sacnb.Tenant, rows: Sequence[Row], verdict: Verdict) -> None:
        self._tenant = tenant
        self._model = tenant.model("CAP")
        self._rows = rows
        self._verdict = verdict

    def all(self, random_: random.Random, count: int) -> None:
        """Try everything."""
        rows = self._rows
        by_date = [row for row in rows if "202206" <= row["Date"] <= "202402"]
        self._same("models()", lambda: list(self._tenant.models()["id"]), ["CAP"])
        self._same("schema", lambda: list(self._model.schema.names), list(TYPES))
        self._same("members()", lambda: sorted(self._model.members("Region")["id"].to_list()), sorted(_REGIONS))
        self._same("count()", self._model.facts().count, len(rows))
        for partitions in (None, 4, "auto", ["Date"], ["Region"], ["Product"]):
            self._rows_of(f"partitions={partitions!r}", lambda p=partitions: self._model.facts(partitions=p), rows)
        self._rows_of("since and until", lambda: self._model.facts(since="2022-06", until="2024-02"), by_date)
        ordered = sorted(rows, key=lambda row: tuple(row[name] for name in KEYS))
        self._same(
            "order_by and limit",
            lambda: _table(self._model.facts(order_by=KEYS, limit=1234).fetch(progress=None)),
            [_tuple(row) for row in ordered[:1234]],
        )
        self._same("refresh()", lambda: _table(self._model.facts().refresh(progress=None), sort=True), _sorted(rows))
        self._sums()
        conditions = Conditions(random_, TYPES)
        for _ in range(count):
            self._filtered(*conditions.one())

    def _sums(self) -> None:
        wanted: dict[str, Decimal] = {}
        for row in self._rows:
            if row["Version"] == "public.Actual" and row["Date"] >= "202301" and row["Amount"] is not None:
                wanted[row["Region"]] = wanted.get(row["Region"], Decimal(0)) + row["Amount"]
        meant = sorted(wanted.items())

        def by_scan() -> list[Any]:
            chosen = (pl.col("Version") == "public.Actual") & (pl.col("Date") >= "202301")
            kept = self._model.scan(decimals=True).filter(chosen, pl.col("Amount").is_not_null())
            return sorted(kept.group_by("Region").agg(pl.col("Amount").sum()).collect().rows())

        def by_sql() -> list[Any]:
            return sorted(
                self._tenant.sql(
                    'select "Region", sum("Amount") as total from "CAP" where "Version" = \'public.Actual\''
                    ' and "Date" >= :start and "Amount" is not null group by "Region"',
                    {"start": "202301"},
                    decimals=True,
                ).rows()
            )

        self._same("sums by scan()", by_scan, meant)
        self._same("sums by sql()", by_sql, meant)

    def _filtered(self, condition: Condition, expression: Any) -> None:
        """Hold the rows to what OData and SQL agree on: CAP writes some comparisons null-safe, and some not."""
        truths = {_key(row): condition.truth(row, COMMON) for row in self._rows}
        settled = [row for row in self._rows if truths[_key(row)] is True]

        def ask() -> list[tuple[Any, ...]]:
            # Most of the texts are members that no dimension has, which is an error unless it is switched off.
            facts = replace(self._model.facts(where=expression), check_members=False)
            found = _table(facts.fetch(progress=None), sort=True)
            return [one for one in found if truths[one[: len(KEYS)]] is not None]

        self._same(repr(expression), ask, _sorted(settled))

    def _rows_of(self, what: str, ask: Callable[[], Any], wanted: Sequence[Row]) -> None:
        self._same(what, lambda: _table(ask().fetch(progress=None), sort=True), _sorted(wanted))

    def _same(self, what: str, ask: Callable[[], Any], wanted: Any) -> None:
        self._verdict.tried += 1
        try:
            found = ask()
        except (sacnb.SacError, pl.exceptions.PolarsError) as error:
            self._verdict.wrong.append(f"{what}: {type(error).__name__}: {str(error)[:600]}")
            return
        if found != wanted:
            counts = f"{len(found):,} and not {len(wanted):,} rows" if isinstance(found, list) else f"{found!r}"
            self._verdict.wrong.append(f"{what}: gave other rows ({counts})")


def _judge_kills(
    verdict: Verdict, cap: Cap, rows: Sequence[Row], folder: Path, *, partitions: int | None, random_: random.Random
) -> None:
    """Kill a pull into Parquet at two moments, and let a third one end it: every row is there, once."""
    verdict.tried += 1
    target = folder / f"facts-{partitions}"
    told = {
        "tenant_url": cap.tenant_url,
        "connect": cap.arguments(folder / f"cache-{partitions}"),
        "facts": {"partitions": partitions},
        "folder": str(target),
    }
    what = f"kill -9 and resume, partitions={partitions!r}"
    for rows_before_kill in sorted(random_.sample(range(_PAGE, _ROWS - _PAGE), 2)):
        reached = _pull(told, kill_at=rows_before_kill)
        if reached is None or target.exists():
            verdict.wrong.append(f"{what}: it ended before it was killed, or left a folder that is not whole")
            return
    before = len(cap.asked)
    reached = _pull(told, kill_at=None)
    if reached != len(rows):
        verdict.wrong.append(f"{what}: {reached} and not {len(rows)} rows")
        return
    found = pl.read_parquet(target / "*.parquet").select(list(TYPES)).rows()
    if sorted(found, key=lambda one: one[: len(KEYS)]) != _sorted(rows):
        verdict.wrong.append(f"{what}: other rows than the tenant has")
    asked = len(cap.asked) - before
    if asked >= _ROWS // _PAGE:
        verdict.wrong.append(f"{what}: {asked} requests for facts after the last kill: it began anew")


def _pull(told: dict[str, Any], *, kill_at: int | None) -> int | None:
    """Run a pull in a process of its own; return its rows, or those it had when it was killed."""
    command = [sys.executable, "-c", _PULL, json.dumps(told)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        stop = threading.Timer(_PULL_TIMEOUT_S, process.kill)
        stop.start()
        try:
            for line in process.stdout:
                if line.startswith("done "):
                    return int(line.split()[1]) if kill_at is None else None
                if kill_at is not None and int(line) >= kill_at:
                    process.send_signal(signal.SIGKILL)
                    return int(line)
            raise RuntimeError(f"The pull failed: {process.stderr.read()[-2000:]}")
        finally:
            stop.cancel()


def _table(result: sacnb.Result, *, sort: bool = False) -> list[tuple[Any, ...]]:
    table = result.arrow().select(list(TYPES))
    found = [tuple(row.values()) for row in table.to_pylist()]
    return sorted(found, key=lambda one: one[: len(KEYS)]) if sort else found


def _tuple(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in TYPES)


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS)


def _sorted(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    return sorted((_tuple(row) for row in rows), key=lambda one: one[: len(KEYS)])
