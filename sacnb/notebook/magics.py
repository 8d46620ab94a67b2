"""``%sac``, ``%%sac`` and ``%sac_replay``: the magics."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar, cast

import traitlets
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, needs_local_scope, no_var_expand

from sacnb.errors import SacError
from sacnb.notebook.arguments import manual_of, parse
from sacnb.notebook.cells import CELL, REPLAY, run_replay, run_sql
from sacnb.notebook.commands import COMMANDS, Call, Command
from sacnb.notebook.session import SESSION
from sacnb.notebook.words import Said, failure_lines

__all__ = ["SacMagics"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _typed(decorator: Any) -> Callable[[_F], _F]:
    """One of IPython's decorators, which have no types that a checker could follow."""
    return cast("Callable[[_F], _F]", decorator)


_NAMES_WIDTH: Final = max(map(len, COMMANDS))
_MANUAL: Final = "\n".join(
    [
        "Ask SAP Analytics Cloud, one thing a line.",
        "",
        *(f"    %sac {name:<{_NAMES_WIDTH}}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "Each has a manual: %sac refresh --help. SQL over models is %%sac, whose manual is %%sac?.",
        "Answers are recorded and replayed by %sac_replay.",
        "What both do without options is set by %config SacMagics.",
        *("\n" + manual_of(command.parser) for command in COMMANDS.values()),
    ]
)


@magics_class
class SacMagics(Magics):
    """The magics, and what ``%config SacMagics`` sets."""

    frame = traitlets.Enum(
        ["polars", "pandas"], "polars", help="The library of the frames that %sac and %%sac give."
    ).tag(config=True)
    limit = traitlets.Int(
        None, min=0, allow_none=True, help="The most rows that %%sac gets without --limit; None for all of them."
    ).tag(config=True)
    short_errors = traitlets.Bool(
        default_value=True, help="Show what went wrong in a few lines, instead of a traceback."
    ).tag(config=True)
    completion_wait_s = traitlets.Float(
        0.2, min=0.0, help="How many seconds Tab may wait for what SAC has to be asked for."
    ).tag(config=True)

    @_typed(no_var_expand)
    @_typed(needs_local_scope)
    @_typed(line_magic("sac"))
    def sac(self, line: str, local_ns: Mapping[str, Any] | None = None) -> object:
        """Replaced by the manual, below."""
        name, _, rest = line.strip().partition(" ")
        if name in {"", "-h", "--help", "help"}:
            return Said(_MANUAL)
        command = _command(name)
        arguments = parse(command.parser, rest)
        if arguments is None:
            return Said(manual_of(command.parser))
        with self._told(arguments):
            return self._given(command.run(self._call(arguments, local_ns)), arguments)

    sac.__doc__ = _MANUAL

    @_typed(no_var_expand)
    @_typed(needs_local_scope)
    @_typed(cell_magic("sac"))
    def sac_cell(self, line: str, cell: str, local_ns: Mapping[str, Any] | None = None) -> object:
        """Replaced by the manual, below."""
        arguments = parse(CELL, line)
        if arguments is None:
            return Said(manual_of(CELL))
        with self._told(arguments):
            return self._given(run_sql(self._call(arguments, local_ns), cell), arguments)

    sac_cell.__doc__ = manual_of(CELL)

    @_typed(no_var_expand)
    @_typed(line_magic("sac_replay"))
    def sac_replay(self, line: str) -> object:
        """Replaced by the manual, below."""
        arguments = parse(REPLAY, line)
        if arguments is None:
            return Said(manual_of(REPLAY))
        with self._told(arguments):
            return run_replay(arguments)

    sac_replay.__doc__ = manual_of(REPLAY)

    def _call(self, arguments: argparse.Namespace, local_ns: Mapping[str, Any] | None) -> Call:
        # In a function the line sees its variables, and behind them those of the notebook.
        namespace = {**self._user_ns, **(local_ns or {})}
        frame, limit = getattr(arguments, "frame", None), getattr(arguments, "limit", None)
        return Call(SESSION, arguments, namespace, frame or self.frame, self.limit if limit is None else limit)

    def _given(self, value: object, arguments: argparse.Namespace) -> object:
        """A value for the cell to show; nothing where it has a variable to go to."""
        name = getattr(arguments, "variable", None)
        if name is None or arguments.dry_run:
            return value
        self._user_ns[name] = value
        return None

    @contextmanager
    def _told(self, arguments: argparse.Namespace) -> Iterator[None]:
        """Put what goes wrong into the variable, and have it shown in a few lines instead of a traceback."""
        try:
            yield
        except (SacError, UsageError) as error:
            name = getattr(arguments, "variable", None)
            if name is not None:
                self._user_ns[name] = error
            if self.short_errors and isinstance(error, SacError):
                # What IPython asks an exception for before it draws a traceback. On this object and not on the class:
                # in a program of the user's the way to the line that failed matters.
                vars(error)["_render_traceback_"] = partial(failure_lines, error)
            raise

    @property
    def _user_ns(self) -> dict[str, Any]:
        assert self.shell is not None  # noqa: S101 - the extension hands it in
        return cast("dict[str, Any]", self.shell.user_ns)


def _command(name: str) -> Command:
    found = COMMANDS.get(name)
    if found is None:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean %sac {close[0]}?" if close else f"There is: {', '.join(COMMANDS)}."
        raise UsageError(f"There is no %sac {name}. {hint}")
    return found
