"""A pull holds a few pages, and nothing of what it has given out or written, however much that is."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sacnb._odata.page import Page, cut_page
from sacnb._tenant import Tenant

PULL = """
import gc, json, re, sys
from pathlib import Path
from types import SimpleNamespace
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with

told = json.loads(sys.argv[1])
settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"}, cache_dir=told["cache_dir"])
tenant = connect_with(settings, sandbox=SimpleNamespace(**told["sandbox"]))
facts = tenant.model("SCALE").facts(page_size=told["page_size"])

def most_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

seen = []
def progress(now):
    seen.append((now.rows, most_mb()))

gc.disable()  # what waits for the collector is kept as well, perhaps for long
if told["method"] == "stream":
    rows = sum(batch.num_rows for batch in facts.stream(progress=progress))
else:
    rows = facts.to_parquet(told["folder"], progress=progress).row_count
assert rows == told["rows"]
print(json.dumps(seen))
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's memory off /proc")
@pytest.mark.parametrize(
    ("method", "rows", "page_size"),
    [
        ("stream", 400_000, 20_000),
        pytest.param("stream", 1_000_000, 50_000, marks=pytest.mark.long),
        pytest.param("to_parquet", 1_000_000, 50_000, marks=pytest.mark.long),
    ],
)
def test_memory_is_flat(
    serve_far: Callable[[int], Any], tmp_path: Path, method: str, rows: int, page_size: int
) -> None:
    told = {"method": method, "folder": str(tmp_path / "x"), "cache_dir": str(tmp_path / "cache")}
    told |= {"rows": rows, "page_size": page_size}
    settled_at = {"stream": rows * 3 // 10, "to_parquet": rows * 6 // 10}[method]

    def grown_mb(sandbox: Any) -> float:
        done = subprocess.run(
            [sys.executable, "-c", PULL, json.dumps({**told, "sandbox": vars(sandbox)})],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        most_mb = dict(json.loads(done.stdout))
        return float(most_mb[rows] - most_mb[settled_at])

    # 50,000 rows are 8 MB of JSON; those that come later are 45 MB or more, of a million 65 MB or more. Where the
    # machine is busy, a pull may run a few pages further ahead late; what is kept by mistake is kept by each pull.
    bound_mb = 40 if rows == 1_000_000 else 20
    with serve_far(rows) as sandbox:
        assert grown_mb(sandbox) < bound_mb or grown_mb(sandbox) < bound_mb


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """A cycle of references keeps a page until the garbage collector runs, which may be late."""
    gc.collect()
    gc.freeze()  # objects from before need not be looked through again and again
    gc.disable()
    yield
    gc.enable()


def pages_alive() -> int:
    return sum(isinstance(one, Page) for one in gc.get_objects())


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("method", ["fetch", "stream", "to_parquet", "refresh"])
def test_no_page_outlives_its_turn(
    sandbox: Any, connect_to: Callable[..., Tenant], tmp_path: Path, method: str
) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(page_size=200)
    before, most = pages_alive(), 0

    def look(_: object) -> None:
        nonlocal most
        most = max(most, pages_alive() - before)

    match method:
        case "stream":
            rows = sum(batch.num_rows for batch in facts.stream(progress=look))
        case "to_parquet":
            rows = facts.to_parquet(tmp_path / "x", progress=look).row_count
        case _:
            rows = len(getattr(facts, method)(progress=look))
    assert rows == 3420  # 18 pages
    assert most < 8
    assert pages_alive() == before
    one = cut_page(b'{"value":[]}')
    assert pages_alive() == before + 1, f"{one} is not seen, so that nothing was looked at"
