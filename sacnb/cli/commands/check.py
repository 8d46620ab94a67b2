"""``sacnb doctor``, ``sacnb auth-check`` and ``sacnb smoke``: check the connection and the installation."""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING, Final

import click

from sacnb.cli.application import Invocation
from sacnb.cli.failures import ExitCode
from sacnb.cli.output import json_option, log_to_stderr, print_json, print_table

if TYPE_CHECKING:
    from sacnb._results.result import Result
    from sacnb._tenant import Check

__all__ = ["auth_check", "doctor", "recorded", "smoke"]

_MODEL: Final = "US_EMPLOYMENT"
# The content of the recorded page: 15 sectors in 12 months, in thousands of employees.
_ROWS: Final = 180
_SUM: Final = Decimal("1701827.7")
_QUARTERS: Final = 4 * 15


@click.command("smoke", short_help="Check the installation.")
def smoke() -> None:
    """Check the installation: decode a recorded response, make it tidy, cache it, read it back and compare.

    Needs no network, no settings and no optional parts. Prints SMOKE OK, or ends with exit code 1 if a figure differs
    from the recording.
    """
    from sacnb._cache.folder import CacheKey
    from sacnb._cache.store import Cache

    result = recorded()
    measured = sum(result.arrow()["Employees"].to_pylist())
    _expect("rows", len(result), _ROWS)
    _expect("the sum of the measure", measured, _SUM)
    click.echo(f"decoded   {len(result)} rows of {_MODEL}, {result.info.min_date} to {result.info.max_date}")

    tidy = result.tidy("quarter", agg="mean")
    _expect("tidy rows", len(tidy), _QUARTERS)
    click.echo(f"tidied    {len(tidy)} rows by quarter")

    with tempfile.TemporaryDirectory(prefix="sacnb-smoke-") as folder:
        cache, key = Cache(folder), CacheKey.of(result.info)
        size = cache.save(key, result).stat().st_size
        kept = cache.load(key)
        _expect("the cached table", kept.arrow().equals(result.arrow(), check_metadata=True), True)
        _expect("the cached metadata", (kept.info, kept.schema), (result.info, result.schema))
    click.echo(f"cached    {size:,} bytes, read back equal")
    click.echo("SMOKE OK")


def recorded() -> Result:
    """Return the recorded page, read as if SAC had just sent it."""
    from sacnb._frames.decode import decode_rows
    from sacnb._odata.metadata import parse_metadata
    from sacnb._odata.page import cut_page
    from sacnb._results.result import Result, ResultInfo

    data = resources.files("sacnb.cli") / "data"
    schema = parse_metadata((data / "us_employment_metadata.xml").read_bytes()).schema(_MODEL)
    page = cut_page((data / "us_employment_2015.json").read_bytes())
    table = decode_rows(page.rows, schema.columns)
    info = ResultInfo.describe(
        table,
        schema,
        provider_id=_MODEL,
        namespace=schema.namespace,
        entity_set=schema.entity_set,
        query="a recorded page",
        tenant_host="recorded",
        principal="nobody",
        source="sandbox",
        last_refresh_time=datetime.now(UTC),
    )
    return Result(table, schema, info)


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise click.ClickException(
            f"SMOKE FAILED: {what}: expected {wanted}, got {found}. Run: pip install --force-reinstall sacnb"
        )


@click.command("auth-check", short_help="Get a token and show how long it is valid.")
@json_option("ok, issued_at, expires_at (UTC), remaining_s; the last two are null for a token that does not tell")
@click.pass_obj
def auth_check(invocation: Invocation, as_json: bool) -> None:
    """Get a token, and print OK and when it expires.

    If SAC refuses the client, the command ends with exit code 2 and one line with the remedy.
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


@click.command("doctor", short_help="Find what is missing, with its remedy.")
@json_option("healthy, checks (a list of name, status: ok, warning, failed or skipped, detail, remedy)")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check settings, cache folder, host, TLS and proxy, clock, token, and which APIs the client may use.

    Exit code 1 if data cannot be read.
    """
    from sacnb._tenant import diagnose

    invocation: Invocation = ctx.obj
    log_to_stderr()
    diagnosis = diagnose(**invocation.arguments)
    if as_json:
        print_json({"healthy": diagnosis.healthy, "checks": [dataclasses.asdict(check) for check in diagnosis.checks]})
    else:
        rows = [(check.status, check.name, _finding(check)) for check in diagnosis.checks]
        print_table(("status", "check", "result and remedy"), rows)
        click.echo("\nData can be read." if diagnosis.healthy else "\nData cannot be read yet: see what failed above.")
    if not diagnosis.healthy:
        ctx.exit(ExitCode.NO)


def _finding(check: Check) -> str:
    return f"{check.detail}\n-> {check.remedy}" if check.remedy else check.detail
