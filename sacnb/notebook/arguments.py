"""The arguments of the magics: IPython's ``magic_arguments``, with types, and without showing a secret by mistake."""

from __future__ import annotations

import argparse
import difflib
import json
import keyword
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from IPython.core import magic_arguments as _untyped
from IPython.core.error import UsageError

__all__ = [
    "argument",
    "frame_options",
    "manual",
    "manual_of",
    "names",
    "options_of",
    "pair",
    "parameters",
    "parse",
    "parser_of",
    "row_count",
    "variable",
    "words",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_Decorator = Callable[[_F], _F]

_ipython: Final = cast("Any", _untyped)
_OPTION: Final = re.compile(r"--?[A-Za-z]")
_SECRET: Final = re.compile(r"secret|token|password|passwd|credential|api.?key", re.IGNORECASE)


def manual(name: str) -> _Decorator[Any]:
    """Make a function's arguments a parser, and its docstring with theirs the manual; the outermost decorator."""
    return cast("_Decorator[Any]", _ipython.magic_arguments(name))


def argument(*names: str, **options: Any) -> _Decorator[Any]:
    """An argument, as ``argparse`` takes it."""
    return cast("_Decorator[Any]", _ipython.argument(*names, **options))


def parser_of(function: Callable[..., Any]) -> argparse.ArgumentParser:
    """The parser that ``manual`` made."""
    return cast("argparse.ArgumentParser", cast("Any", function).parser)


def manual_of(parser: argparse.ArgumentParser) -> str:
    """The manual as it is shown in a cell; IPython writes it for reStructuredText."""
    return parser.format_help().removeprefix("::\n\n").rstrip()


def words(line: str) -> list[str]:
    """A line as words: blanks part them, but for those in quotes, which go.

    The same on each system; IPython's own way differs between them, and keeps the quotes on some. A backslash is a
    backslash. Raises UsageError where a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:
        raise UsageError('A quote is not closed. A value that holds \' stands in "...", and the other way.') from None


def parse(parser: argparse.ArgumentParser, line: str) -> argparse.Namespace | None:
    """The arguments in a line; ``None`` where it asks for the manual.

    What is typed into a cell stays in the notebook and in the history: there are no options for secrets, and a value
    that stands where a secret might is not repeated in a UsageError.
    """
    given = words(line)
    if not {"-h", "--help"}.isdisjoint(given):
        return None
    for word in given:
        if _OPTION.match(word):
            _refuse_unknown(parser, word.partition("=")[0])
    found, unknown = parser.parse_known_args(given)
    if unknown:
        raise UsageError(f"%{parser.prog} takes fewer words than it was given. Its manual: %{parser.prog} --help")
    return found


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """The names of all options."""
    return [name for action in parser._actions for name in action.option_strings]


def _refuse_unknown(parser: argparse.ArgumentParser, option: str) -> None:
    known = options_of(parser)
    if any(name.startswith(option) for name in known):
        return
    if _SECRET.search(option):
        raise UsageError(
            f"%{parser.prog} takes no secrets: a notebook keeps what is typed into it. They belong into .env or the "
            "environment, as SAC_CLIENT_SECRET. If this was a real one, have it changed."
        )
    close = difflib.get_close_matches(option, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Its manual: %{parser.prog} --help"
    raise UsageError(f"%{parser.prog} has no option {option}. {hint}")


def frame_options(function: _F) -> _F:
    """The options ``--polars`` and ``--pandas``."""
    for name in ("pandas", "polars"):
        add = argument(
            f"--{name}",
            dest="frame",
            action="store_const",
            const=name,
            help=f"As a {name} frame. Without either, %%config SacMagics.frame says which.",
        )
        function = add(function)
    return function


def variable(text: str) -> str:
    """The name of a variable, for ``type=``."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name for a variable")
    return text


def pair(text: str) -> tuple[str, str]:
    """``COLUMN=VALUE``, for ``type=``; only the first equals sign parts them."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE, as in --where Version=public.Actual")
    return name, value


def names(text: str) -> list[str]:
    """``A,B``, for ``type=``."""
    return [name for name in text.split(",") if name]


def row_count(text: str) -> int:
    """A number of rows, for ``type=``."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def parameters(text: str | None, namespace: Mapping[str, Any]) -> Mapping[str, object]:
    """The parameters of ``--params``: a JSON object, or the name of a dictionary. Raises UsageError."""
    if text is None:
        return {}
    if text.lstrip("$").isidentifier():
        found = namespace.get(text.lstrip("$"))
        if not isinstance(found, Mapping):
            raise UsageError(f"--params {text}: there is no dictionary of that name.")
        return found
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"--params is neither a name nor JSON ({error}). It stands in single quotes: --params '{{\"start\": 2010}}'"
        ) from None
    if not isinstance(found, Mapping):
        raise UsageError("--params takes an object of names and values, such as '{\"start\": 2010}'.")
    return found
