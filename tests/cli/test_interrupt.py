"""Ctrl-C during a download: one line, exit code 130, and the cache is unchanged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import forking
import pytest

from sacnb._cache.store import Cache
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another signal there")
@pytest.mark.parametrize("command", ["refresh", "export"])
def test_ctrl_c_stops_a_slow_download_at_once(command: str, tenant: Sandbox, tmp_path: Path) -> None:
    tenant.misbehave("slow_bytes", on="facts", chunks=1_000, pause_s=0.1)
    before = tenant.counts["misbehaved_slow_bytes"]
    arguments = ["--output", "jobs.csv"] if command == "export" else []
    with forking.Forked(
        [sys.executable, "-m", "sacnb", command, "US_EMPLOYMENT", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while tenant.counts["misbehaved_slow_bytes"] == before:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=15)
    assert (said, complained) == ("", "Interrupted. Cached results are unchanged.\n")
    assert process.returncode == ExitCode.INTERRUPTED
    assert Cache(tmp_path / "cache").entries() == ()
    assert not (tmp_path / "jobs.csv").exists()
