"""The cost of an upload, beside ``sacapi`` and beside the bytes alone, to a server on loopback that only reads.

Everybody begins with the frame: sacnb checks it and encodes it, ``sacapi`` takes rows as dictionaries, into which the
frame has to be made first, and "the wire" sends bytes that are there already.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import polars as pl
import requests
from sacapi import sacapi

from sacnb._auth import TokenEnvelope, TokenGuard
from sacnb._settings import Secret
from sacnb._wire import SacSession
from sacnb._write.check import ROW, Problems, check_keys
from sacnb._write.encode import chunks
from sacnb._write.frame import Layout, prepare
from sacnb._write.job import ImportJob
from sacnb._write.service import JobSettings
from sacnb._write.target import ImportTable, read_import_metadata

__all__ = ["upload_times"]

_JOBS: Final = "/api/v1/dataimport/jobs"
_KEYS: Final = ("Version", "Date", "Customer", "Product")


class _Source:
    name = principal = "benchmark"
    renewable = True

    def fetch(self, now: datetime) -> TokenEnvelope:
        return TokenEnvelope(Secret("t" * 900), now, now + timedelta(hours=1))


@contextmanager
def _reader(rows: int) -> Iterator[str]:
    """A server that reads each body, and answers that all its rows are staged."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            counts = {"totalNumberRowsInCurrentRequest": rows, "upsertedNumberRows": rows, "failedRows": []}
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
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _frame(rows: int) -> pl.DataFrame:
    number = pl.int_range(rows)
    return pl.select(
        Version=pl.lit("public.Plan"),
        Date=(number % 12 + 202401).cast(pl.String),
        Customer=(number * 7919 % 100_000).cast(pl.String).str.zfill(10),
        Product=pl.format("Prodükt {}", number % 500),
        Amount=(number * 17 % 1_000_000).cast(pl.Float64) / 100,
    )


def _table() -> ImportTable:
    columns: list[dict[str, Any]] = [
        {"columnName": name, "columnDataType": "string", "maxLength": 256, "isKey": True} for name in _KEYS
    ]
    columns.append({"columnName": "Amount", "columnDataType": "decimal", "precision": 31, "scale": 7, "isKey": False})
    return read_import_metadata(json.dumps({"factData": {"columns": columns}}).encode())


def upload_times(rows: int, times: int) -> dict[str, Any]:
    """Seconds of an upload by everybody, in turns: the medians, after a round that is not counted."""
    frame, table = _frame(rows), _table()
    with _reader(rows) as loopback:
        settings = JobSettings("factData", "Update", ())
        job = ImportJob(SacSession(loopback, TokenGuard(_Source())), "M", settings, id="1")
        peer = sacapi.SACConnection("tenant", "eu10")
        peer.urlImportJobs, peer.httpPostHeader, peer.csrfTokenStatus = loopback + _JOBS, {}, True
        peer.oauth = requests.Session()
        peer.oauth.trust_env = False

        def ours() -> None:
            problems = Problems()
            prepared = prepare(frame, table, Layout({}, {}), {}, problems).rows
            check_keys(prepared, table, problems)
            if problems.frame().height:
                raise RuntimeError(f"The frame of the benchmark has problems: {problems.frame()}")
            for chunk in chunks(prepared.drop(ROW), max_rows=rows, max_bytes=1 << 30):
                job.upload(chunk)

        (body,) = (chunk.body for chunk in chunks(frame, max_rows=rows, max_bytes=1 << 30))
        work = {
            "sacnb": ours,
            "sacapi": lambda: peer.pushToStaging("1", frame.to_dicts()),
            "wire": lambda: peer.oauth.post(f"{loopback}{_JOBS}/1", data=body),
        }
        found: dict[str, list[float]] = {name: [] for name in work}
        for number in range(times + 1):
            for name, call in work.items():
                started = time.perf_counter()
                call()
                if number:
                    found[name].append(round(time.perf_counter() - started, 4))
    if job.rejected_count:
        raise RuntimeError(f"{job.rejected_count} rows of the benchmark were rejected.")
    runs = {name: {"seconds": statistics.median(seconds), "runs": seconds} for name, seconds in found.items()}
    return {"rows": rows, "mb": round(len(body) / 1e6, 1), **runs}
