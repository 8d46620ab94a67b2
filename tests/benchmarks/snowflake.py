"""Rows into the Snowflake simulator: sacnb, Snowflake's own SDK, and a client that appends a page at a time.

All of them write the same rows into one simulator in a process of its own; ratios count, and not seconds.
The simulator reads every row of everybody. Also the memory of a load from SAC, and what a token costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.server import PAGE_ROWS, Target
from benchmarks.worker import Run

if TYPE_CHECKING:
    import polars as pl

    from sacnb.snowflake import SnowflakeClient

_COLUMNS: Final = ("Version", "Date", "Region", "Channel", "Product", "Customer", "Amount")
_NAIVE_ROWS: Final = 10_000
_SDK_ROWS: Final = 50_000
_POLL_S: Final = 1.0  # as the SDK polls

# Names a file with the address of the simulator, the file of its authority, and the key of its user.
SIMULATOR: Final = "BENCHMARK_SNOWFLAKE"


@dataclass(frozen=True)
class Simulator:
    """A simulator in a process of its own; ``path`` is its file, for ``SIMULATOR``."""

    pid: int
    path: str

    def cpu_s(self) -> float:
        """The seconds of the processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def simulator(environ: dict[str, str]) -> Iterator[Simulator]:
    """Start one, until the block ends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.snowflake", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        ) as process,
    ):
        assert process.stdout is not None
        yield Simulator(process.pid, process.stdout.readline().strip())
        process.communicate()  # ends its stdin, which is how it knows


def main(folder: str) -> None:
    """Serve until stdin ends."""
    from sacnb.sandbox import snowflake

    with snowflake.start() as running:
        about = {"url": running.url, "ca": str(running.ca_file), "key": (running.private_key or b"").decode()}
        path = Path(folder) / "simulator.json"
        path.write_text(json.dumps(about), encoding="utf-8")
        print(path, flush=True)
        sys.stdin.read()


def _simulator(path: str | None = None) -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(path or os.environ[SIMULATOR]).read_text(encoding="utf-8"))
    return found


# -- candidates ------------------------------------------------------------------------------------------------------


def ours(target: Target, _: Path, *, channels: int = 1) -> Run:
    """sacnb, from a frame, over one or several channels."""
    frame, client, name = _frame(target.rows), _connect(), _name()
    share = -(-len(frame) // channels)

    def append(number: int) -> int:
        with client.open_channel("BENCH", f"{name}-{number}") as channel:
            channel.append_rows(frame[number * share : (number + 1) * share])
        return channel.status().rows_inserted

    def run() -> dict[str, Any]:
        if channels == 1:
            return {"rows": append(0)}
        with ThreadPoolExecutor(channels) as pool:
            return {"rows": sum(pool.map(append, range(channels)))}

    return run


def sdk(target: Target, _: Path) -> Run:
    """Snowflake's SDK, from dictionaries, which is what it takes; making them of the frame is measured apart."""
    into = _simulator()
    os.environ |= {"SSL_CERT_FILE": into["ca"], "SS_LOG_LEVEL": "warn"}
    from snowflake.ingest.streaming import StreamingIngestClient

    properties = {"account": "SANDBOX-ACCOUNT", "user": "SVC_SAC", "url": into["url"], "private_key": into["key"]}
    client = StreamingIngestClient("bench", "DB", "PUBLIC", "BENCH-STREAMING", properties=properties)
    frame = _frame(target.rows)

    def run() -> dict[str, Any]:
        began = time.perf_counter()
        rows = _dictionaries(frame)
        ready = time.perf_counter()
        channel, _ = client.open_channel(_name())
        for start in range(0, len(rows), _SDK_ROWS):
            part = rows[start : start + _SDK_ROWS]
            channel.append_rows(part, str(start + 1), str(start + len(part)))
        channel.wait_for_commit(lambda token: token is not None and int(token) >= len(rows), 300)
        ended = time.perf_counter()
        inserted = channel.get_channel_status().rows_inserted_count
        channel.close()
        return {"rows": inserted, "seconds": ended - ready, "dictionaries_s": round(ready - began, 4)}

    return run


