"""``sacnb auth-check``: can a token be obtained, and how long is it valid?"""

from __future__ import annotations

import click

from sacnb.cli.invocation import Invocation
from sacnb.cli.output import json_option, print_json

__all__ = ["command"]


@click.command("auth-check", short_help="Can a token be obtained, and until when is it valid?")
@json_option("ok, issued_at, expires_at (UTC), remaining_s; the last two null where the token does not tell")
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """Obtain a token; print OK and when it expires.

    A client that SAC refuses ends with exit code 2 and one line that says what to look at.
    """
    with invocation.connect() as tenant:
        status = tenant.authenticate()
    if as_json:
        print_json(
            {
                "ok": True,
                "issued_at": status.issued_at,
                "expires_at": status.expires_at if status.end_is_known else None,
                "remaining_s": round(status.remaining_s, 1) if status.end_is_known else None,
            }
        )
    else:
        click.echo(str(status))
