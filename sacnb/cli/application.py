"""The command ``sacnb`` itself: global options, commands that load when they are used, and one place for failures."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from sacnb import __version__
from sacnb.cli.failures import EXIT_CODES, ExitCode, exit_code, report, report_unexpected
from sacnb.cli.invocation import Invocation
from sacnb.cli.streams import say, silence
from sacnb.errors import SacError, SacWarning

__all__ = ["COMMANDS", "application"]

# In the order a newcomer needs them; the module of each holds it as ``command``.
COMMANDS: Final = {
    "demo": "commands.demo_old",
    "auth-check": "commands.auth_check",
    "models": "commands.models",
    "describe": "commands.browse",
    "members": "commands.members",
    "refresh": "commands.refresh",
    "export": "commands.export",
    "cache": "commands.cache",
    "replay": "commands.replay",
    "sandbox": "commands.sandbox",
    "smoke": "commands.check",
    "doctor": "commands.doctor",
    "completion": "completion_old",
}


class _Application(click.Group):
    """Loads a command when it is asked for, and turns what goes wrong in it into lines and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"sacnb.cli.{COMMANDS[cmd_name]}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a test walks through all of them
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            nearest = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if not nearest:
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {nearest[0]!r}?", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _plain_warnings():
                return self._invoke_and_flush(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort) as error:
            say("Interrupted; what was kept before is as it was.")
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError as error:
            silence(sys.stdout)
            raise click.exceptions.Exit(ExitCode.NO_READER) from error
        except SacError as error:
            report(error)
            raise click.exceptions.Exit(exit_code(error)) from error
        except OSError as error:
            say(f"Error: {_in_words(error)}")
            raise click.exceptions.Exit(ExitCode.YOURS) from error
        except Exception as error:
            verbosity = ctx.obj.verbosity if isinstance(ctx.obj, Invocation) else 0
            report_unexpected(error, with_traceback=verbosity > 0)
            raise click.exceptions.Exit(ExitCode.BUG) from error

    def _invoke_and_flush(self, ctx: click.Context) -> Any:
        """Run the command; what is left in stdout is written while a reader that has gone can still be noticed."""
        try:
            return super().invoke(ctx)
        finally:
            sys.stdout.flush()


def _in_words(error: OSError) -> str:
    place = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{place}"


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our own warnings, each time, as one line without the place in our code that they come from."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, SacWarning):
            say(f"Warning: {message}")
        else:
            before(message, category, *place, **more)

    with warnings.catch_warnings():
        before = warnings.showwarning
        warnings.simplefilter("always", SacWarning)
        warnings.showwarning = show
        yield


_EPILOG = "\n".join(
    [
        "\b",
        "Exit codes:",
        *(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()),
        "",
        "\b",
        "First steps:",
        "  sacnb demo                     see it work, without a tenant of your own",
        "  cp .env.example .env           then fill in your tenant (docs/access.md)",
        "  sacnb doctor                   what is missing, and what to do about it",
    ]
)


@click.group(
    "sacnb",
    cls=_Application,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    help="The file with the settings, instead of the nearest .env.",
)
@click.option("--tenant-url", metavar="URL", help="The tenant, or 'sandbox'; instead of SAC_TENANT_URL.")
@click.option("-v", "--verbose", count=True, help="Say more on stderr: -v what is done, -vv every request.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def application(ctx: click.Context, env_file: Path | None, tenant_url: str | None, verbose: int) -> None:
    """SAP Analytics Cloud at the command line: see the models, refresh them into the cache, export them.

    Settings come from the environment and from .env (see .env.example). Results go to stdout, everything else to
    stderr; --json gives what a program can read.
    """
    ctx.obj = Invocation(env_file=env_file, tenant_url=tenant_url, verbosity=verbose)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
