"""``sacnb demo``: see it work, without a tenant and without settings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from sacnb.cli.failures import ExitCode
from sacnb.cli.invocation import Invocation

__all__ = ["command"]


@click.command("demo", short_help="See it work, without a tenant of your own.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Where the chart goes.",
)
@click.pass_context
def command(ctx: click.Context, out: Path) -> None:
    """Run the main job from end to end against a pretend tenant on this machine.

    Token, models, refresh, comparison with published totals, tidy table, chart; then the tenant is broken on purpose,
    and the same refresh is served from the cache. Your settings and your cache are not touched. Exit code 1 where a
    figure is not what was published.
    """
    from sacnb.cli.commands.demo import perform

    invocation: Invocation = ctx.obj
    with tempfile.TemporaryDirectory(prefix="sacnb-demo-", ignore_cleanup_errors=True) as cache_dir:
        as_expected = perform(out, Path(cache_dir), log=invocation.arguments["log"] or "error")
    if not as_expected:
        ctx.exit(ExitCode.NO)
