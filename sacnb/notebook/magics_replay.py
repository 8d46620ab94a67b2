"""``%sac_replay``: what it takes, and what it does."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

from IPython.core.error import UsageError

from sacnb.notebook.arguments import argument, manual, parser_of
from sacnb.notebook.said import Said
from sacnb.replay import start, stop

__all__ = ["REPLAY", "run"]


@manual("sac_replay")
@argument("cassette", nargs="?", help="Its name, or a path; without it SAC_REPLAY_CASSETTE says which.")
@argument("--record", dest="mode", action="store_const", const="record", help="Ask the tenant, and keep its answers.")
@argument("--replay", dest="mode", action="store_const", const="replay", help="Answer from the cassette.")
@argument("--stop", action="store_true", help="End what was begun; a recording is saved then.")
def run(arguments: argparse.Namespace) -> object:
    """Answer every question from a cassette from now on, without a tenant and without a network; or record into one.

    Without an option, SAC_REPLAY says which: replay (also where it is not set), record, or off, which does nothing and
    asks the tenant. So the same notebook serves for all three. It ends with --stop, or with the kernel.

        %sac_replay first_read
    """
    if arguments.stop:
        if arguments.cassette or arguments.mode:
            raise UsageError("%sac_replay --stop takes nothing else.")
        summary = stop()
        if summary is None:
            return Said("Nothing was begun.")
        # Only the name: the folder is this machine's, and a notebook is handed on.
        return Said(str(replace(summary, path=Path(summary.path.name))))
    session = start(arguments.cassette, arguments.mode)
    if session is None:
        return Said("SAC_REPLAY is off: the tenant is asked.")
    if session.mode == "record":
        return Said(f"Recording {session.name}. It is saved by %sac_replay --stop, or when the kernel ends.")
    count = session.summary().interactions
    return Said(f"Replaying {session.name}: {count} answers, recorded {session.recorded_at:%Y-%m-%d %H:%M} UTC.")


REPLAY: Final = parser_of(run)
