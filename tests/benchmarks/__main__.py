"""``make bench``: measure everything and write the document; see ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.document import write_document
from benchmarks.machine import machine
from benchmarks.measuring import Bench
from benchmarks.server import serving
from benchmarks.suite import FULL, QUICK, measure_all

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
RESULTS = _DOCS / "performance.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and once, to work on this; needs --into")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="SECTION", help="some of the sections, printed as JSON"
    )
    parser.add_argument("--once", action="store_true", help="everything once, in the place of three times")
    parser.add_argument("--into", type=Path, help="a folder to write the document into, in the place of docs")
    parser.add_argument("--render", action="store_true", help="write docs/performance.md anew from its numbers")
    asked = parser.parse_args()
    if asked.quick and not asked.only and asked.into is None:
        parser.error("what --quick measures is not for docs: say --into FOLDER")
    if asked.render:
        write_document(json.loads(RESULTS.read_text(encoding="utf-8")), _DOCS)
        return
    extent = QUICK if asked.quick else replace(FULL, times=1) if asked.once else FULL
    with tempfile.TemporaryDirectory() as kept:
        environ = {**_environ(), "BENCHMARK_KEPT": kept}
        with serving(extent.models, environ) as server:
            bench = Bench(server, environ, lambda line: print(line, file=sys.stderr, flush=True))
            found = measure_all(bench, extent, frozenset(asked.only))
    if asked.only:
        json.dump(found, sys.stdout, indent=1)
    else:
        write_document({"machine": machine(), **found}, asked.into or _DOCS)


def _environ() -> dict[str, str]:
    """The environment without settings of the user's own, and with the way to this package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAC_")}
    return {**kept, "PYTHONPATH": str(_ROOT / "tests")}


if __name__ == "__main__":
    main()
