"""``sacnb doctor``: what works, what does not, and what to do about it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from sacnb.cli.failures import ExitCode
from sacnb.cli.invocation import Invocation
from sacnb.cli.logs import log_to_stderr
from sacnb.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from sacnb._tenant import Check

__all__ = ["command"]


@click.command("doctor", short_help="What is missing, and what to do about it.")
@json_option("healthy, checks (a list of name, status: ok, warning, failed or skipped, detail, remedy)")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check settings, cache folder, host, TLS and proxy, clock, token, and which APIs the client may use.

    Exit code 1 where data cannot be read.
    """
    from sacnb._tenant import diagnose

    invocation: Invocation = ctx.obj
    log_to_stderr()
    diagnosis = diagnose(**invocation.arguments)
    if as_json:
        print_json({"healthy": diagnosis.healthy, "checks": [dataclasses.asdict(check) for check in diagnosis.checks]})
    else:
        rows = [(check.status, check.name, _finding(check)) for check in diagnosis.checks]
        print_table(("status", "check", "what was found, and what to do"), rows)
        click.echo("\nData can be read." if diagnosis.healthy else "\nData cannot be read yet: see what failed above.")
    if not diagnosis.healthy:
        ctx.exit(ExitCode.NO)


def _finding(check: Check) -> str:
    return f"{check.detail}\n-> {check.remedy}" if check.remedy else check.detail
