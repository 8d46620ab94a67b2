"""``%%sac``: what it takes, and what it gives.

``%sac_replay``: what it takes, and what it does.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from sacnb._tenant.parameters import parameter_names
from sacnb.errors import QueryError
from sacnb.notebook.arguments import argument, frame_options, manual, parameters, parser_of, row_count, variable
from sacnb.notebook.words import Said
from sacnb.replay import start, stop

if TYPE_CHECKING:
    from sacnb.notebook.commands import Call

__all__ = ["CELL", "REPLAY", "run_replay", "run_sql"]


@manual("%sac")
@argument("variable", nargs="?", type=variable, help="Where to put the frame, instead of showing it.")
@argument("--limit", type=row_count, metavar="ROWS", help="The most rows to give; %%config SacMagics.limit without it.")
@argument("--params", metavar="VALUES", help="Values of :names, as a JSON object or the name of a dictionary.")
@argument("--decimals", action="store_true", help="Measures as exact decimals, instead of floats.")
@argument(
    "--no-cache",
    action="store_true",
    help="Get the rows from SAC and keep none. SQL does so in any case; with this, a cell says it.",
)
@argument(
    "--dry-run", action="store_true", help="Only say what would be asked of SAC, and how many rows it has for it."
)
@frame_options
def run_sql(call: Call, query: str) -> object:
    """SQL over models, which are its tables, by id or name.

    Filters, columns and limits go to SAC as far as it can; the rest is done here.

    A :name is the variable of that name, or a value of --params: text, a number, a date, or a list of them behind in.
    It is taken as a value, never as SQL. The frame is shown, or put into the variable that the first line names; then
    nothing is shown. If it fails, the error is put there.

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
    """All values that were given, and of each other ``:name`` that of the variable.

    Raises QueryError for one that nobody has. A value that was given and is not used is refused by whoever binds them.
    """
    others = [name for name in parameter_names(query) if name not in given]
    missing = [name for name in others if name not in namespace]
    if missing:
        listed = ", ".join(f":{name}" for name in missing)
        raise QueryError(f"There is no value for {listed}.", hint="Set a variable of that name, or give --params.")
    return {**given, **{name: namespace[name] for name in others}}


@manual("sac_replay")
@argument("cassette", nargs="?", help="Its name, or a path; without it SAC_REPLAY_CASSETTE says which.")
@argument("--record", dest="mode", action="store_const", const="record", help="Ask the tenant, and keep its answers.")
@argument("--replay", dest="mode", action="store_const", const="replay", help="Answer from the cassette.")
@argument("--stop", action="store_true", help="End what was begun; a recording is saved then.")
def run_replay(arguments: argparse.Namespace) -> object:
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


REPLAY: Final = parser_of(run_replay)
