"""The cell magic ``%%sac`` and the line magic ``%sac_replay``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sacnb._tenant.question import parameter_names
from sacnb.errors import QueryError, UsageError
from sacnb.notebook.arguments import argument, frame_options, manual, parameters, parser_of, row_count, variable
from sacnb.notebook.words import Lines
from sacnb.replay import start, stop

if TYPE_CHECKING:
    from sacnb.notebook.commands import Call

__all__ = ["CELL", "REPLAY", "run_replay", "run_sql"]


@manual("%sac")
@argument("variable", nargs="?", type=variable, help="Store the frame in this variable instead of showing it.")
@argument(
    "--limit",
    type=row_count,
    metavar="ROWS",
    help="The maximum number of rows. The default is set by %%config SacMagics.limit.",
)
@argument("--params", metavar="VALUES", help="Values of :names, as a JSON object or the name of a dictionary.")
@argument("--decimals", action="store_true", help="Return measures as exact decimals instead of floats.")
@argument(
    "--no-cache",
    action="store_true",
    help="Read from SAC and cache nothing. SQL always does; use this option to show it to readers.",
)
@argument("--dry-run", action="store_true", help="Only show the requests and SAC's row count.")
@frame_options
def run_sql(call: Call, query: str) -> object:
    """Run SQL over models. The tables are models, by id or name.

    Filters, columns and limits are pushed down to SAC where possible; polars does the rest.

    A :name is the variable of that name, or a value of --params: text, a number, a date, or a list of them after IN.
    It is always a value, never SQL. The frame is shown, or stored in the variable that the first line names; then
    nothing is shown. On failure the variable holds the error.

        start = "201001"

        %%sac by_sector
        select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date >= :start group by Sector
    """
    given = call.arguments
    tenant = call.session.tenant
    values = _values(query, parameters(given.params, call.namespace), call.namespace)
    if given.dry_run:
        return tenant.explain(query, values, limit=call.limit, count=True)
    return call.framed(tenant.sql(query, values, limit=call.limit, decimals=given.decimals))


CELL: Final = parser_of(run_sql)


def _values(query: str, given: Mapping[str, object], namespace: Mapping[str, object]) -> dict[str, object]:
    """Return the values of ``--params``, and for every other ``:name`` the variable of that name.

    Raises QueryError for a name without a value. A value without a name is refused when the values are bound.
    """
    others = [name for name in parameter_names(query) if name not in given]
    missing = [name for name in others if name not in namespace]
    if missing:
        listed = ", ".join(f":{name}" for name in missing)
        raise QueryError(f"There is no value for {listed}.", hint="Set a variable of that name, or use --params.")
    return {**given, **{name: namespace[name] for name in others}}


@manual("sac_replay")
@argument("cassette", nargs="?", help="The cassette's name or path; the default is SAC_REPLAY_CASSETTE.")
@argument("--record", dest="mode", action="store_const", const="record", help="Query the tenant and record.")
@argument("--replay", dest="mode", action="store_const", const="replay", help="Replay the cassette.")
@argument("--stop", action="store_true", help="End replaying or recording; a recording is saved.")
def run_replay(arguments: argparse.Namespace) -> object:
    """Replay a cassette from now on, without a tenant and without a network; or record into one.

    Without an option SAC_REPLAY decides: replay (the default), record, or off, which does nothing, so that the tenant
    is queried. The same notebook thus serves all three. It ends with --stop, or with the kernel.

        %sac_replay first_read
    """
    if arguments.stop:
        if arguments.cassette or arguments.mode:
            raise UsageError("%sac_replay --stop takes no other arguments.")
        summary = stop()
        if summary is None:
            return Lines("Nothing is being recorded or replayed.")
        # Only the name: the folder is this machine's, and notebooks are shared.
        return Lines(str(replace(summary, path=Path(summary.path.name))))
    session = start(arguments.cassette, arguments.mode)
    if session is None:
        return Lines("SAC_REPLAY is off: the magics query the tenant.")
    if session.mode == "record":
        return Lines(f"Recording {session.name}. %sac_replay --stop saves it, or the end of the kernel.")
    count = session.summary().interactions
    return Lines(f"Replaying {session.name}: {count} responses, recorded {session.recorded_at:%Y-%m-%d %H:%M} UTC.")


REPLAY: Final = parser_of(run_replay)
