"""``sacnb init`` asks, tests and writes; it replaces nothing unasked, and shows no secret."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import keyrings
import pytest
from click.testing import CliRunner, Result

from sacnb._settings import Settings, profiles_path, read_dotenv
from sacnb.cli.application import application
from sacnb.cli.commands import check
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Init = Callable[..., Result]


@pytest.fixture
def init(tenant: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Init:
    """Run ``sacnb init`` with *typed* as the lines of a terminal, or without one, and nothing set but the cache."""
    for name in ("SAC_TENANT_URL", "SAC_TOKEN_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET"):
        monkeypatch.delenv(name)

    def init(*args: str, typed: str = "", stdin: str = "", before: tuple[str, ...] = ()) -> Result:
        monkeypatch.setattr(check, "is_terminal", lambda _: bool(typed))
        result = CliRunner().invoke(application, [*before, "init", *args], input=typed or stdin, prog_name="sacnb")
        assert tenant.client_secret not in result.output
        return result

    return init


def answers(tenant: Sandbox, *, secret: str | None = None) -> str:
    lines = (tenant.tenant_url, tenant.token_url, tenant.client_id, secret or tenant.client_secret)
    return "".join(f"{line}\n" for line in lines)


def options(tenant: Sandbox) -> list[str]:
    urls = ["--tenant-url", tenant.tenant_url, "--token-url", tenant.token_url]
    return [*urls, "--client-id", tenant.client_id]


def test_it_asks_tests_writes_and_says_what_is_next(init: Init, tenant: Sandbox, tmp_path: Path) -> None:
    result = init(typed="https://nowhere\n" + answers(tenant))
    assert result.exit_code == 0, result.output
    for words in (
        "Error: Tenant URL is 'https://nowhere', which has no full host name",
        f"Read {len(tenant.client_secret)} characters.",
        "grant: Data Export Service",
        "Wrote tenant and client to .env, readable by you alone.",
        "sac = sacnb.connect()",
    ):
        assert words in result.output
    file = tmp_path / ".env"
    if os.name != "nt":
        assert file.stat().st_mode & 0o777 == 0o600
    settings = Settings.resolve()
    assert (settings.tenant_url, settings.token_url) == (tenant.tenant_url, tenant.token_url)
    assert (settings.client_id, settings.client_secret.reveal()) == (tenant.client_id, tenant.client_secret)


def test_without_a_terminal_options_and_stdin_suffice(init: Init, tenant: Sandbox) -> None:
    result = init(*options(tenant), "--secret-stdin", "--profile", "prod", stdin=f"{tenant.client_secret}\r\n")
    assert result.exit_code == 0, result.output
    assert f"Wrote the profile prod to {profiles_path()}, readable by you alone." in result.output
    for words in ("sacnb --profile prod models", 'sacnb.connect(profile="prod")', "%sac connect prod"):
        assert words in result.stdout
    assert Settings.resolve(profile="prod").client_secret.reveal() == tenant.client_secret
    doctor = CliRunner().invoke(application, ["--profile", "prod", "doctor", "--json"], prog_name="sacnb")
    assert doctor.exit_code == 0
    settings = json.loads(doctor.stdout)["checks"][0]["detail"]
    assert settings.endswith(f", from the profile prod in {profiles_path()}")


def test_without_a_terminal_the_environment_fills_in(
    init: Init, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_CLIENT_SECRET", tenant.client_secret)
    result = init(*options(tenant))
    assert result.exit_code == 0, result.output
    assert "Note: SAC_CLIENT_SECRET of the environment goes before .env." in result.output
    monkeypatch.delenv("SAC_CLIENT_SECRET")
    assert Settings.resolve().client_secret.reveal() == tenant.client_secret


def test_without_a_terminal_all_that_is_missing_is_named(init: Init, tmp_path: Path) -> None:
    result = init()
    assert result.exit_code == ExitCode.USAGE
    for name in ("SAC_TENANT_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET"):
        assert f"{name} is missing" in result.output
    assert "There is no terminal to ask in: give --tenant-url, --client-id and --secret-stdin." in result.output
    assert not (tmp_path / ".env").exists()


def test_a_token_url_that_is_derived_is_not_written(init: Init, tmp_path: Path) -> None:
    given = ("--tenant-url", "https://acme.eu10.hcs.cloud.sap/x", "--client-id", "id", "--secret-stdin", "--no-check")
    result = init(*given, stdin="s")
    assert "Note: The token URL was derived" in result.output
    assert (tmp_path / ".env").read_text(encoding="utf-8") == (
        "SAC_TENANT_URL='https://acme.eu10.hcs.cloud.sap'\nSAC_CLIENT_ID='id'\nSAC_CLIENT_SECRET='s'\n"
    )


def test_an_option_that_cannot_be_is_refused_in_its_own_words(init: Init) -> None:
    for may_ask in ("x\n", ""):
        result = init("--tenant-url", "nowhere", typed=may_ask)
        assert result.exit_code == ExitCode.USAGE
        assert "Tenant URL is 'https://nowhere', which has no full host name" in result.output


def test_values_that_do_not_work_are_not_written_unasked(init: Init, tenant: Sandbox, tmp_path: Path) -> None:
    result = init(*options(tenant), "--secret-stdin", stdin="wrong")
    assert (result.exit_code, (tmp_path / ".env").exists()) == (ExitCode.NO, False)
    assert "Nothing was written." in result.output
    assert init(typed=answers(tenant, secret="wrong") + "n\n").exit_code == ExitCode.NO
    assert not (tmp_path / ".env").exists()
    assert init(typed=answers(tenant, secret="wrong") + "y\n").exit_code == 0
    assert Settings.resolve().client_secret.reveal() == "wrong"
    assert init(*options(tenant), "--secret-stdin", "--no-check", "--force", stdin="untested").exit_code == 0
    assert Settings.resolve().client_secret.reveal() == "untested"


def test_what_is_there_is_replaced_only_after_a_yes(init: Init, tenant: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    before = (
        "# mine\nDATABASE='x y'  # keep\nexport SAC_TENANT_URL=sandbox\nSAC_TOKEN=old\nSAC_AUTH=static\nSAC_STREAMS=2"
    )
    file.write_text(before, encoding="utf-8")
    result = init(*options(tenant), "--secret-stdin", stdin=tenant.client_secret)
    assert result.exit_code == ExitCode.USAGE
    assert "Tenant and client are in .env there already. Replace them with --force" in result.output
    assert init(typed="n\n").exit_code == ExitCode.INTERRUPTED
    assert file.read_text(encoding="utf-8") == before
    assert init(typed="y\n" + answers(tenant)).exit_code == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# mine\nDATABASE='x y'  # keep\nSAC_STREAMS=2\nSAC_TENANT_URL=")
    assert "SAC_TOKEN=" not in text
    assert Settings.resolve().streams == 2


def test_a_profile_is_replaced_only_after_a_yes(init: Init) -> None:
    assert init("--profile", "p", "--tenant-url", "sandbox", "--no-check").exit_code == 0
    again = init("--tenant-url", "sandbox", "--no-check", before=("--profile", "p"))
    assert again.exit_code == ExitCode.USAGE
    assert "The profile 'p' is there already." in again.output


def test_a_secret_is_written_as_it_was_typed(init: Init, tenant: Sandbox, tmp_path: Path) -> None:
    secret = "a'b\\n\"$c!|= #d\\"
    assert init(*options(tenant), "--secret-stdin", "--no-check", stdin=f"{secret}\n").exit_code == 0
    assert read_dotenv(tmp_path / ".env")["SAC_CLIENT_SECRET"] == secret


def test_the_sandbox_needs_no_client(init: Init, tmp_path: Path) -> None:
    result = init(typed="sandbox\n")
    assert result.exit_code == 0, result.output
    assert (tmp_path / ".env").read_text(encoding="utf-8") == "SAC_TENANT_URL='sandbox'\n"


def test_another_file_is_named_in_what_is_next(init: Init, tmp_path: Path) -> None:
    result = init("--tenant-url", "sandbox", "--no-check", before=("--env-file", "other.env"))
    assert result.exit_code == 0, result.output
    assert "sacnb --env-file other.env models" in result.stdout
    assert (tmp_path / "other.env").is_file()


def test_a_keyring_keeps_the_secret_out_of_the_file(init: Init, tenant: Sandbox) -> None:
    given = (*options(tenant), "--secret-stdin", "--keyring", "--no-check")
    assert init(*given, stdin="s").exit_code == ExitCode.USAGE  # there is no profile
    with keyrings.in_use() as ring:
        ring.locked = "the keyring is locked"
        refused = init(*given, "--profile", "prod", stdin=tenant.client_secret)
        assert refused.exit_code == ExitCode.USAGE
        assert "The system's keyring does not keep the secret: the keyring is locked" in refused.output
        assert not profiles_path().exists()
        ring.locked = ""
        assert init(*given, "--profile", "prod", stdin=tenant.client_secret).exit_code == 0
        assert Settings.resolve(profile="prod").client_secret.reveal() == tenant.client_secret
    text = profiles_path().read_text(encoding="utf-8")
    assert "keyring = true" in text
    assert tenant.client_secret not in text


def test_profiles_are_completed_and_a_damaged_file_is_not(init: Init) -> None:
    context = click.Context(application)

    def completed(text: str) -> list[str]:
        return [item.value for item in application.params[1].shell_complete(context, text)]

    assert application.params[1].name == "profile"
    for name in ("prod", "pre", "test"):
        assert init("--profile", name, "--tenant-url", "sandbox", "--no-check").exit_code == 0
    assert completed("pr") == ["prod", "pre"]
    profiles_path().write_text("[", encoding="utf-8")
    assert completed("pr") == []


def test_git_is_told_to_ignore_the_file(init: Init, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    given = ("--tenant-url", "sandbox", "--no-check", "--force")
    assert "git does not ignore .env" in init(*given).output
    (tmp_path / ".gitignore").write_text(".env\n", encoding="utf-8")
    assert "git does not ignore" not in init(*given).output
