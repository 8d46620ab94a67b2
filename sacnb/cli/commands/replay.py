"""``sacnb replay``: record notebooks, prune cassettes, and scan files for secrets."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from sacnb._rendering import printable
from sacnb.cli.application import Invocation
from sacnb.cli.completion import complete_cassette
from sacnb.cli.failures import ExitCode
from sacnb.cli.output import json_option, print_facts, print_json, say

__all__ = ["command"]

_LEAST_KNOWN_LENGTH: Final = 8


_RECORD_EXAMPLES: Final = """\b
Examples:
  sacnb replay record plan.ipynb
  sacnb --tenant-url sandbox replay record plan.ipynb --no-outputs
"""
_F = TypeVar("_F", bound=Callable[..., Any])


def _kernel_options(function: _F) -> _F:
    """Add the options for running a notebook."""
    timeout = click.option(
        "--timeout-s",
        type=click.FloatRange(0, min_open=True),
        default=600.0,
        show_default=True,
        help="Seconds for each cell.",
    )
    kernel = click.option("--kernel", metavar="NAME", help="The kernel, instead of the notebook's own.")
    return timeout(kernel(function))


@click.group("replay", short_help="Record notebooks, and scan files for secrets.")
def command() -> None:
    """Record notebooks, and check recordings before you share them."""


@command.command("record", short_help="Record the requests of a notebook.", epilog=_RECORD_EXAMPLES)
@click.argument("notebook", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--cassette",
    metavar="NAME",
    shell_complete=complete_cassette,
    help="The cassette of a notebook that does not name one; by default the notebook's name.",
)
@_kernel_options
@click.option("--no-outputs", is_flag=True, help="Write only the cassette, and leave the notebook unchanged.")
@json_option("notebook, cassettes (a list of files), interactions (the number of responses in them)")
@click.pass_obj
def record(
    invocation: Invocation,
    *,
    notebook: Path,
    cassette: str | None,
    timeout_s: float,
    kernel: str | None,
    no_outputs: bool,
    as_json: bool,
) -> None:
    """Run a notebook twice: against the tenant of the settings, to record its responses, and from the recording.

    The replay runs without settings, as for a colleague who has none, and its outputs are written into the notebook.
    Secrets, cookies and the tenant's address are removed from the recording; the data are not. The kernel runs in the
    notebook's folder, where .env is looked for.
    """
    from sacnb.replay import record_notebook

    recording = record_notebook(
        notebook,
        cassette,
        timeout_s=timeout_s,
        kernel_name=kernel,
        write_outputs=not no_outputs,
        environ=_variables(invocation),
        announce=say,
    )
    if as_json:
        print_json(dataclasses.asdict(recording))
    else:
        cassettes = ", ".join(map(str, recording.cassettes))
        print_facts({"notebook": recording.notebook, "cassette": cassettes, "responses": recording.interactions})
        say("The cassette holds the data that the notebook requested. Check it before you share it.")


@command.command("prune", short_help="Remove unused responses from a cassette.")
@click.argument("cassette", shell_complete=complete_cassette)
@click.argument(
    "notebooks", metavar="NOTEBOOK...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False)
)
@_kernel_options
@json_option("path, kept, dropped (numbers of responses)")
def prune(*, cassette: str, notebooks: tuple[str, ...], timeout_s: float, kernel: str | None, as_json: bool) -> None:
    """Remove the responses that none of these notebooks uses from a cassette.

    To find them, the notebooks are run from the cassette. The notebooks stay unchanged.
    """
    from sacnb.replay import prune as prune_cassette

    pruned = prune_cassette(cassette, notebooks, timeout_s=timeout_s, kernel_name=kernel, announce=say)
    if as_json:
        print_json(dataclasses.asdict(pruned))
    else:
        print_facts({"cassette": pruned.path, "kept": pruned.kept, "removed": pruned.dropped})


@command.command("scan", short_help="Scan files for tokens, secrets and keys.")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@json_option("a list of path, line, kind, shown (the first four characters)")
@click.pass_context
def scan(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Scan files, or folders as git sees them, for tokens, secrets and keys; by default the current folder.

    A secret of the settings is found in every form (escaped, base64), and never printed. Exit code 1 if something was
    found, or if a file could not be searched: it is compressed, too large or unreadable.
    """
    from sacnb.replay import scan_paths

    paths = paths or (Path(),)
    findings = scan_paths(paths, known_secrets=_known_secrets(ctx.obj, paths))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(printable(str(finding)))
        unsearched = sum(finding.line == 0 for finding in findings)
        if places := len(findings) - unsearched:
            count = f"{places} place{'' if places == 1 else 's'}"
            say(f"{count} may hold a secret. Remove it, and replace it in SAC if it was shared already.")
        if unsearched:
            count = f"{unsearched} file{' was' if unsearched == 1 else 's were'}"
            say(f"{count} not searched. Name the others, or make sure yourself that no secret is in there.")
        if not findings:
            say("No secrets found.")
    if findings:
        ctx.exit(ExitCode.NO)


def _variables(invocation: Invocation) -> dict[str, str]:
    """Return the options before the command as variables, for the notebook's kernel.

    Raises SettingsError if the file does not exist.
    """
    variables: dict[str, str] = {}
    if invocation.env_file is not None:
        from sacnb._settings import read_dotenv

        given = read_dotenv(invocation.env_file)
        variables = {name: value for name, value in given.items() if name not in os.environ}
    if invocation.profile is not None:
        variables["SAC_PROFILE"] = invocation.profile
    if invocation.tenant_url is not None:
        variables["SAC_TENANT_URL"] = invocation.tenant_url
    if invocation.verbosity:
        variables["SAC_LOG"] = invocation.arguments["log"]
    return variables


def _known_secrets(invocation: Invocation, paths: Sequence[Path]) -> list[str]:
    """Return the secrets of the settings, and those in a ``.env`` in or above one of the paths.

    Raises SettingsError where a source of secrets cannot be read.
    """
    from sacnb._settings import configured_secrets
    from sacnb.replay.scan import secrets_around

    secrets = [secret.reveal() for secret in configured_secrets(**invocation.arguments)]
    for folder in {path.resolve() if path.is_dir() else path.resolve().parent for path in paths}:
        secrets += secrets_around(folder)
    if not secrets and invocation.verbosity:
        say("Scanning for the shapes of secrets only, because the settings hold none.")
    # Shorter ones occur by chance, and every line of every file would be a finding.
    return [secret for secret in secrets if len(secret) >= _LEAST_KNOWN_LENGTH]
