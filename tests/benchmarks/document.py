"""Results as a document. The same results give the same text; a test compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import rows_text, table
from benchmarks.pictures import write_pictures
from benchmarks.results import Results
from benchmarks.sections import growth, into_snowflake, partitions, rest, shapes, side_by_side, upload
from benchmarks.targets import TARGETS, shown, verdict

__all__ = ["render", "write_document"]


def write_document(results: dict[str, Any], folder: Path) -> None:
    """Write the numbers, the document and its pictures into ``folder``."""
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "performance.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8", newline="\n")
    (folder / "performance.md").write_text(render(results), encoding="utf-8", newline="\n")
    write_pictures(Results(results), folder / "pictures")


def render(data: dict[str, Any]) -> str:
    """The document."""
    results = Results(data)
    sections = (_head, _expect, _targets, side_by_side, growth, partitions, shapes, upload, into_snowflake, rest, _how)
    return "\n\n".join(filter(None, (section(results) for section in sections))) + "\n"


def _head(results: Results) -> str:
    machine = results.data["machine"]
    return f"""# Performance

Written by `make bench` on {machine["date"]}, never by hand. The numbers are those of
[performance.json](performance.json), and `make test` compares.

Everything is measured on the sandbox, which runs in its own process on the same machine and holds back each answer for
as long as is said. **No tenant was measured**: how long SAC takes to make a page, and how it packs it, is not known.
The machine has {machine["cores"]} cores ({machine["processor"]}) for client and server together."""


def _expect(results: Results) -> str:
    loop, ours = (results.seconds(one, 500) for one in ("peers:loop", "ours:pandas"))
    more = results.pages * 0.5
    four = results.partitioned(results.partitioned_rows[0], 4)["seconds"]
    return f"""## What to expect

**Where SAC takes long to make a page, every sane client costs nearly the same.** At half a second a page,
{rows_text(results.million)} rows in {results.pages} pages take {ours:.1f} seconds with sacnb and {loop:.1f} with the
loop that everybody writes: {loop / ours:.2f} times as long. At a whole second both wait {more:.0f} seconds more, which
makes it {(loop + more) / (ours + more):.2f} times. Only larger pages, partitions ({four:.1f} seconds with four, at half
a second) and less data help there: [what makes a pull fast](pulling.md#what-makes-a-pull-fast).

What sacnb is made for is to add little to what the network costs, in time and in memory. On a fast network you notice
both, on a slow one the memory. Up to ten thousand rows you notice nothing."""


def _targets(results: Results) -> str:
    rows = [(target.what, target.aim, shown(target, results), verdict(target, results)) for target in TARGETS]
    return f"""## Targets

They were set before this was measured.

{table(("what", "target", "measured", "verdict"), rows)}"""


def _how(results: Results) -> str:
    machine = results.data["machine"]
    times = "Everything was measured once" if results.times == 1 else f"Times are medians of {results.times} runs"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return f"""## How it was measured

```sh
make bench
```

* One run measures everything and writes this document, its pictures and its numbers. It takes about a quarter of an
  hour, and wants a machine that does nothing else.
* The sandbox's pages are made, packed and remembered before anything is counted, so it is never what is waited for:
  "network alone" at 0 ms is what it costs. Everybody asks for pages of 50,000 rows.
* Each measurement has a fresh process, which first imports what it needs and pulls a thousand rows, so that imports,
  token and metadata are not counted. Then its memory is looked at, and the time runs until all rows are there.
* {times}; at 500 ms, where nearly everything is waiting, and what takes very long, is measured
  once. All runs are in [performance.json](performance.json).
* Memory is the most that was resident, as Linux says it (`VmHWM`), less what was resident before.
* {machine["system"]}, {machine["memory_gb"]} GB, Python {machine["python"]}, {packages}."""
