"""The command line: arguments in, the public API called, a table out.

Everything here is loaded when it is needed, so that ``sacnb --help`` and shell completion answer at once.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run ``sacnb`` with the arguments of this process; ends the process with the exit code."""
    from sacnb.cli.output import make_tolerant

    make_tolerant(sys.stdout, sys.stderr)
    try:
        from sacnb.cli.application import application

        application(prog_name="sacnb")
    except KeyboardInterrupt:
        from sacnb.cli.failures import ExitCode

        sys.exit(ExitCode.INTERRUPTED)
