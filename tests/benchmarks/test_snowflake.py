"""Rows into the Snowflake simulator: sacnb, and a client that appends a page at a time.

Snowflake's own SDK is not measured: it sends many rows as encrypted files, whose rows the simulator does not read.

All of them write the same rows into one simulator in a process of its own, in turns; ratios count, and not seconds.
Also what signing a token and the guard cost.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
import requests

import sacnb.snowflake
from sacnb._auth import RefreshPolicy, TokenGuard
from sacnb._auth.token import utc_now
from sacnb.sandbox.models.scale import scale
from sacnb.snowflake.keys import PrivateKey
from sacnb.snowflake.tokens import KeyPairJwt

pytestmark = pytest.mark.benchmark

ROWS = 300_000
PAGE_ROWS = 10_000
SERVER = """
import json, sys
from sacnb.sandbox import snowflake
with snowflake.start() as running:
    print(json.dumps([running.url, str(running.ca_file), running.private_key.decode()]), flush=True)
    sys.stdin.read()
"""
COLUMNS = ["Version", "Date", "Region", "Channel", "Product", "Customer", "Amount"]


@dataclass
class Server:
    url: str
    ca_file: str
    key: str

    def connect(self) -> sacnb.snowflake.SnowflakeClient:
        return sacnb.snowflake.connect(
            "SANDBOX-ACCOUNT",
            "SVC_SAC",
            private_key=self.key,
            url=self.url,
            ca_bundle=self.ca_file,
            database="DB",
            schema="PUBLIC",
            environ={},
        )


@pytest.fixture
def server() -> Iterator[Server]:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(*json.loads(process.stdout.readline()))
        process.communicate()


def rows() -> pl.DataFrame:
    made = scale(ROWS).facts.rows(pl.int_range(ROWS, dtype=pl.Int64, eager=True), COLUMNS)
    return made.with_columns(pl.col("Amount").cast(pl.Decimal(31, 7)))


def ours(server: Server, frame: pl.DataFrame, channel: str) -> float:
    started = time.perf_counter()
    with server.connect() as client, client.open_channel("BENCH", channel) as opened:
        opened.append_rows(frame)
    return time.perf_counter() - started


def naive(server: Server, frame: pl.DataFrame, channel: str) -> float:
    """One append for each page, as JSON of Python's own, and on with the next when it is committed."""
    started = time.perf_counter()
    with server.connect() as client:
        token = client.get_scoped_token().value.reveal()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    path = "databases/DB/schemas/PUBLIC/pipes/BENCH-STREAMING"
    with requests.Session() as session:
        session.trust_env, session.verify = False, server.ca_file
        session.headers.update(headers)
        base = f"{server.url}/v2/streaming"
        opened = session.put(f"{base}/{path}/channels/{channel}", data=b"{}", params={"requestId": str(uuid.uuid4())})
        token = opened.json()["next_continuation_token"]
        for start in range(0, len(frame), PAGE_ROWS):
            page = frame[start : start + PAGE_ROWS].to_dicts()
            body = "".join(json.dumps({**row, "Amount": str(row["Amount"])}) + "\n" for row in page).encode()
            end = str(start + len(page))
            answer = session.post(
                f"{base}/data/{path}/channels/{channel}/rows",
                params={"continuationToken": token, "offsetToken": end},
                data=body,
            )
            token = answer.json()["next_continuation_token"]
            committed = None
            while committed != end:
                status = session.post(f"{base}/{path}:bulk-channel-status", json={"channel_names": [channel]}).json()
                committed = status["channel_statuses"][channel]["last_committed_offset_token"]
                if committed != end:
                    time.sleep(1)  # as the SDK polls
    return time.perf_counter() - started


def test_rows_beside_a_naive_client(
    server: Server, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, Any], None]
) -> None:
    frame = rows()
    best: dict[str, float] = {}
    for number in range(2):
        for name, seconds in (
            ("sacnb", ours(server, frame, f"ours-{number}")),
            ("naive", naive(server, frame, f"naive-{number}")),
        ):
            best[name] = min(best.get(name, seconds), seconds)
    with capsys.disabled():
        print(f"\n{ROWS:,} rows into the simulator: " + ", ".join(f"{name} {best[name]:.2f} s" for name in best))
        print(f"naive / sacnb {best['naive'] / best['sacnb']:.2f} (goal: at least 3)")
    record_property("snowpipe_rows", ROWS)
    record_property("snowpipe_ours_s", best["sacnb"])
    record_property("snowpipe_naive_s", best["naive"])


def test_signing_and_the_guard(
    capsys: pytest.CaptureFixture[str], server: Server, record_property: Callable[[str, Any], None]
) -> None:
    source = KeyPairJwt("org-acc", "svc", PrivateKey(server.key))
    guard = TokenGuard(source, RefreshPolicy(margin_s=30))
    guard.ensure()

    def best_ms(work: Any, times: int) -> float:
        measured = []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(times):
                work()
            measured.append((time.perf_counter() - started) / times * 1000)
        return min(measured)

    signing, reuse = best_ms(lambda: source.fetch(utc_now()), 5), best_ms(guard.ensure, 200)
    with capsys.disabled():
        print(f"\nsigning with 2048 bits {signing:.2f} ms (goal: below 10), guard {reuse:.4f} ms (goal: below 5)")
    record_property("snowflake_sign_ms", signing)
    record_property("snowflake_guard_ms", reuse)
    assert signing < 10
    assert reuse < 5
