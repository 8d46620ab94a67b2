"""What a shell may complete: models, keys, cassettes; from what is on this machine and never from the network.

``sacnb completion``: the script that lets a shell complete commands, options and model ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from sacnb.cli.output import say
from sacnb.errors import SacError

if TYPE_CHECKING:
    from sacnb._cache.store import CacheEntry

__all__ = ["command", "complete_cassette", "complete_key", "complete_model"]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The ids of models that were refreshed before."""
    return sorted(
        {entry.provider_id for entry in _kept(ctx) if entry.info and entry.provider_id.startswith(incomplete)}
    )


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The keys of kept results."""
    return [entry.key for entry in _kept(ctx) if entry.key.startswith(incomplete)]


def complete_cassette(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The names of the cassettes in the folders from here upwards."""
    from sacnb.replay import document

    return [name for name in document.names() if name.startswith(incomplete)]


def _kept(ctx: click.Context) -> Sequence[CacheEntry]:
    """What is kept; nothing where the settings or the cache cannot be read, which the command itself will say."""
    from sacnb.cli.application import Invocation

    # While a shell completes, the callback that makes the invocation has not run.
    given = ctx.find_root().params
    try:
        return Invocation(env_file=given.get("env_file")).cache().entries()
    except SacError:
        return ()


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
