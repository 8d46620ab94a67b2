"""A process that is killed at a step of a tracked refresh leaves what the next one needs to be right."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import forking
import pytest
from changing import row, rows_of

from sacnb._tenant import Model
from sacnb._track.track import Track
from sacnb.sandbox import Sandbox

posix = pytest.mark.skipif(os.name == "nt", reason="kills by POSIX signals")

REFRESH = """
import json, os, signal, sys
from types import SimpleNamespace
from sacnb._cache.store import Cache
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb._track import track

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

told = json.loads(sys.argv[1])
match told["at"]:
    case "saving": Cache.save = die
    case "saved": track._Run.keep = die
settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"}, cache_dir=told["cache"])
tenant = connect_with(settings, sandbox=SimpleNamespace(**told["sandbox"]))
tenant.model("CHANGING").track(page_size=5).refresh()
"""


@posix
@pytest.mark.parametrize("at", ["saving", "saved"])
def test_the_refresh_after_a_kill_is_right(
    track: Track, model: Model, changing: Sandbox, tmp_path: Path, at: str
) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="8")], deleted=[row("#")])
    names = ("tenant_url", "token_url", "client_id", "client_secret")
    told = {"at": at, "cache": str(tmp_path / "cache"), "sandbox": {name: getattr(changing, name) for name in names}}
    done = forking.run([sys.executable, "-c", REFRESH, json.dumps(told)])
    assert done.returncode == -signal.SIGKILL
    changing.change("CHANGING", [row("North", "202402", "9")], deleted=[row("#", "202402")])
    assert rows_of(track.refresh()) == rows_of(model.facts().fetch(progress=None))
    assert track.changed is not None  # from changes, and not from all rows
