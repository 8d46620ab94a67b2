"""``sacnb smoke``: is this installation whole? No network, no settings, no optional parts."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from sacnb._results.result import Result

__all__ = ["command", "recorded"]

_MODEL: Final = "US_EMPLOYMENT"
# What the recorded page holds: 15 sectors in 12 months, in thousands of employees.
_ROWS: Final = 180
_SUM: Final = Decimal("1701827.7")
_QUARTERS: Final = 4 * 15


@click.command("smoke", short_help="Is this installation whole?")
def command() -> None:
    """Check the installation: decode a recorded answer, make it tidy, keep it, read it back, compare.

    Needs no network, no settings and no optional parts. Prints SMOKE OK; exit code 1 where something is not as it was
    recorded.
    """
    from sacnb._cache.keys import CacheKey
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
        _expect("the kept table", kept.arrow().equals(result.arrow(), check_metadata=True), True)
        _expect("the kept metadata", (kept.info, kept.schema), (result.info, result.schema))
    click.echo(f"kept      {size:,} bytes, read back equal")
    click.echo("SMOKE OK")


def recorded() -> Result:
    """The recorded page, read as if SAC had just sent it."""
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
        raise click.ClickException(f"SMOKE FAILED: {what}: expected {wanted}, got {found}. Install sacnb again.")
