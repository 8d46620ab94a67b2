"""Snowflake's own SDK works against the simulator, which is the proof that it is not made to measure for us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sacnb.sandbox import snowflake as sandbox
from sacnb.snowflake import SnowflakeClient

pytest.importorskip("snowflake.ingest.streaming")
SDK = Path(__file__).parent / "sdk.py"


@pytest.fixture
def simulator() -> Iterator[sandbox.Simulator]:
    with sandbox.start() as running:
        yield running


@pytest.fixture
def run_sdk(simulator: sandbox.Simulator, tmp_path: Path) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    def run(rows: list[dict[str, Any]], channel: str = "SDK") -> dict[str, Any]:
        key, data = tmp_path / "key.p8", tmp_path / "rows.json"
        key.write_bytes(simulator.private_key or b"")
        data.write_text(json.dumps(rows))
        command = [sys.executable, str(SDK), simulator.url, str(key), "DB", "PUBLIC", "SALES", channel, str(data)]
        environment = {**os.environ, "SSL_CERT_FILE": str(simulator.ca_file), "SS_LOG_LEVEL": "warn"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    return run


def test_the_sdk_and_we_write_one_table_each_row_once(
    simulator: sandbox.Simulator, run_sdk: Any, connect: Callable[..., SnowflakeClient]
) -> None:
    theirs = [{"ID": number, "NAME": f"row {number}"} for number in range(1, 1001)]
    ours = [{"ID": -number, "NAME": f"line {number}"} for number in range(1, 1001)]
    with connect(simulator).open_channel("SALES", "OURS") as channel:
        channel.append_rows(pl.DataFrame(ours))
    told = run_sdk(theirs)
    assert (told["from"], told["last"]) == (0, "1000")
    assert simulator.rows("DB", "PUBLIC", "SALES", "SDK") == theirs
    assert simulator.rows("DB", "PUBLIC", "SALES", "OURS") == ours
    assert len(simulator.rows("DB", "PUBLIC", "SALES")) == 2000
    # We go on where the SDK has stopped, by its offset.
    assert connect(simulator).open_channel("SALES", "SDK").committed == 1000
    kinds = {seen.kind for seen in simulator.seen}
    assert {"hostname", "token", "pipe_info", "open", "append", "status"} <= kinds
    assert {seen.status for seen in simulator.seen} == {200}


def test_many_rows_of_the_sdk_come_as_files_and_arrive_beside_ours(
    simulator: sandbox.Simulator, run_sdk: Any, connect: Callable[..., SnowflakeClient]
) -> None:
    """The files are encrypted, with the simulator's key."""
    theirs = [{"ID": number, "NAME": "a name " * 20} for number in range(1, 100_001)]
    ours = pl.DataFrame({"ID": range(-1, -100_001, -1), "NAME": "line"})
    with connect(simulator).open_channel("SALES", "OURS") as channel:
        channel.append_rows(ours)
    assert run_sdk(theirs)["last"] == "100000"
    assert simulator.counts["stage_requests"] > 0
    assert simulator.counts["append_files_requests"] > 0
    found = pl.concat(pl.read_ndjson(lines) for lines in simulator.lines("DB", "PUBLIC", "SALES"))
    assert found.filter(pl.col("ID") > 0).equals(pl.DataFrame(theirs)), "each once, in order"
    assert found.filter(pl.col("ID") < 0).equals(ours)
    assert simulator.status("DB", "PUBLIC", "SALES", "SDK")["rows_inserted"] == 100_000  # type: ignore[index]
