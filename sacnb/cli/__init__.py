"""The command line: arguments in, the public API called, a table out.

Commands load when they are used, so that ``sacnb --help`` and shell completion answer at once.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run ``sacnb`` with the arguments of this process, and end the process with the exit code."""
    from sacnb.cli.output import make_tolerant, replace_missing_streams

    replace_missing_streams()
    make_tolerant(sys.stdout, sys.stderr)
    try:
        from sacnb.cli.application import application
        from sacnb.cli.completion import install_bash

        install_bash()  # click answers a shell before it loads a command
        application(prog_name="sacnb")
    except KeyboardInterrupt:
        from sacnb.cli.failures import ExitCode

        sys.exit(ExitCode.INTERRUPTED)
