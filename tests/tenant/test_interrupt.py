"""Ctrl-C ends SQL and scans, and nothing of it is left for what runs afterwards."""

from __future__ import annotations

import os
import sys

import forking
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process sends itself SIGINT")

# In a Python of its own: polars keeps its own note of an interrupt, for the whole process.
PROGRAM = """
import os, signal, sys, tempfile, threading, time
import polars as pl
import sacnb
from sacnb import sandbox

with sandbox.start(scale_rows=40_000, latency_s=0.3) as box:
    sac = sacnb.connect(box.tenant_url, token_url=box.token_url, client_id=box.client_id,
                        client_secret=box.client_secret, cache_dir=tempfile.mkdtemp(), page_size=1_000)
    model = sac.model("SCALE")
    model.schema
    for name, work in {
        "sql": lambda: sac.sql("select sum(Amount) from SCALE", large_rows=None),
        "scan": lambda: model.scan().select(pl.col("Amount").sum()).collect(),
    }.items():
        sent_at = []
        def interrupt():
            sent_at.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(1.0, interrupt).start()
        ended, waited_s = "went on to the end", 0.0
        try:
            try:
                work()
            except (KeyboardInterrupt, sacnb.errors.Cancelled):
                ended, waited_s = "interrupted", time.monotonic() - sent_at[0]
                for _ in range(1000):  # after its collect() polars raises an interrupt, and then Python does
                    pass
        except KeyboardInterrupt:
            ended, waited_s = "interrupted", time.monotonic() - sent_at[0]
        try:
            total = pl.int_range(0, 4, eager=True).sum()
        except KeyboardInterrupt:
            total = "interrupted again"
        print(name, ended, total, sac.models().height > 0, waited_s, sep=";", flush=True)
"""


def test_an_interrupt_ends_what_runs_and_nothing_else() -> None:
    done = forking.run([sys.executable, "-c", PROGRAM], text=True)
    lines = [line.split(";") for line in done.stdout.splitlines()]
    assert [line[:4] for line in lines] == [
        ["sql", "interrupted", "6", "True"],
        ["scan", "interrupted", "6", "True"],
    ], done.stderr
    # Within a second, unless the machine is busy; all pages together take 12.
    assert all(float(line[4]) < 8 for line in lines)
