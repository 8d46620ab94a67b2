"""``%%sac``: what it takes, and what it gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sacnb.errors import QueryError
from sacnb.notebook.magics_arguments import argument, frame_options, manual, parameters, parser_of, row_count, variable

if TYPE_CHECKING:
    from sacnb.notebook.magics_commands import Call

__all__ = ["CELL", "run"]

# A parameter, and before it what may hold a colon that is none: texts, quoted names, comments, casts (``x::date``).
_PARAMETER: Final = re.compile(
    r"""'(?:[^']|'')*' | "[^"]*" | --[^\n]* | /\*.*?\*/ | :: | :(?P<name>[A-Za-z_]\w*)""", re.VERBOSE | re.DOTALL
)


@manual("%sac")
@argument("variable", nargs="?", type=variable, help="Where to put the frame, instead of showing it.")
@argument(
    "--limit", type=row_count, metavar="ROWS", help="The most rows to get; %%config SacMagics.limit is the default."
)
@argument("--params", metavar="VALUES", help="Values of :names, as a JSON object or the name of a dictionary.")
@argument("--decimals", action="store_true", help="Measures as exact decimals, instead of floats.")
@argument("--dry-run", action="store_true", help="Only say what would be asked of SAC, and how many rows it has.")
@frame_options
def run(call: Call, query: str) -> object:
    """SQL over models. What SAC can do itself is done there: filters, columns, sums.

    A :name is the variable of that name, or a value of --params: text, a number, a date, or a list of them. It is sent
    as a value and never read as SQL. The frame is shown, or put into the variable that the first line names; then
    nothing is shown. If it fails, the error is put there.

        start = "201001"

        %%sac by_sector
        select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date >= :start group by Sector
    """
    given = call.arguments
    values = _values(query, parameters(given.params, call.namespace), call.namespace)
    rows = call.session.tenant.sql(query, parameters=values, lazy=True, decimals=given.decimals)
    if call.limit is not None:
        rows = rows.head(call.limit)
    return call.framed(rows.collect())


CELL: Final = parser_of(run)


def _values(query: str, given: Mapping[str, object], namespace: Mapping[str, object]) -> dict[str, object]:
    """The value of each ``:name`` in the query. Raises QueryError for one that nobody has."""
    names = dict.fromkeys(found["name"] for found in _PARAMETER.finditer(query) if found["name"])
    missing = [name for name in names if name not in given and name not in namespace]
    if missing:
        listed = ", ".join(f":{name}" for name in missing)
        raise QueryError(f"There is no value for {listed}.", hint="Set a variable of that name, or give --params.")
    return {name: given[name] if name in given else namespace[name] for name in names}
