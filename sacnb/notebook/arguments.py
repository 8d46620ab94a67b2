"""Arguments of the magics: IPython's ``magic_arguments`` with types, and without repeating a secret by mistake."""

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
from IPython.core.error import UsageError as _IPythonUsageError

from sacnb._settings import profile_names
from sacnb._tenant.question import read_condition
from sacnb.errors import QueryError, UsageError

__all__ = [
    "argument",
    "condition",
    "frame_options",
    "manual",
    "manual_of",
    "options_of",
    "parameters",
    "parse",
    "parser_of",
    "profile_named",
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
    """Make a parser of a function's arguments, and the manual of its docstring; must be the outermost decorator."""
    return cast("_Decorator[Any]", _ipython.magic_arguments(name))


def argument(*names: str, **options: Any) -> _Decorator[Any]:
    """Add an argument, as with ``argparse``."""
    return cast("_Decorator[Any]", _ipython.argument(*names, **options))


def parser_of(function: Callable[..., Any]) -> argparse.ArgumentParser:
    """Return the parser that ``manual`` made."""
    return cast("argparse.ArgumentParser", cast("Any", function).parser)


def manual_of(parser: argparse.ArgumentParser) -> str:
    """Return the manual for a cell; IPython formats it as reStructuredText."""
    return parser.format_help().removeprefix("::\n\n").rstrip()


def words(line: str) -> list[str]:
    """Split a line at blanks outside of quotes, and remove the quotes. A backslash is an ordinary character.

    IPython's own function differs between operating systems and keeps the quotes on some.

    Raises UsageError if a quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:
        raise UsageError("A quote is not closed.", hint='Put a value that contains \' into "...".') from None


def parse(parser: argparse.ArgumentParser, line: str) -> argparse.Namespace | None:
    """Return the arguments in a line; ``None`` if it asks for the manual.

    The notebook and IPython's history keep what is typed into a cell. So there are no options for secrets, and errors
    do not repeat a value that may be one.

    Raises UsageError.
    """
    given = words(line)
    if not {"-h", "--help"}.isdisjoint(given):
        return None
    for word in given:
        if _OPTION.match(word):
            _refuse_unknown(parser, word.partition("=")[0])
    try:
        found, unknown = parser.parse_known_args(given)
    except _IPythonUsageError as error:
        raise UsageError(f"%{parser.prog}: {error}", hint=_see_manual(parser)) from None
    if unknown:
        raise UsageError(f"%{parser.prog} takes fewer words than this line has.", hint=_see_manual(parser))
    return found


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the names of all options."""
    return [name for action in parser._actions for name in action.option_strings]


def _see_manual(parser: argparse.ArgumentParser) -> str:
    return f"See %{parser.prog} --help"


def _refuse_unknown(parser: argparse.ArgumentParser, option: str) -> None:
    known = options_of(parser)
    if any(name.startswith(option) for name in known):
        return
    if _SECRET.search(option):
        raise UsageError(
            f"%{parser.prog} takes no secrets, because a notebook keeps what you type.",
            hint="Put them into .env or the environment, as SAC_CLIENT_SECRET. If this was a real secret, replace it.",
        )
    close = difflib.get_close_matches(option, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else _see_manual(parser)
    raise UsageError(f"%{parser.prog} has no option {option}.", hint=hint)


def frame_options(function: _F) -> _F:
    """Add the options ``--polars`` and ``--pandas``."""
    for name in ("pandas", "polars"):
        add = argument(
            f"--{name}",
            dest="frame",
            action="store_const",
            const=name,
            help=f"Return a {name} frame. The default is set by %%config SacMagics.frame.",
        )
        function = add(function)
    return function


def variable(text: str) -> str:
    """Read the name of a variable, for ``type=``."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a variable name")
    return text


def condition(text: str) -> tuple[str, str]:
    """Read ``COLUMN=VALUE``, for ``type=``."""
    try:
        return read_condition(text)
    except QueryError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def row_count(text: str) -> int:
    """Read a number of rows, for ``type=``."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows")
    return int(text)


def parameters(text: str | None, namespace: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the parameters of ``--params``: a JSON object, or the name of a dictionary. Raises UsageError."""
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
            f"--params is neither a name nor JSON ({error}).",
            hint="Put JSON into single quotes: --params '{\"start\": 2010}'",
        ) from None
    if not isinstance(found, Mapping):
        raise UsageError("--params takes a JSON object, such as '{\"start\": 2010}'.")
    return found


def profile_named(wanted: str) -> str | None:
    """Return the profile that *wanted* names, ``None`` if it may be an address. Raises UsageError for other words."""
    known = profile_names()
    if wanted in known:
        return wanted
    if not wanted.isidentifier():
        return None
    there = f"The profiles are: {', '.join(known)}." if known else f"Make a profile: sacnb init --profile {wanted}"
    raise UsageError(
        f"%sac connect {wanted}: {wanted!r} is neither a variable with a connected tenant, nor a profile, nor a URL.",
        hint=f"Connect it first: {wanted} = sacnb.connect(). {there}",
    )
