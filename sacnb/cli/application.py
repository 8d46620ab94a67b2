"""The command ``sacnb``: its global options, commands that load when used, and one place for failures."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from sacnb import __version__
from sacnb.cli.failures import EXIT_CODES, ExitCode, exit_code, print_error, report, report_unexpected
from sacnb.cli.output import has_printed_json, log_to_stderr, say, silence, wants_json
from sacnb.errors import SacError, SacWarning

if TYPE_CHECKING:
    from sacnb._cache.store import Cache
    from sacnb._settings import Settings
    from sacnb._tenant import Tenant
    from sacnb._wire.telemetry import Event

__all__ = ["COMMANDS", "Invocation", "Source", "application"]

Source = Literal["sac", "sandbox"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of the program, as set by the options before the command."""

    env_file: Path | None = None
    profile: str | None = None
    tenant_url: str | None = None
    verbosity: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """The options as arguments of ``connect()``."""
        levels = {0: None, 1: "info"}
        return {
            "dotenv_path": self.env_file,
            "profile": self.profile,
            "tenant_url": self.tenant_url,
            "log": levels.get(self.verbosity, "debug"),
        }

    def connect(self, source: Source | None = None, **more: Any) -> Tenant:
        """Connect to the tenant of the settings, or to the one that *source* names, with *more* arguments.

        Raises SettingsError; click.UsageError if *source* is ``"sac"`` and the settings name the sandbox.
        """
        from sacnb._settings import Settings
        from sacnb._tenant import connect

        arguments = {**self.arguments, **more}
        if source == "sandbox":
            arguments["tenant_url"] = source
        elif source == "sac" and Settings.resolve(**arguments).is_sandbox:
            raise click.UsageError(
                "--source sac needs a tenant, but the settings name the sandbox. Set SAC_TENANT_URL."
            )
        log_to_stderr()
        tenant = connect(**arguments)
        if self.verbosity > 1:
            tenant.telemetry.add_hook(_say_request)
        return tenant

    def local_settings(self) -> Settings:
        """Return the settings for commands that send no request; they need no tenant."""
        from sacnb._settings import SANDBOX, Settings

        return Settings.resolve(**{**self.arguments, "tenant_url": SANDBOX})

    def cache(self) -> Cache:
        """Return the cache of the settings."""
        from sacnb._cache.store import Cache

        return Cache(self.local_settings().cache_dir)


def _say_request(event: Event) -> None:
    """Write one line to stderr for each request; its URL is redacted."""
    from sacnb._wire.telemetry import RequestEvent

    if isinstance(event, RequestEvent):
        answer = event.status or event.error_kind
        say(f"{event.method} {event.url}: {answer}, {event.bytes_received:,} bytes, {event.elapsed_s:.2f} s")


# In the order in which a newcomer needs them: ``module:name`` below sacnb.cli.
COMMANDS: Final = {
    "demo": "commands.demo:command",
    "init": "commands.check:init",
    "auth-check": "commands.check:auth_check",
    "login": "commands.browse:login",
    "logout": "commands.browse:logout",
    "whoami": "commands.browse:whoami",
    "models": "commands.browse:models",
    "describe": "commands.browse:describe",
    "members": "commands.browse:members",
    "sql": "commands.browse:sql",
    "refresh": "commands.refresh:command",
    "subscriptions": "commands.refresh:subscriptions",
    "export": "commands.export:command",
    "import": "commands.export:import_command",
    "run": "commands.run:command",
    "cache": "commands.cache:command",
    "replay": "commands.replay:command",
    "sandbox": "commands.sandbox:command",
    "smoke": "commands.check:smoke",
    "doctor": "commands.check:doctor",
    "completion": "completion:command",
}


class _Application(click.Group):
    """Loads commands when they are used, and turns failures into lines, or a JSON object, and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(f"sacnb.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - a test loads all of them
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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_json(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _plain_warnings():
                return self._invoke_and_flush(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            self._print_error(ctx, type(error).__name__, error.format_message(), error.exit_code)
            raise
        except (KeyboardInterrupt, click.Abort) as error:
            say("Interrupted. Cached results are unchanged.")
            self._print_error(ctx, "Cancelled", "Interrupted.", ExitCode.INTERRUPTED)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError as error:
            silence(sys.stdout)
            raise click.exceptions.Exit(ExitCode.NO_READER) from error
        except SacError as error:
            report(error)
            self._print_error(ctx, type(error).__name__, error.message, exit_code(error), error)
            raise click.exceptions.Exit(exit_code(error)) from error
        except OSError as error:
            say(f"Error: {_in_words(error)}")
            self._print_error(ctx, type(error).__name__, _in_words(error), ExitCode.USAGE)
            raise click.exceptions.Exit(ExitCode.USAGE) from error
        except Exception as error:
            verbosity = ctx.obj.verbosity if isinstance(ctx.obj, Invocation) else 0
            line = report_unexpected(error, with_traceback=verbosity > 0)
            self._print_error(ctx, type(error).__name__, line, ExitCode.BUG)
            raise click.exceptions.Exit(ExitCode.BUG) from error

    def _print_error(
        self, ctx: click.Context, kind: str, message: str, code: int, error: SacError | None = None
    ) -> None:
        """Print the error as JSON if the user wants JSON and has got no document yet."""
        if wants_json(ctx) and not has_printed_json(ctx):
            print_error(kind, message, code, error=error)

    def _invoke_and_flush(self, ctx: click.Context) -> Any:
        """Run the command, and flush stdout while a reader that has left can still be noticed."""
        try:
            return super().invoke(ctx)
        finally:
            sys.stdout.flush()


def _in_words(error: OSError) -> str:
    place = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{place}"


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show each of sacnb's warnings as one line, without its place in the code."""

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


def _complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the names of the user's profiles; none if their file cannot be read, which the command itself reports."""
    from sacnb._settings import profile_names

    try:
        return [name for name in profile_names() if name.startswith(incomplete)]
    except SacError:
        return []


_EPILOG = "\n".join(
    [
        "\b",
        "Exit codes:",
        *(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()),
        "",
        "\b",
        "First steps:",
        "  sacnb demo                     try sacnb without a tenant",
        "  sacnb init                     enter your tenant and client, and test them",
        "  sacnb doctor                   find what is missing, with its remedy",
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
    help="The settings file, instead of the nearest .env.",
)
@click.option(
    "--profile",
    metavar="NAME",
    shell_complete=_complete_profile,
    help="The profile with tenant and client, instead of SAC_PROFILE; see sacnb init.",
)
@click.option("--tenant-url", metavar="URL", help="The tenant, or 'sandbox', instead of SAC_TENANT_URL.")
@click.option("-v", "--verbose", count=True, help="Log more to stderr: -v each step, -vv every request.")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def application(
    ctx: click.Context, env_file: Path | None, profile: str | None, tenant_url: str | None, verbose: int
) -> None:
    """SAP Analytics Cloud at the command line: list models, refresh them into the cache, export them.

    Settings come from a profile, the environment and .env; sacnb init writes them. Results go to stdout, everything
    else to stderr. --json prints machine-readable output, also of errors.
    """
    ctx.obj = Invocation(env_file=env_file, profile=profile, tenant_url=tenant_url, verbosity=verbose)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
