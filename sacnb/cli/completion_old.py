"""``sacnb completion``: the script that lets a shell complete commands, options and model ids."""

from __future__ import annotations

from typing import Final

import click

from sacnb.cli.streams import say

__all__ = ["command"]

_INSTALL: Final = {
    "bash": 'sacnb completion bash > ~/.sacnb-complete.bash && echo ". ~/.sacnb-complete.bash" >> ~/.bashrc',
    "zsh": 'sacnb completion zsh > ~/.sacnb-complete.zsh && echo ". ~/.sacnb-complete.zsh" >> ~/.zshrc',
    "fish": "sacnb completion fish > ~/.config/fish/completions/sacnb.fish",
}


@click.command("completion", short_help="Let your shell complete commands and models.")
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell; how to install it is said on stderr.

    Model ids are completed from the cache: pressing Tab never asks SAC.
    """
    from click.shell_completion import get_completion_class

    completion_class = get_completion_class(shell)
    assert completion_class is not None  # noqa: S101 - the choices are those that click knows
    script = completion_class(ctx.find_root().command, {}, "sacnb", "_SACNB_COMPLETE").source()
    click.echo(script)
    say(f"# To install it: {_INSTALL[shell]}")
