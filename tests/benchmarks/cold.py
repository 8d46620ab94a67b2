"""A small question from a cold process: connect, ten rows, a frame; and the same by requests and pandas."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from benchmarks.server import Target

_ROWS: Final = 10


def ours(target: Target) -> int:
    import sacnb

    tenant = sacnb.connect(
        target.tenant_url, token_url=target.token_url, client_id=target.client_id, client_secret=target.client_secret
    )
    return tenant.model(target.model).facts(limit=_ROWS).fetch().polars().height


def theirs(target: Target) -> int:
    import pandas as pd
    import requests

    form = {"grant_type": "client_credentials"}
    client = (target.client_id, target.client_secret)
    token = requests.post(target.token_url, form, auth=client, timeout=60).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "x-sap-sac-custom-auth": "true"}
    page = requests.get(f"{target.facts_url}&$top={_ROWS}", headers=headers, timeout=60).json()
    return len(pd.DataFrame(page["value"]))


_CANDIDATES: Final[dict[str, Callable[[Target], int]]] = {"ours": ours, "theirs": theirs}


def cold_times(target: Target, environ: dict[str, str], times: int) -> dict[str, Any]:
    """Milliseconds from the start of Python to the frame, in turns: the medians, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in _CANDIDATES}
    for number in range(times + 1):
        for name, runs in found.items():
            command = [sys.executable, "-m", "benchmarks.cold", name, json.dumps(asdict(target))]
            began = time.perf_counter()
            subprocess.run(command, env=environ, check=True)
            if number:
                runs.append(round((time.perf_counter() - began) * 1000, 1))
    return {name: {"ms": statistics.median(runs), "runs": runs} for name, runs in found.items()}


if __name__ == "__main__":
    rows = _CANDIDATES[sys.argv[1]](Target(**json.loads(sys.argv[2])))
    if rows != _ROWS:
        sys.exit(f"{sys.argv[1]} got {rows} rows")
