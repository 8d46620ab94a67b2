"""The extension ``sacnb`` for IPython: ``%sac``, ``%%sac``, ``%sac_replay`` and their completion."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import traitlets
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, needs_local_scope, no_var_expand

from sacnb._tenant.question import parameter_names
from sacnb.errors import QueryError, SacError, UsageError
from sacnb.notebook.arguments import (
    argument,
    frame_options,
    manual,
    manual_of,
    parameters,
    parse,
    parser_of,
    row_count,
    variable,
)
from sacnb.notebook.commands import COMMANDS, Call, Command
from sacnb.notebook.completion import Completion
from sacnb.notebook.session import SESSION
from sacnb.notebook.words import Lines
from sacnb.replay import start, stop

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["SacMagics", "load_ipython_extension", "unload_ipython_extension"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _typed(decorator: Any) -> Callable[[_F], _F]:
    """Return one of IPython's decorators with a type."""
    return cast("Callable[[_F], _F]", decorator)


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
    values = _parameter_values(query, parameters(given.params, call.namespace), call.namespace)
    if given.dry_run:
        return tenant.explain(query, values, limit=call.limit, count=True)
    return call.framed(tenant.sql(query, values, limit=call.limit, decimals=given.decimals))


CELL: Final = parser_of(run_sql)


def _parameter_values(query: str, given: Mapping[str, object], namespace: Mapping[str, object]) -> dict[str, object]:
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


_NAMES_WIDTH: Final = max(map(len, COMMANDS))
_MANUAL: Final = "\n".join(
    [
        "Query SAP Analytics Cloud, one command per line.",
        "",
        *(f"    %sac {name:<{_NAMES_WIDTH}}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "Each has a manual: %sac refresh --help. %%sac runs SQL over models; its manual is %%sac?.",
        "%sac_replay records responses and replays them.",
        "%config SacMagics sets the defaults.",
        *("\n" + manual_of(command.parser) for command in COMMANDS.values()),
    ]
)


@magics_class
class SacMagics(Magics):
    """The magics, and the options of ``%config SacMagics``."""

    __module__ = "sacnb.notebook"

    frame = traitlets.Enum(
        ["polars", "pandas"], "polars", help="The library of the frames that %sac and %%sac return."
    ).tag(config=True)
    limit = traitlets.Int(
        None, min=0, allow_none=True, help="The maximum number of rows of %%sac without --limit; None for all."
    ).tag(config=True)
    full_tracebacks = traitlets.Bool(
        default_value=False, help="Show errors of sacnb with their traceback, instead of in a few lines."
    ).tag(config=True)
    completion_wait_s = traitlets.Float(0.2, min=0.0, help="The maximum number of seconds that Tab waits for SAC.").tag(
        config=True
    )

    @traitlets.observe("full_tracebacks")
    def _on_full_tracebacks(self, change: Any) -> None:
        SacError._full_tracebacks = change.new

    @_typed(no_var_expand)
    @_typed(needs_local_scope)
    @_typed(line_magic("sac"))
    def sac(self, line: str, local_ns: Mapping[str, Any] | None = None) -> object:
        """Run a command; the docstring is replaced by the manual below."""
        name, _, rest = line.strip().partition(" ")
        if name in {"", "-h", "--help", "help"}:
            return Lines(_MANUAL)
        command = _command(name)
        arguments = parse(command.parser, rest)
        if arguments is None:
            return Lines(manual_of(command.parser))
        with self._errors_in_variable(arguments):
            return self._output(command.run(self._call(arguments, local_ns)), arguments)

    sac.__doc__ = _MANUAL

    @_typed(no_var_expand)
    @_typed(needs_local_scope)
    @_typed(cell_magic("sac"))
    def sac_cell(self, line: str, cell: str, local_ns: Mapping[str, Any] | None = None) -> object:
        """Run SQL; the docstring is replaced by the manual below."""
        arguments = parse(CELL, line)
        if arguments is None:
            return Lines(manual_of(CELL))
        with self._errors_in_variable(arguments):
            return self._output(run_sql(self._call(arguments, local_ns), cell), arguments)

    sac_cell.__doc__ = manual_of(CELL)

    @_typed(no_var_expand)
    @_typed(line_magic("sac_replay"))
    def sac_replay(self, line: str) -> object:
        """Record or replay; the docstring is replaced by the manual below."""
        arguments = parse(REPLAY, line)
        if arguments is None:
            return Lines(manual_of(REPLAY))
        return run_replay(arguments)

    sac_replay.__doc__ = manual_of(REPLAY)

    def _call(self, arguments: argparse.Namespace, local_ns: Mapping[str, Any] | None) -> Call:
        # In a function a magic sees the function's variables, and those of the notebook.
        namespace = {**self._user_ns, **(local_ns or {})}
        frame, limit = getattr(arguments, "frame", None), getattr(arguments, "limit", None)
        return Call(SESSION, arguments, namespace, frame or self.frame, self.limit if limit is None else limit)

    def _output(self, value: object, arguments: argparse.Namespace) -> object:
        """Return *value* for display, or store it in the variable of the arguments and return nothing."""
        name = getattr(arguments, "variable", None)
        if name is None or arguments.dry_run:
            return value
        self._user_ns[name] = value
        return None

    @contextmanager
    def _errors_in_variable(self, arguments: argparse.Namespace) -> Iterator[None]:
        """Store an error in the variable of the arguments, and raise it."""
        try:
            yield
        except SacError as error:
            name = getattr(arguments, "variable", None)
            if name is not None:
                self._user_ns[name] = error
            raise

    @property
    def _user_ns(self) -> dict[str, Any]:
        assert self.shell is not None  # noqa: S101 - the extension passes it
        return cast("dict[str, Any]", self.shell.user_ns)


def _command(name: str) -> Command:
    found = COMMANDS.get(name)
    if found is None:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean %sac {close[0]}?" if close else f"The commands are {', '.join(COMMANDS)}."
        raise UsageError(f"There is no command %sac {name}.", hint=hint)
    return found


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics and their completion. Connects to nothing; loading again changes nothing."""
    _remove(shell)
    magics = SacMagics(shell)
    shell.register_magics(magics)
    SacError._full_tracebacks = magics.full_tracebacks
    completion = Completion(SESSION, lambda: magics.completion_wait_s, CELL, REPLAY, shell.user_ns)
    if shell.Completer is not None:
        shell.Completer.custom_matchers.append(completion.matcher)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics and their completion; a tenant that was chosen with ``%sac connect`` stays connected."""
    _remove(shell)
    SESSION.unload()


def _remove(shell: InteractiveShell) -> None:
    for kind in shell.magics_manager.magics.values():
        for name in ("sac", "sac_replay"):
            if isinstance(getattr(kind.get(name), "__self__", None), SacMagics):
                del kind[name]
    shell.magics_manager.registry.pop(SacMagics.__name__, None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, SacMagics)]
    if shell.Completer is not None:
        matchers = shell.Completer.custom_matchers
        matchers[:] = [one for one in matchers if not isinstance(getattr(one, "__self__", None), Completion)]
    SacError._full_tracebacks = None