def naive(target: Target, _: Path) -> Run:
    """One append for each page, as JSON of Python's own, and on with the next when it is committed."""
    import requests

    into, frame, name = _simulator(), _frame(target.rows), _name()
    with _connect() as client:
        token = client.get_scoped_token().value.reveal()
    session = requests.Session()
    session.trust_env, session.verify = False, into["ca"]
    session.headers.update({"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"})
    base, pipe = f"{into['url']}/v2/streaming", "databases/DB/schemas/PUBLIC/pipes/BENCH-STREAMING"

    def run() -> dict[str, Any]:
        opened = session.put(f"{base}/{pipe}/channels/{name}", data=b"{}", timeout=60).json()
        continuation, status = opened["next_continuation_token"], opened["channel_status"]
        for start in range(0, len(frame), _NAIVE_ROWS):
            page = _dictionaries(frame[start : start + _NAIVE_ROWS])
            end = str(start + len(page))
            answer = session.post(
                f"{base}/data/{pipe}/channels/{name}/rows",
                params={"continuationToken": continuation, "offsetToken": end},
                data="".join(json.dumps(row) + "\n" for row in page).encode(),
                timeout=60,
            )
            continuation = answer.json()["next_continuation_token"]
            while True:
                asked = session.post(f"{base}/{pipe}:bulk-channel-status", json={"channel_names": [name]}, timeout=60)
                status = asked.json()["channel_statuses"][name]
                if status["last_committed_offset_token"] == end:
                    break
                time.sleep(_POLL_S)
        return {"rows": status["rows_inserted"]}

    return run


def load(target: Target, folder: Path, *, channels: int = 1) -> Run:
    """From SAC into the simulator."""
    import sacnb

    tenant = sacnb.connect(
        target.tenant_url,
        token_url=target.token_url,
        client_id=target.client_id,
        client_secret=target.client_secret,
        page_size=PAGE_ROWS,
        cache_dir=folder / "cache",
    )
    facts, client = tenant.model(target.model).facts(), _connect()

    def run() -> dict[str, Any]:
        done = facts.to_snowflake("LOADED", client=client, channel=_name(), channels=channels, progress=None)
        return {"rows": done.rows}

    return run


def _frame(rows: int) -> pl.DataFrame:
    import polars as pl

    from sacnb.sandbox.models.scale import scale

    made = scale(rows).facts.rows(pl.int_range(rows, dtype=pl.Int64, eager=True), list(_COLUMNS))
    return made.with_columns(pl.col("Amount").cast(pl.Decimal(31, 7)))


def _dictionaries(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [{**row, "Amount": str(row["Amount"])} for row in frame.to_dicts()]


def _connect() -> SnowflakeClient:
    import sacnb.snowflake

    into = _simulator()
    return sacnb.snowflake.connect(
        "SANDBOX-ACCOUNT",
        "SVC_SAC",
        private_key=into["key"],
        url=into["url"],
        ca_bundle=into["ca"],
        database="DB",
        schema="PUBLIC",
        environ={},
    )


def _name() -> str:
    return f"BENCH-{uuid.uuid4()}"


# -- a token ---------------------------------------------------------------------------------------------------------


def token_costs(path: str) -> dict[str, float]:
    """Milliseconds to sign a token with 2048 bits, and of the guard for a request that reuses one."""
    from sacnb._auth import RefreshPolicy, TokenGuard
    from sacnb._auth.token import utc_now
    from sacnb.snowflake.keys import PrivateKey
    from sacnb.snowflake.tokens import KeyPairJwt

    source = KeyPairJwt("org-acc", "svc", PrivateKey(_simulator(path)["key"]))
    guard = TokenGuard(source, RefreshPolicy(margin_s=30))
    guard.ensure()
    return {"sign_ms": _best_ms(lambda: source.fetch(utc_now()), 5), "guard_ms": _best_ms(guard.ensure, 200)}


def _best_ms(work: Callable[[], object], times: int) -> float:
    measured = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(times):
            work()
        measured.append((time.perf_counter() - began) / times * 1000)
    return round(min(measured), 4)


if __name__ == "__main__":
    main(sys.argv[1])
