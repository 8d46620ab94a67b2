"""Completions on Tab for ``%sac`` and ``%%sac``: subcommands, options, models, columns, members, parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from sacnb.notebook.completers import Knowledge, Suggestions, complete_arguments, complete_line, complete_sql, split

if TYPE_CHECKING:
    import argparse

    from sacnb.notebook.session import Session

__all__ = ["Completion"]

# As a line of its own, or with its value assigned: ``models = %sac models``.
_LINE: Final = re.compile(r"\s*(?:[^=%#'\"]+=\s*)?%sac\s")
_REPLAY: Final = re.compile(r"\s*%sac_replay\s")
_CELL: Final = re.compile(r"%%sac(?=\s|$)")
_matcher: Final[Any] = context_matcher


class Completion:
    """What IPython's completer asks, beside its own ways.

    It answers from what is known of the connected tenant, waits ``wait_s()`` seconds for what SAC has to be asked for,
    and never connects. ``cell`` reads the first line of ``%%sac``, ``replay`` a line of ``%sac_replay``; ``variables``
    are the user's.
    """

    def __init__(
        self,
        session: Session,
        wait_s: Callable[[], float],
        cell: argparse.ArgumentParser,
        replay: argparse.ArgumentParser,
        variables: Mapping[str, Any],
    ) -> None:
        self._session = session
        self._wait_s = wait_s
        self._cell = cell
        self._replay = replay
        self._variables = variables

    @_matcher(identifier="sacnb")  # type: ignore[untyped-decorator]
    def matcher(self, context: CompletionContext) -> SimpleMatcherResult:
        """The completions at the cursor, in place of all others; none where the cursor is not in one of our magics."""
        found = self._suggestions(context)
        if found is None or not found.texts:
            return {"completions": []}
        return {
            "completions": [SimpleCompletion(text, type=what) for text, what in found.texts.items()][: context.limit],
            "matched_fragment": found.fragment,
            "suppress": True,
            "ordered": True,
        }

    def _suggestions(self, context: CompletionContext) -> Suggestions | None:
        before = context.text_until_cursor
        lines = context.full_text.split("\n")
        cell = _CELL.match(lines[0])
        line = _LINE.match(before)
        replay = _REPLAY.match(before)
        if cell is None and line is None and replay is None:
            return None
        knowledge = self._knowledge()
        if replay is not None:
            return complete_arguments(self._replay, *split(before[replay.end() :]), knowledge)
        if cell is None:
            return complete_line(before[line.end() :], knowledge) if line is not None else None
        if context.cursor_line == 0:
            return complete_arguments(self._cell, *split(before[cell.end() :]), knowledge)
        earlier = lines[1 : context.cursor_line]
        return complete_sql("\n".join([*earlier, before]), "\n".join(lines[1:]), knowledge)

    def _knowledge(self) -> Knowledge:
        catalogue = self._session.catalogue
        until = catalogue.clock() + self._wait_s() if catalogue is not None else 0.0
        return Knowledge(catalogue, until, self._variables)
