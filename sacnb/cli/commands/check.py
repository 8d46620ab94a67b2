"""``sacnb init``, ``doctor``, ``auth-check`` and ``smoke``: write the settings, check connection and installation."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sacnb.cli.application import Invocation
from sacnb.cli.failures import ExitCode
from sacnb.cli.output import is_terminal, json_option, log_to_stderr, print_json, print_table, say
from sacnb.errors import SettingsError

if TYPE_CHECKING:
    from sacnb._results.result import Result
    from sacnb._settings import Settings
    from sacnb._tenant import Check, Diagnosis

__all__ = ["auth_check", "doctor", "init", "recorded", "smoke"]

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
        _print_checks(diagnosis)
        click.echo("\nData can be read." if diagnosis.healthy else "\nData cannot be read yet: see what failed above.")
    if not diagnosis.healthy:
        ctx.exit(ExitCode.NO)


def _print_checks(diagnosis: Diagnosis) -> None:
    rows = [(check.status, check.name, _finding(check)) for check in diagnosis.checks]
    print_table(("status", "check", "result and remedy"), rows)


def _finding(check: Check) -> str:
    return f"{check.detail}\n-> {check.remedy}" if check.remedy else check.detail


@click.command("init", short_help="Ask for your tenant and client, test them, and write the settings.")
@click.option("--tenant-url", metavar="URL", help="The tenant, or 'sandbox'; by default SAC_TENANT_URL.")
@click.option("--token-url", metavar="URL", help="The Token URL of App Integration, if it cannot be derived.")
@click.option("--client-id", metavar="ID", help="The OAuth client's id; by default SAC_CLIENT_ID.")
@click.option(
    "--secret-stdin", is_flag=True, help="Read the client secret from stdin. Otherwise SAC_CLIENT_SECRET has it."
)
@click.option("--profile", metavar="NAME", help="Write a profile in your configuration folder, instead of .env.")
@click.option("--keyring", "in_keyring", is_flag=True, help="Keep the profile's secret in the system's keyring.")
@click.option("--force", is_flag=True, help="Replace the tenant and client that are there, without asking.")
@click.option("--check/--no-check", default=True, help="Test the values before they are written.")
@click.pass_context
def init(
    ctx: click.Context,
    *,
    tenant_url: str | None,
    token_url: str | None,
    client_id: str | None,
    secret_stdin: bool,
    profile: str | None,
    in_keyring: bool,
    force: bool,
    check: bool,
) -> None:
    """Write tenant and client into .env in this folder (or into --env-file or a profile), readable by you alone.

    In a terminal it asks for what is not given, the secret without showing it. The values are tested as sacnb doctor
    does it. Other lines of the file stay. Exit code 1, and nothing is written, if data cannot be read with them.

    \b
    In a script, with the secret in a variable or from stdin:
      SAC_CLIENT_SECRET=... sacnb init --tenant-url URL --client-id ID
      pass show sac | sacnb init --tenant-url URL --client-id ID --secret-stdin
    """  # noqa: D301 - click reads the character
    from sacnb._settings import check_profile_name

    invocation: Invocation = ctx.obj
    profile = profile or invocation.profile
    if profile is not None:
        check_profile_name(profile)
    elif in_keyring:
        raise click.UsageError("--keyring keeps the secret of a profile. Name it: --profile NAME")
    file = invocation.env_file or Path(".env")
    may_ask = is_terminal(sys.stdin) and not secret_stdin
    _may_replace(profile, file, force=force, may_ask=may_ask)
    try:
        settings = _asked(
            tenant_url or invocation.tenant_url, token_url, client_id, secret_stdin=secret_stdin, may_ask=may_ask
        )
    except SettingsError as error:
        if not may_ask:
            error.hint = "There is no terminal to ask in: give --tenant-url, --client-id and --secret-stdin."
        raise
    for note in settings.notes:
        say(f"Note: {note}")
    works = not check or _works(settings, profile, file)
    if not works and not (may_ask and click.confirm("Data cannot be read with these values. Write them anyway?")):
        asked = "" if may_ask else "Data cannot be read with these values; to write them untested: --no-check. "
        say(f"{asked}Nothing was written.")
        ctx.exit(ExitCode.NO)
    _write(settings, profile, file, in_keyring=in_keyring)
    _say_what_next(profile, file)


def _may_replace(profile: str | None, file: Path, *, force: bool, may_ask: bool) -> None:
    """Ask before anything is replaced. Raises click.UsageError where nobody can be asked, click.Abort for a no."""
    from sacnb._settings import IDENTITY, profile_names, read_dotenv

    if profile is not None:
        there = f"The profile {profile!r} is" if profile in profile_names() else None
    else:
        known = read_dotenv(file) if file.exists() else {}
        there = f"Tenant and client are in {file}" if any(known.get(name) for name in IDENTITY) else None
    if there is None or force:
        return
    if not may_ask:
        raise click.UsageError(f"{there} there already. Replace them with --force, or choose another --profile NAME.")
    click.confirm(f"{there} there already. Replace them?", abort=True)


def _asked(
    tenant_url: str | None, token_url: str | None, client_id: str | None, *, secret_stdin: bool, may_ask: bool
) -> Settings:
    """Return valid settings from options, environment and answers. Raises SettingsError with all problems."""
    from sacnb._settings import SANDBOX, Secret, Settings, documentation
    from sacnb._settings.tenant_url import check_token_url, read_tenant_url

    def answer(option: str | None, name: str, question: str, check: Callable[[str], object] = str) -> str:
        before = os.environ.get(name) or None
        if option is not None or not may_ask:
            given = option or before or ""
            return _valid(given, question, check) if given else given
        return str(click.prompt(question, default=before, value_proc=lambda text: _valid(text, question, check)))

    if may_ask:
        say(f"Where to find the values: System > Administration > App Integration; {documentation('docs/access.md')}")
    url = answer(
        tenant_url,
        "SAC_TENANT_URL",
        "Tenant URL (from your browser)",
        lambda text: None if text.lower() == SANDBOX else read_tenant_url(text),
    )
    if url.strip().lower() == SANDBOX:
        return Settings.resolve(environ={}, tenant_url=SANDBOX)
    if may_ask and token_url is None and read_tenant_url(url).derived_token_url is None:
        token_url = answer(None, "SAC_TOKEN_URL", "Token URL (of App Integration)", check_token_url)
    identity = answer(client_id, "SAC_CLIENT_ID", "OAuth client id")
    if token_url is None and not may_ask:  # a user who types another tenant does not mean the variable's
        token_url = os.environ.get("SAC_TOKEN_URL")
    secret = os.environ.get("SAC_CLIENT_SECRET", "")
    if secret_stdin:
        secret = sys.stdin.read().rstrip("\r\n")
    elif may_ask:
        hint = ", Enter takes SAC_CLIENT_SECRET" if secret else ""
        question = f"OAuth client secret (not shown{hint})"
        secret = click.prompt(question, default=secret or None, show_default=False, hide_input=True)
        say(f"Read {len(secret)} characters.")
    return Settings.resolve(
        environ={},
        tenant_url=url,
        token_url=token_url,
        client_id=identity,
        client_secret=Secret(secret),
        auth="client_credentials",
    )


def _valid(text: str, question: str, check: Callable[[str], object]) -> str:
    """Return *text*. Raises click.UsageError, after which click asks again."""
    try:
        check(text.strip())
    except ValueError as error:
        raise click.UsageError(f"{question.partition(' (')[0]} {error}") from None
    return text.strip()


def _works(settings: Settings, profile: str | None, file: Path) -> bool:
    """Test the values with the other settings of the place that they are for, and print what was found."""
    from sacnb._settings import IDENTITY, VARIABLES, profile_names, read_profile
    from sacnb._tenant import diagnose

    log_to_stderr()
    others = {} if profile is None or profile not in profile_names() else read_profile(profile).values
    arguments = {one.argument: others[one.name] for one in VARIABLES if one.name in others and one.name not in IDENTITY}
    diagnosis = diagnose(
        environ={name: value for name, value in os.environ.items() if name not in {*IDENTITY, "SAC_PROFILE"}},
        dotenv_path=file if profile is None and file.exists() else None,
        **{**arguments, **_values(settings), "auth": settings.auth, "profile": "", "replay": "off"},
    )
    _print_checks(diagnosis)
    return diagnosis.healthy


def _values(settings: Settings) -> dict[str, Any]:
    """Return tenant and client as arguments of ``connect()``."""
    from sacnb._settings import SANDBOX

    if settings.is_sandbox:
        return {"tenant_url": SANDBOX}
    names = ("tenant_url", "token_url", "client_id", "client_secret")
    return {name: getattr(settings, name) for name in names}


def _write(settings: Settings, profile: str | None, file: Path, *, in_keyring: bool) -> None:
    from sacnb._settings import keep_in_keyring, save_dotenv, save_profile

    values = {f"SAC_{name.upper()}": value for name, value in _values(settings).items()}
    if "SAC_TOKEN_URL" not in settings.sources:  # derived, and derived again from the rest
        values.pop("SAC_TOKEN_URL", None)
    if profile is None:
        save_dotenv(file, values)
        say(f"Wrote tenant and client to {file}, readable by you alone.")
        return
    if in_keyring and (secret := values.pop("SAC_CLIENT_SECRET", None)) is not None:
        keep_in_keyring(profile, secret)
    place = save_profile(profile, values, in_keyring=in_keyring)
    where = f"{place} and the system's keyring" if in_keyring else f"{place}, readable by you alone"
    say(f"Wrote the profile {profile} to {where}.")


def _say_what_next(profile: str | None, file: Path) -> None:
    from sacnb._settings import IDENTITY

    if profile is not None:
        option, argument, magic = f"--profile {profile} ", f'profile="{profile}"', f" {profile}"
    elif file == Path(".env"):
        option = argument = magic = ""
        first = [name for name in ("SAC_PROFILE", *IDENTITY) if os.environ.get(name)]
        if first:
            say(f"Note: {', '.join(first)} of the environment goes before {file}. Unset it to use the file.")
    else:
        option, argument, magic = f"--env-file {file} ", f'dotenv_path="{file}"', f" --dotenv {file}"
    if profile is None and _may_be_committed(file):
        say(f"Note: git does not ignore {file}. Add it to .gitignore: it holds a secret.")
    lines = [  # no table, which may fold what is to be copied
        (f"sacnb {option}models", "list your models"),
        (f"sac = sacnb.connect({argument})", "connect in Python"),
        ("%load_ext sacnb", "load the magics in a notebook, and then"),
        (f"%sac connect{magic}", "connect there"),
    ]
    width = max(len(line) for line, _ in lines)
    click.echo("\nNext:\n" + "\n".join(f"  {line:<{width}}  {purpose}" for line, purpose in lines))


def _may_be_committed(file: Path) -> bool:
    """Return whether *file* is in a git repository that does not ignore it."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "check-ignore", "--quiet", "--", file.name],  # noqa: S607
            cwd=file.absolute().parent,
            capture_output=True,
            check=False,
        )
    except OSError:  # there is no git
        return False
    return done.returncode == 1
