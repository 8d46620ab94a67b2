"""``python -m sacnb``: the command line, where the script ``sacnb`` is not on the path."""

from __future__ import annotations

from sacnb.cli import main

if __name__ == "__main__":
    main()
