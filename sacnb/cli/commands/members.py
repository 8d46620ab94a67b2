"""``sacnb members``: the master data of one dimension."""

from __future__ import annotations

import click

from sacnb.cli.invocation import Invocation
from sacnb.cli.output import json_option, print_json, print_table
from sacnb.cli.question import model_argument

__all__ = ["command"]


@click.command("members", short_help="A dimension's members and hierarchy.")
@model_argument
@click.argument("dimension")
@json_option("a list of id, description, with a hierarchy parent and level (0 is a root), and SAC's attributes")
@click.pass_obj
def command(invocation: Invocation, model_id: str, dimension: str, as_json: bool) -> None:
    """List the members of a dimension, with their place in its hierarchy."""
    with invocation.connect() as tenant:
        frame = tenant.model(model_id).members(dimension)
    if as_json:
        print_json(frame.to_dicts())
    else:
        right = ("level",) if "level" in frame.columns else ()
        print_table(frame.columns, frame.rows(), right=right)
