"""``sacnb demo``: the main job from end to end, without a tenant and without settings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from sacnb.cli.application import Invocation
from sacnb.cli.failures import ExitCode

__all__ = ["command"]


@click.command("demo", short_help="Try sacnb without a tenant.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="The folder for the chart.",
)
@click.pass_context
def command(ctx: click.Context, out: Path) -> None:
    """Run the main job from end to end against a pretend tenant on this machine.

    Token, models, refresh, comparison with published totals, tidy table, chart. Then the tenant is broken on purpose,
    and the same refresh is served from the cache. Your settings and your cache are not touched. Exit code 1 if a figure
    differs from the published one.
    """
    from sacnb.cli.commands._demonstration import perform

    invocation: Invocation = ctx.obj
    with tempfile.TemporaryDirectory(prefix="sacnb-demo-", ignore_cleanup_errors=True) as cache_dir:
        as_expected = perform(out, Path(cache_dir), log=invocation.arguments["log"] or "error")
    if not as_expected:
        ctx.exit(ExitCode.NO)
