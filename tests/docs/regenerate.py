"""Write the help texts of every command into the page of the command line: ``python tests/docs/regenerate.py``."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from sacnb.cli.application import application

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
MARK = "<!-- Below this line everything is generated: python tests/docs/regenerate.py -->\n"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command below a group, groups before what is in them."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def help_of(words: tuple[str, ...]) -> str:
    """What ``sacnb <words> --help`` prints, at a width of 100 characters."""
    # The width is set for a terminal of any size, so that the page is the same for everybody.
    result = CliRunner().invoke(
        application, [*words, "--help"], prog_name="sacnb", terminal_width=100, color=False, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output.rstrip()


def generated() -> str:
    """The generated part of the page."""
    parts = [f"## sacnb\n\n```console\n$ sacnb --help\n{help_of(())}\n```\n"]
    for words in commands(application):
        line = " ".join(("sacnb", *words))
        parts.append(
            f"{'##' if len(words) == 1 else '###'} {line}\n\n```console\n$ {line} --help\n{help_of(words)}\n```\n"
        )
    return "\n".join(parts)


def page(current: str) -> str:
    """The page with its generated part made anew."""
    head = current.partition(MARK)[0]
    return f"{head}{MARK}\n{generated()}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
