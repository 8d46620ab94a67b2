"""``sacnb sandbox``: serve a pretend tenant on this machine, for other programs and for tests of failures."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import click

from sacnb.cli.output import json_option, print_json, print_table, say
from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    from sacnb.sandbox import Misbehaviour, Sandbox

__all__ = ["command"]

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@click.group("sandbox", short_help="Run a pretend tenant on this machine.")
def command() -> None:
    """Run a pretend tenant, with models to read and misbehaviours to try."""


@command.command("serve", short_help="Serve a pretend tenant until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="The port; by default a free one.")
@click.option(
    "--scale-rows", type=click.IntRange(0), default=100_000, show_default=True, help="Rows of the model SCALE."
)
@click.option("--seed", type=int, default=0, help="Seed for the values of SCALE.")
@click.option(
    "--token-lifetime-s",
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Lifetime of a token, in seconds.",
)
@click.option("--latency-s", type=click.FloatRange(0), default=0.0, help="Delay of every response, in seconds.")
@click.option("--client-id", metavar="ID", help="The OAuth client's id; by default a generated one.")
@click.option("--client-secret", metavar="SECRET", help="The OAuth client's secret; by default a generated one.")
@click.option(
    "--misbehave",
    "misbehaviours",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Switch on a misbehaviour; NAME:OPTION=VALUE,... sets options. List them: sacnb sandbox misbehaviours",
)
def serve(misbehaviours: tuple[str, ...], host: str, **options: Any) -> None:
    """Serve a sandbox tenant until Ctrl-C, and print its settings.

    Copy the lines on stdout into .env, or run them in a shell.
    """
    from sacnb.sandbox import serve as serve_sandbox

    if host not in _LOOPBACK:
        say(f"Warning: other machines can reach {host}, over unencrypted HTTP.")
    try:
        serve_sandbox(
            on_ready=_print_settings,
            host=host,
            misbehaviours=[_misbehaviour(text) for text in misbehaviours],
            **options,
        )
    except ImportError as error:
        raise MissingExtraError("sandbox", "The sandbox tenant") from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    say("The sandbox has stopped.")


def _print_settings(sandbox: Sandbox) -> None:
    values = {
        "SAC_TENANT_URL": sandbox.tenant_url,
        "SAC_TOKEN_URL": sandbox.token_url,
        "SAC_CLIENT_ID": sandbox.client_id,
        "SAC_CLIENT_SECRET": sandbox.client_secret,
    }
    say(f"The sandbox tenant listens on {sandbox.tenant_url}; Ctrl-C stops it. Its settings:\n")
    for name, value in values.items():
        # Single quotes: ids hold "!" and secrets "$". A shell reads the line, and .env with or without "export".
        click.echo(f"export {name}='{value}'" if os.name == "posix" else f"{name}='{value}'")
    hint = (
        "Put them into .env, or run them in a shell."
        if os.name == "posix"
        else "Put them into .env, or in PowerShell write $env: before each name."
    )
    say(f"\n{hint} Then: sacnb models")


def _misbehaviour(text: str) -> dict[str, Any]:
    """Read ``NAME``, ``NAME=VALUE`` (its first option, or ``times``) or ``NAME:OPTION=VALUE,...``."""
    from sacnb.sandbox import MISBEHAVIOURS

    name, colon, rest = text.partition(":")
    if colon:
        pairs = [pair.partition("=") for pair in rest.split(",")]
        if any(not option or not equals for option, equals, _ in pairs):
            raise click.UsageError(f"--misbehave {text!r}: expected OPTION=VALUE,OPTION=VALUE after the colon.")
        return {"name": name, **{option: _value(value) for option, _, value in pairs}}
    name, equals, value = text.partition("=")
    if not equals:
        return {"name": name}
    known = MISBEHAVIOURS.get(name)
    option = next(iter(known.options), "times") if known is not None else "times"
    return {"name": name, option: _value(value)}


def _value(text: str) -> Any:
    """Read a number, true, false or null as JSON; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@command.command("misbehaviours")
@json_option("misbehaviours (a list of name, description, on, times, options with their defaults), common_options")
def misbehaviours(as_json: bool) -> None:
    """List the misbehaviours of the sandbox."""
    from sacnb.sandbox import COMMON_OPTIONS, MISBEHAVIOURS

    if as_json:
        listed = [_described(one) for one in MISBEHAVIOURS.values()]
        print_json({"misbehaviours": listed, "common_options": dict(COMMON_OPTIONS)})
        return
    rows = [
        (one.name, one.description, ", ".join(f"{name}={json.dumps(value)}" for name, value in one.options.items()))
        for one in MISBEHAVIOURS.values()
    ]
    print_table(("name", "effect", "options"), rows)
    print_table(("common option", "meaning"), list(COMMON_OPTIONS.items()))


def _described(one: Misbehaviour) -> dict[str, Any]:
    return {
        "name": one.name,
        "description": one.description,
        "on": one.on,
        "times": one.times,
        "options": dict(one.options),
    }
