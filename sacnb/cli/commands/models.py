"""``sacnb models``: what there is to read."""

from __future__ import annotations

import click

from sacnb.cli.invocation import Invocation
from sacnb.cli.output import json_option, print_json, print_table

__all__ = ["command"]


@click.command("models", short_help="What there is to read.")
@json_option("a list of id, name, description")
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """List the models that SAC offers to this client."""
    with invocation.connect() as tenant:
        frame = tenant.models()
    if as_json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, frame.rows())
