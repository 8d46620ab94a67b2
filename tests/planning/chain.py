"""A process of its own that appends in a chain of steps: ``chain.py NAME``, with the settings as JSON on stdin.

It prints a line each time it asks whether it is cancelled, so that it can be killed while its import job runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from sales import plan

import sacnb
from sacnb import planning


def main(name: str) -> None:
    with sacnb.connect(**json.load(sys.stdin)) as tenant, planning.checkpoint(tenant, name) as steps:
        steps.write(
            "append",
            tenant.model("SALES"),
            plan(3),
            method="Append",
            version="public.Plan",
            cancelled=lambda: print("asked", flush=True),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
