"""Shell completion: ids, keys and cassettes found on this machine (never the network), and ``sacnb completion``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from sacnb.cli.output import say
from sacnb.errors import SacError

if TYPE_CHECKING:
    from sacnb._cache.store import CacheEntry

__all__ = ["Bash", "command", "complete_cassette", "complete_key", "complete_model"]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the ids of models with a cached result."""
    return sorted(
        {entry.provider_id for entry in _entries(ctx) if entry.info and entry.provider_id.startswith(incomplete)}
    )


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the keys of cached results."""
    return [entry.key for entry in _entries(ctx) if entry.key.startswith(incomplete)]


def complete_cassette(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the names of the cassettes in this folder and those above it."""
    from sacnb.replay import document

    return [name for name in document.names() if name.startswith(incomplete)]


def _entries(ctx: click.Context) -> Sequence[CacheEntry]:
    """Return the cached results; none if the settings or the cache cannot be read, which the command itself reports."""
    from sacnb.cli.application import Invocation

    # During completion click has not called the function that makes the invocation.
    given = ctx.find_root().params
    try:
        return Invocation(env_file=given.get("env_file"), profile=given.get("profile")).cache().entries()
    except SacError:
        return ()


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a line for bash: its raw text, its meaning, the quote that is still open, and unquoted break marks."""

    raw: str
    text: str
    quote: str
    # Where in ``raw`` bash begins the word to replace: behind the last character of COMP_WORDBREAKS.
    start: int


def _words(line: str, breaks: str) -> Iterator[_Word]:
    """Split a command line as bash does; the last word, perhaps empty, is the one at the cursor."""
    raw = text = quote = ""
    start = before_quote = 0
    escaped = False
    for character in line:
        if not quote and not escaped and character.isspace():
            if raw:
                yield _Word(raw, text, quote, start)
            raw = text = ""
            start = 0
            continue
        raw += character
        if escaped:
            # Between double quotes a backslash only escapes these; before another character it stays.
            text += character if not quote or character in '"\\$`' else f"\\{character}"
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote, start = "", before_quote
        elif character in "'\"" and not quote:
            quote, before_quote, start = character, start, len(raw)
        else:
            text += character
            if not quote and character in breaks:
                start = len(raw)
    yield _Word(raw, text, quote, start)


_PLAIN: Final = re.compile(r"[\w@%+,./:=-]")
_SOURCE: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' response kind value
    response=$(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=',' read -r kind value; do
        case $kind in
            dir) compopt -o dirnames 2> /dev/null ;;
            file) compopt -o default 2> /dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
}

complete -o nosort -F %(complete_func)s %(prog_name)s 2> /dev/null || complete -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completion for bash that keeps ids with colons in one piece, and quotes names with blanks."""

    source_template = _SOURCE

    @staticmethod
    def _check_version() -> None:
        """Skip click's check, which starts a bash; the script works from bash 3.2 on."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, without the program's name, and the text of the one at it."""
        if "COMP_LINE" not in os.environ:  # a script that was installed before sacnb had its own
            return super().get_completion_args()
        *earlier, last = self._line()
        return [word.text for word in earlier[1:]], last.text

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line for the script: the kind of completion, and the text that replaces bash's current word."""
        if item.type != "plain" or "COMP_LINE" not in os.environ:
            return super().format_completion(item)
        word = list(self._line())[-1]
        # For ``--option=value`` click completes the value alone.
        option, equals, _ = word.text.partition("=")
        value = f"{option}={item.value}" if equals and option.startswith("-") else item.value
        if word.quote:  # bash itself closes the quote
            begun = len(word.text) - len(_meaning(word.raw[word.start :], word.quote))
            return f"plain,{_within(value[begun:], word.quote)}"
        begun = len(word.text) - len(_meaning(word.raw[word.start :], ""))
        return f"plain,{''.join(one if _PLAIN.match(one) else f'{chr(92)}{one}' for one in value[begun:])}"

    def _line(self) -> list[_Word]:
        return list(_words(os.environ.get("COMP_LINE", ""), os.environ.get("COMP_WORDBREAKS", "\"'><=;|&(:")))


def _meaning(raw: str, quote: str) -> str:
    """Return the text that a piece of a word stands for."""
    return list(_words(quote + raw, ""))[-1].text


def _within(text: str, quote: str) -> str:
    """Return *text* as it stands between quotes."""
    if quote == "'":
        return text.replace("'", "'\\''")
    return re.sub(r'(["\\$`])', r"\\\1", text)


_INSTALL: Final = {
    "bash": 'sacnb completion bash > ~/.sacnb-complete.bash && echo ". ~/.sacnb-complete.bash" >> ~/.bashrc',
    "zsh": 'sacnb completion zsh > ~/.sacnb-complete.zsh && echo ". ~/.sacnb-complete.zsh" >> ~/.zshrc',
    "fish": "sacnb completion fish > ~/.config/fish/completions/sacnb.fish",
}


@click.command("completion", short_help="Set up completion of commands and models in your shell.")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell, and on stderr how to install it.

    Model ids are completed from the cache; Tab never sends a request to SAC.
    """
    install_bash()
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # noqa: S101 - click knows all shells of the choice
    click.echo(completion_class(ctx.find_root().command, {}, "sacnb", "_SACNB_COMPLETE").source())
    say(f"# To install it: {_INSTALL[shell]}")


def install_bash() -> None:
    """Make click use ``Bash`` for its completion in bash."""
    add_completion_class(Bash)
