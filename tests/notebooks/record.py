"""Record the notebooks again, from the sandbox: ``make notebooks``, or this file with the names of some.

Each is run twice, to record its cassette and to replay it, and shows what the replay showed. Where the sandbox answers
as before, no file changes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sacnb.replay import record_notebook

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"


def main(names: list[str]) -> None:
    """Record the notebooks with these names, by default all."""
    for name in [name for name in os.environ if name.startswith("SAC_")]:
        del os.environ[name]
    os.environ.update(SAC_TENANT_URL="sandbox", TZ="UTC")
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            sys.stdout.write(f"{record_notebook(path)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
