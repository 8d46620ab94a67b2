"""A load that is killed on both sides of the way, while both servers misbehave: each row arrives once, in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forking
import polars as pl
import pytest

import sacnb.sandbox
from sacnb.sandbox import Sandbox
from sacnb.sandbox import snowflake as simulators
from sacnb.sandbox.models.scale import scale

pytest.importorskip("resource")
LOADER = Path(__file__).with_name("loader.py")
KEYS = ["Version", "Date", "Region", "Channel", "Product", "Customer"]
MANY = 1_000_000
TABLE = ("DB", "PUBLIC", "SCALE")
# Everything but refused rows, which Snowflake leaves out, and a dropped channel, whose offset nobody knows any more.
SNOWFLAKE_TROUBLE: dict[str, dict[str, Any]] = {
    "lost_answer": {"on": "append", "every": 7},
    "lost_request": {"on": "append", "every": 8},
    "error_after": {"on": "append", "every": 11},
    "error_500": {"on": "append", "every": 12},
    "error_503": {"on": "status", "every": 9},
    "stale_token": {"on": "append", "every": 5},
    "second_writer": {"on": "append", "every": 13},
    "invalid_channel": {"on": "append", "every": 17},
    # Not on the same requests: two in a row are an error.
    "throttle": {"on": "append", "every": 23},
    "throttle_seconds": {"on": "status", "every": 29},
    "throttle_date": {"on": "open", "every": 7},
    "expired_token": {"on": "append", "every": 19},
    "delayed_commit": {"on": "append", "every": 2, "polls": 3},
    "open_in_progress": {"every": 4},
    "documented_answers": {"every": 3},
    "slow": {"on": "append", "every": 6, "seconds": 0.05},
}
# These may end a load with an error; the next one goes on.
LATE_TROUBLE: dict[str, dict[str, Any]] = {
    "never_commit": {"on": "append", "every": 5, "times": 2},
    "forbidden": {"on": "append", "every": 9, "times": 1},
}
# The last is that of a channel whose appends were struck one after the other: it is given up, for the next run.
SURVIVED = (
    "errors.NotCommittedError: ",
    "errors.ForbiddenError: ",
    "errors.ThrottledError: ",  # a second 429 in a row, when three channels are opened again at once
    "The channel was opened again 5 times",
)
SAC_TROUBLE: dict[str, dict[str, Any]] = {
    "error_503": {"on": "facts", "every": 9},
    "reset_mid_body": {"on": "facts", "every": 11},
    "truncated_json": {"on": "facts", "every": 13},
    "unauthorized": {"on": "facts", "every": 17},
}


@pytest.fixture
def servers(total: int) -> Iterator[tuple[Sandbox, simulators.Simulator]]:
    with sacnb.sandbox.start(scale_rows=total) as sac, simulators.start() as simulator:
        few = {"lost_answer", "stale_token", "delayed_commit"}  # without those that make a client wait for seconds
        for name, options in SNOWFLAKE_TROUBLE.items():
            if total >= MANY or name in few:
                simulator.misbehave(name, **options)
        for name, options in SAC_TROUBLE.items() if total >= MANY else ():
            sac.misbehave(name, **options)
        yield sac, simulator


@pytest.fixture
def start(
    servers: tuple[Sandbox, simulators.Simulator], total: int, tmp_path: Path
) -> Callable[[int], subprocess.Popen[str]]:
    sac, simulator = servers
    key = tmp_path / "key.p8"
    key.write_bytes(simulator.private_key or b"")
    environ = {
        **os.environ,
        "SAC_TENANT_URL": sac.tenant_url,
        "SAC_TOKEN_URL": sac.token_url,
        "SAC_CLIENT_ID": sac.client_id,
        "SAC_CLIENT_SECRET": sac.client_secret,
        "SNOWFLAKE_ACCOUNT": simulator.account,
        "SNOWFLAKE_USER": simulator.user,
        "SNOWFLAKE_PRIVATE_KEY_FILE": str(key),
        "SNOWFLAKE_URL": simulator.url,
        "SNOWFLAKE_CA_BUNDLE": str(simulator.ca_file),
        "SNOWFLAKE_DATABASE": "db",
        "SNOWFLAKE_SCHEMA": "public",
    }

    def run(channels: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(LOADER), str(tmp_path / "cache"), str(channels), str(min(300_000, total * 2))]
        with (tmp_path / "said.txt").open("w", encoding="utf-8") as said:  # a pipe that nobody reads would fill up
            return forking.Forked(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=said, text=True)

    return run


def kill_when(process: subprocess.Popen[str], is_time: Callable[[], bool]) -> None:
    """Kill a program as soon as a server has seen enough of it; it must not have ended by itself."""
    while not is_time():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.communicate()


def run_to_the_end(start: Callable[[], subprocess.Popen[str]], said: Path) -> str:
    """Run a program again and again while it ends with an error that the next run survives; return its output."""
    for _ in range(20):
        process = start()
        output, _ = process.communicate(timeout=500)
        if process.returncode == 0:
            return output
        errors = said.read_text(encoding="utf-8")
        assert any(words in errors for words in SURVIVED), errors
    raise AssertionError("it never ends well")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("total", "channels"),
    [
        (60_000, 1),
        pytest.param(MANY, 1, marks=pytest.mark.long),
        pytest.param(MANY, 3, marks=pytest.mark.long),
    ],
)
def test_each_row_arrives_once_whatever_is_killed(
    total: int, channels: int, servers: tuple[Sandbox, simulators.Simulator], start: Any, tmp_path: Path
) -> None:
    sac, simulator = servers
    pages = total // 20_000
    kill_when(start(channels), lambda: sac.counts["facts_requests"] > pages // 2)
    appends = total // 50_000
    for number in (1, 2, 3) if total >= MANY else (1,):
        enough = simulator.counts["append_requests"] + appends // 2 + number
        kill_when(start(channels), lambda enough=enough: simulator.counts["append_requests"] > enough)
    for name, options in LATE_TROUBLE.items() if total >= MANY else ():
        simulator.misbehave(name, **options)
    told = json.loads(run_to_the_end(lambda: start(channels), tmp_path / "said.txt").splitlines()[-1])
    assert told["rows"] == total
    assert told["peak_mb"] < 700

    parts = [
        pl.read_ndjson(b"".join(simulator.lines(*TABLE, name)))
        for name in (["kills"] if channels == 1 else [f"kills-{number}" for number in range(1, channels + 1)])
    ]
    rows = pl.concat(parts)
    assert len(rows) == total
    made = scale(total).facts.rows(pl.int_range(total, dtype=pl.Int64, eager=True), [*KEYS, "Amount"])
    assert rows.select(KEYS).equals(made.select(KEYS).cast(pl.String)), "in the order of SAC, each once"
    amounts = rows["Amount"].cast(pl.Decimal(31, 7))
    assert amounts.equals(made["Amount"].cast(pl.Decimal(31, 7)))
    struck = {name for name in {**SNOWFLAKE_TROUBLE, **LATE_TROUBLE} if simulator.counts[f"misbehaved_{name}"]}
    assert total < MANY or struck == {*SNOWFLAKE_TROUBLE, *LATE_TROUBLE}
