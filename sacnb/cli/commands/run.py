"""``sacnb run``: start a multi-action and follow its run."""

from __future__ import annotations

from typing import Any, Final

import click

from sacnb.cli.application import Invocation
from sacnb.cli.output import json_option, print_facts, print_json, print_table, say
from sacnb.cli.question import pairs_option

__all__ = ["command"]

_EXAMPLES: Final = """\b
Examples:
  sacnb run t.SANDBOX:GROW_PLAN --member TargetVersion=public.Plan \\
    --number Growth=5
  sacnb run t.SANDBOX:GROW_PLAN --run-id 5f2c  # follow a run started before
"""


@click.command("run", short_help="Start a multi-action and wait for its end.", epilog=_EXAMPLES)
@click.argument("action_id", metavar="ACTION_ID")
@pairs_option("--member", "members", "NAME=ID", "A member.")
@pairs_option("--path", "paths", "NAME=HIERARCHY:A/B/C", "A member within a hierarchy, with all levels from the top.")
@pairs_option("--number", "numbers", "NAME=NUMBER", "A number.")
@click.option("--run-id", metavar="ID", help="Follow this run instead of starting one.")
@click.option("--no-wait", is_flag=True, help="Return when the run has been started.")
@click.option("--timeout-s", type=click.FloatRange(0), default=3600.0, show_default=True, help="How long to wait.")
@json_option("action, run, status, started (UTC), messages (severity, code, message, parameters)")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    action_id: str,
    members: tuple[tuple[str, str], ...],
    paths: tuple[tuple[str, str], ...],
    numbers: tuple[tuple[str, str], ...],
    run_id: str | None,
    no_wait: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Start a multi-action, and wait until its run is over.

    SAC takes named users only: set SAC_AUTH=authorization_code, and run sacnb login. Steps commit one by one: if
    one fails, those before it have written, and stay. The id stands in the Starter API URL of the multi-action.
    """
    from sacnb._actions.multi_action import read_parameters

    if run_id is not None and (members or paths or numbers):
        raise click.UsageError("--run-id starts nothing, so it takes no parameters.")
    with invocation.connect() as tenant:
        action = tenant.multi_action(action_id)
        run = action.find(run_id) if run_id is not None else action.run(read_parameters(members, paths, numbers))
        if run_id is None:
            say(f"Run {run.id} has been started.")
        if not no_wait:
            run = run.wait(timeout_s=timeout_s)
    facts: dict[str, Any] = {"action": run.action_id, "run": run.id, "status": run.status, "started": run.started}
    if as_json:
        print_json({**facts, "messages": run.messages.to_dicts()})
        return
    print_facts(facts)
    if run.messages.height:
        print_table(["severity", "code", "message"], run.messages.select("severity", "code", "message").rows())
