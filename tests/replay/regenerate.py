"""Record the shipped cassettes again, from the sandbox: ``python tests/replay/regenerate.py``.

Where the sandbox answers as before the files stay as they are, with their time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sacnb
import sacnb.replay

ROOT = Path(__file__).parents[2]


def first_read(sac: sacnb.Tenant) -> list[Any]:
    """What somebody does first: look at the models, one schema, its members, and some facts."""
    jobs = sac.model("US_EMPLOYMENT")
    manufacturing = jobs.facts(
        where={"Version": "public.Actual", "Sector": ["31", "32"]}, since="2014-01", page_size=20
    )
    total = jobs.facts(dims=["Version", "Date"], since="2014-01", until="2015-12")
    return [
        sac.models().rows(),
        repr(jobs.schema),
        jobs.members("Sector").rows(),
        manufacturing.fetch().tidy(grain="quarter", agg="mean").frame.rows(),
        total.refresh().arrow().to_pylist(),
    ]


STORIES: dict[str, Callable[[sacnb.Tenant], list[Any]]] = {"first_read": first_read}


def record(folder: Path, **options: Any) -> list[sacnb.replay.ReplaySummary]:
    """Record every story into ``folder``; ``options`` are those of ``cassette()``."""
    summaries = []
    for name, story in STORIES.items():
        with sacnb.replay.cassette(folder / f"{name}.cassette.json", "record", **options) as session:
            story(sacnb.connect("sandbox"))
        assert session is not None
        summaries.append(session.summary())
    return summaries


if __name__ == "__main__":
    for summary in record(ROOT / "cassettes"):
        sys.stdout.write(f"{summary}\n")
