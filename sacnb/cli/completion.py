"""What a shell may complete: models, keys, cassettes; from what is on this machine and never from the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sacnb.errors import SacError

if TYPE_CHECKING:
    from sacnb._cache.store import CacheEntry

__all__ = ["complete_cassette", "complete_key", "complete_model"]


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
    from sacnb.replay import places

    return [name for name in places.names() if name.startswith(incomplete)]


def _kept(ctx: click.Context) -> Sequence[CacheEntry]:
    """What is kept; nothing where the settings or the cache cannot be read, which the command itself will say."""
    from sacnb.cli.invocation import Invocation

    # While a shell completes, the callback that makes the invocation has not run.
    given = ctx.find_root().params
    try:
        return Invocation(env_file=given.get("env_file")).cache().entries()
    except SacError:
        return ()
