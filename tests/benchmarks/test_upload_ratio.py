"""The cost of an upload, beside ``sacapi`` and beside the bytes alone, to a server on loopback that only reads.

Measured in turns, the best of several rounds counts. ``sacapi`` takes rows as dicts, which a frame has to be made into
first; so both begin with the frame. Recorded for docs/performance.md; run it with ``make bench``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import polars as pl
import pytest
import requests
from sacapi import sacapi

from sacnb._auth import TokenEnvelope, TokenGuard
from sacnb._settings import Secret
from sacnb._wire import SacSession
from sacnb._write.encode import chunks
from sacnb._write.job import ImportJob
from sacnb._write.service import JobSettings

pytestmark = pytest.mark.benchmark

ROWS = 50_000
ROUNDS = 5
JOBS = "/api/v1/dataimport/jobs"


class Source:
    name = principal = "benchmark"
    renewable = True

    def fetch(self, now: datetime) -> TokenEnvelope:
        return TokenEnvelope(Secret("t" * 900), now, now + timedelta(hours=1))


@pytest.fixture
def received() -> list[int]:
    return []


@pytest.fixture
def loopback(received: list[int]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            received.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            counts = {"totalNumberRowsInCurrentRequest": ROWS, "upsertedNumberRows": ROWS, "failedRows": []}
            body = json.dumps(counts).encode()
            self.send_response_only(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def frame() -> pl.DataFrame:
    number = pl.int_range(ROWS)
    return pl.select(
        Version=pl.lit("public.Plan"),
        Date=(number % 12 + 202401).cast(pl.String),
        Customer=(number * 7919 % 100_000).cast(pl.String).str.zfill(10),
        Product=pl.format("Prodükt {}", number % 500),
        Amount=(number * 17 % 1_000_000).cast(pl.Float64) / 100,
    )


def test_an_upload_beside_sacapi_and_the_wire(
    loopback: str, received: list[int], frame: pl.DataFrame, record_property: Callable[[str, Any], None]
) -> None:
    job = ImportJob(SacSession(loopback, TokenGuard(Source())), "M", JobSettings("factData", "Update", ()), id="1")
    # The checks have made a frame of texts and decimals by the time of the upload.
    prepared = frame.with_columns(pl.col("Amount").cast(pl.String).str.to_decimal(scale=7))
    peer = sacapi.SACConnection("tenant", "eu10")
    peer.urlImportJobs, peer.httpPostHeader, peer.csrfTokenStatus = loopback + JOBS, {}, True
    peer.oauth = requests.Session()
    peer.oauth.trust_env = False
    (body,) = (chunk.body for chunk in chunks(prepared))

    def ours() -> None:
        for chunk in chunks(prepared):
            job.upload(chunk)

    work = {
        "ours": ours,
        "theirs": lambda: peer.pushToStaging("1", frame.to_dicts()),
        "wire": lambda: peer.oauth.post(f"{loopback}{JOBS}/1", data=body),
    }
    best = dict.fromkeys(work, float("inf"))
    for _ in range(ROUNDS):
        for name, call in work.items():
            started = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - started)
    assert len(received) == len(work) * ROUNDS
    assert job.rejected_count == 0
    print(
        f"\nupload {ROWS:,} rows ({len(body) / 1e6:.1f} MB): "
        + ", ".join(f"{n} {s * 1000:.0f} ms" for n, s in best.items())
    )
    record_property("upload_rows", ROWS)
    for name, seconds in best.items():
        record_property(f"upload_{name}_ms", seconds * 1000)
