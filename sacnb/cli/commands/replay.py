"""``sacnb replay``: recorded answers; for now, the scan that keeps secrets out of what is shared."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import click

from sacnb.cli.failures import ExitCode
from sacnb.cli.invocation import Invocation
from sacnb.cli.output import json_option, print_json
from sacnb.cli.streams import clean, say
from sacnb.errors import SettingsError

__all__ = ["command"]

# Shorter ones occur by chance, and every line of every file would be a finding.
_LEAST_KNOWN_LENGTH: Final = 8


@click.group("replay", short_help="Find secrets before files are shared.")
def command() -> None:
    """Look after recordings and notebooks before they are shared."""


@command.command("scan", short_help="Look for tokens, secrets and keys in files.")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@json_option("a list of path, line, kind, shown (the first four characters)")
@click.pass_context
def scan(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Look for tokens, secrets and keys in files, or in folders as git sees them; the current folder by default.

    Exit code 1 where something was found. A secret of the settings is found wherever it stands, and never printed.
    """
    from sacnb.replay import scan_paths

    findings = scan_paths(paths or [Path()], known_secrets=_known_secrets(ctx.obj))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(clean(str(finding)))
        if findings:
            count = f"{len(findings)} place{'' if len(findings) == 1 else 's'}"
            say(f"{count} may hold a secret. Take it out, and replace it in SAC if it was shared already.")
        else:
            say("No secrets found.")
    if findings:
        ctx.exit(ExitCode.NO)


def _known_secrets(invocation: Invocation) -> list[str]:
    """The secrets of the settings, where there are settings: a checkout without any is scanned for shapes only."""
    from sacnb.settings import Settings

    try:
        settings = Settings.resolve(**invocation.arguments)
    except SettingsError as error:
        if invocation.verbosity:
            say(f"Only the shapes of secrets are looked for, since the settings do not hold any: {error}")
        return []
    secrets = [settings.client_secret, *([settings.token] if settings.token else [])]
    return [secret.reveal() for secret in secrets if len(secret.reveal()) >= _LEAST_KNOWN_LENGTH]
