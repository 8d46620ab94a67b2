"""``%sac``: what each subcommand gives, what goes wrong and how that looks, in a real IPython."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from IPython.core.error import UsageError

from sacnb._results.result import Result
from sacnb._tenant import Tenant
from sacnb.errors import AuthError, ForbiddenError, NoAnswerError, RefreshError, SettingsError, UnknownNameError
from sacnb.notebook import current_tenant
from sacnb.notebook.commands import COMMANDS
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
SUBCOMMANDS = ["connect", "models", "describe", "members", "refresh", "cache", "status", "renew"]

# -- manuals and mistakes in the line --------------------------------------------------------------------------------


def test_alone_it_is_the_manual_and_says_what_there_is(shell: Any, sac: Tenant) -> None:
    shown = repr(shell.run("%sac"))
    assert list(COMMANDS) == SUBCOMMANDS
    for name, command in COMMANDS.items():
        assert f"%sac {name}" in shown
        assert command.summary in shown
        for option in (option for action in command.parser._actions for option in action.option_strings):
            assert option in shown
    assert shown == repr(shell.run("%sac help")) == repr(shell.run("%sac --help"))


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_a_manual(shell: Any, sac: Tenant, name: str) -> None:
    shown = repr(shell.run(f"%sac {name} --help"))
    assert shown.lstrip().startswith(f"%sac {name}")
    assert COMMANDS[name].summary in shown
    assert shown == repr(shell.run(f"%sac {name} something else -h"))


def test_a_question_mark_shows_the_manual(shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    found = shell.object_inspect("%sac")
    assert found["docstring"] == repr(shell.run("%sac"))
    assert "--where" in found["docstring"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%sac modells", "There is no %sac modells. Did you mean %sac models?"),
        ("%sac xyz", "There is: connect, models"),
        ("%sac describe", "required: model"),
        ("%sac refresh US_EMPLOYMENT --limt 5", "has no option --limt. Did you mean --limit?"),
        ("%sac refresh US_EMPLOYMENT --limit many", "'many' is no number of rows"),
        ("%sac refresh US_EMPLOYMENT --where Sector", "'Sector' is not COLUMN=VALUE"),
        ("%sac refresh US_EMPLOYMENT 1st", "'1st' is no name for a variable"),
        ("%sac refresh US_EMPLOYMENT class", "'class' is no name for a variable"),
        ("%sac describe US_EMPLOYMENT and more", "takes fewer words"),
        ("%sac refresh US_EMPLOYMENT --where Name=O'Hare", "A quote is not closed"),
        ("%sac connect acme", "no connected tenant of that name"),
        ("%sac cache clear", "the beginning of a key, or --all"),
        ("%sac cache clear us --all", "the beginning of a key, or --all"),
    ],
)
def test_a_slip_is_answered_in_one_line(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    done = shell.attempt(line)
    shown = capsys.readouterr()
    assert type(done.error_in_exec) is UsageError
    assert says in str(done.error_in_exec)
    assert (shown.out + shown.err).strip() == f"UsageError: {done.error_in_exec}"


@pytest.mark.parametrize(
    "line",
    [
        "%sac connect --client-secret canary",
        "%sac connect --client-secret=canary",
        "%sac connect sandbox --token canary",
        "%sac connect sandbox canary",
        "%sac models some canary",
        "%sac refresh US_EMPLOYMENT --password canary",
    ],
)
def test_what_may_be_a_secret_is_not_repeated(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    done = shell.attempt(line)
    shown = capsys.readouterr()
    assert type(done.error_in_exec) is UsageError
    assert "canary" not in shown.out + shown.err + str(done.error_in_exec)
    if "--" in line:
        assert "takes no secrets" in str(done.error_in_exec)


def test_no_option_asks_for_a_secret() -> None:
    options = [o for c in COMMANDS.values() for action in c.parser._actions for o in action.option_strings]
    assert not [option for option in options if any(word in option for word in ("secret", "token", "password"))]


def test_braces_and_dollars_are_not_expanded(shell: Any, sac: Tenant) -> None:
    shell.user_ns["model"] = "US_EMPLOYMENT"
    with pytest.raises(UnknownNameError, match=r"There is no model '\{model\}'"):
        shell.run("%sac describe {model}")


# -- what they give --------------------------------------------------------------------------------------------------


def test_the_tenant_is_connected_by_the_settings_when_it_is_needed(
    shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shell.run("%load_ext sacnb")
    with pytest.raises(SettingsError, match="SAC_TENANT_URL"):
        shell.run("%sac models")
    (tmp_path / "mine.env").write_text("SAC_TENANT_URL=sandbox\n")
    assert repr(shell.run("%sac connect --dotenv mine.env")) == "Connected to the sandbox."
    assert "US_EMPLOYMENT" in set(shell.run("%sac models")["id"])
    assert current_tenant().settings.is_sandbox


def test_a_tenant_of_the_program_is_used_and_left_open(shell: Any, sac: Tenant) -> None:
    assert current_tenant() is sac
    shell.run("said = %sac connect sandbox")
    assert current_tenant() is not sac
    assert "US_EMPLOYMENT" in set(sac.models()["id"])


def test_a_connection_that_fails_is_closed_and_leaves_the_one_there_was(
    shell: Any, sac: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError):
        shell.run("%sac connect https://acme.eu10.hcs.cloud.sap")
    assert current_tenant() is sac

    def refuse(_: Tenant) -> None:
        raise RefreshError("no")

    closed: list[Tenant] = []
    with monkeypatch.context() as patch:
        patch.setattr(Tenant, "close", lambda tenant: closed.append(tenant))  # noqa: PLW0108 - bound to the tenant
        patch.setattr(Tenant, "authenticate", refuse)
        with pytest.raises(RefreshError):
            shell.run("%sac connect sandbox")
    assert len(closed) == 1
    assert current_tenant() is sac


def test_only_what_the_magic_connected_is_closed_by_the_next_one(
    shell: Any, sac: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Tenant] = []
    with monkeypatch.context() as patch:
        patch.setattr(Tenant, "close", lambda tenant: closed.append(tenant))  # noqa: PLW0108 - bound to the tenant
        shell.run("said = %sac connect sandbox")
        ours = current_tenant()
        assert closed == []
        shell.run("said = %sac connect sac")
    assert closed == [ours]
    ours.close()


def test_models_are_listed_and_searched(shell: Any, sac: Tenant) -> None:
    assert shell.run("%sac models").equals(sac.models())
    assert shell.run("%sac models 'financial PLAN'")["id"].to_list() == ["PLANNING"]
    assert shell.run("%sac models no-such-thing").is_empty()


def test_a_model_is_described_by_its_schema(shell: Any, sac: Tenant) -> None:
    assert shell.run("%sac describe US_EMPLOYMENT") == sac.model("US_EMPLOYMENT").schema


def test_members_are_listed(shell: Any, sac: Tenant) -> None:
    assert shell.run("%sac members US_EMPLOYMENT Sector").equals(sac.model("US_EMPLOYMENT").members("Sector"))


def test_the_library_of_frames_is_chosen_by_option_or_for_good(shell: Any, sac: Tenant) -> None:
    assert isinstance(shell.run("%sac models"), pl.DataFrame)
    assert isinstance(shell.run("%sac models --pandas"), pd.DataFrame)
    shell.run("%config SacMagics.frame = 'pandas'")
    assert isinstance(shell.run("%sac models"), pd.DataFrame)
    assert isinstance(shell.run("%sac models --polars"), pl.DataFrame)
    assert isinstance(shell.run("%sac members US_EMPLOYMENT Sector"), pd.DataFrame)


def test_a_refresh_is_shown_or_put_into_a_variable(shell: Any, sac: Tenant) -> None:
    shown = shell.run("%sac refresh US_EMPLOYMENT --where Sector=31 --since 2015")
    assert isinstance(shown, Result)
    assert len(shown) == 24
    assert shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --since 2015") is None
    assert shell.user_ns["jobs"].arrow().equals(shown.arrow())
    assert len(sac.cache.entries()) == 1


@pytest.mark.parametrize(
    ("options", "question"),
    [
        ("--where Sector=31 --where Sector=32", {"where": {"Sector": ["31", "32"]}}),
        (
            "--where 'Version=public.Actual' --until 2006-02",
            {"where": {"Version": "public.Actual"}, "until": "2006-02"},
        ),
        ("--where Employees=8992", {"where": {"Employees": 8992}}),
        ("--dims Version,Date --measures Employees", {"dims": ["Version", "Date"], "measures": ["Employees"]}),
        ("--since 2015-11 --date Date --limit 3", {"since": "2015-11", "date": "Date", "limit": 3}),
    ],
)
def test_a_refresh_asks_what_the_options_say(shell: Any, sac: Tenant, options: str, question: dict[str, Any]) -> None:
    expected = sac.model("US_EMPLOYMENT").facts(**question).fetch()
    assert len(expected) > 0
    assert shell.run(f"%sac refresh US_EMPLOYMENT {options}").arrow().equals(expected.arrow())


def test_a_refresh_gives_a_frame_where_one_is_asked_for(shell: Any, sac: Tenant) -> None:
    result = sac.model("US_EMPLOYMENT").facts(where={"Sector": "31"}).fetch()
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --polars")
    assert shell.user_ns["jobs"].equals(result.polars())
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --pandas")
    pd.testing.assert_frame_equal(shell.user_ns["jobs"], result.pandas())


def test_a_dry_run_says_what_would_be_asked_and_asks_for_no_rows(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    said = repr(shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --dry-run"))
    assert "US_EMPLOYMENT/FactData?" in said
    assert "$filter=Sector eq '31'" in said
    assert said.endswith("\n228 rows")
    assert "jobs" not in shell.user_ns
    assert sandbox.counts["rows"] <= 1
    assert sandbox.counts["facts_requests"] == 1  # the count, and nothing else
    assert repr(shell.run("%sac refresh US_EMPLOYMENT --limit 7 --dry-run")).endswith("\n7 rows")


def test_old_rows_are_never_served_in_silence(
    shell: Any, sac: Tenant, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31")
    sandbox.misbehave("error_503")
    capsys.readouterr()
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31")
    assert shell.user_ns["jobs"].stale
    assert shell.user_ns["jobs"].warning in capsys.readouterr().out
    with pytest.raises(Exception, match="503"):
        shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --no-cache")


def test_without_the_cache_nothing_is_kept(shell: Any, sac: Tenant) -> None:
    assert len(shell.run("%sac refresh US_EMPLOYMENT --where Sector=31 --no-cache")) == 228
    assert sac.cache.entries() == ()


def test_the_cache_is_listed_cleared_and_repaired(shell: Any, sac: Tenant) -> None:
    for sector in (31, 32):
        shell.run(f"%sac refresh US_EMPLOYMENT jobs --where Sector={sector}")
    listed = shell.run("%sac cache")
    assert listed["model"].to_list() == ["US_EMPLOYMENT"] * 2
    assert listed["rows"].to_list() == [228] * 2
    assert isinstance(shell.run("%sac cache list --pandas"), pd.DataFrame)
    first, second = listed["key"]
    assert shell.run(f"%sac cache list {first}")["key"].to_list() == [first]
    assert repr(shell.run("%sac cache repair")) == "Every kept result can be used."
    sac.cache.show(second).path.write_bytes(b"")
    assert "cannot be used" not in repr(shell.run(f"%sac cache list {first}"))
    assert "moved aside" in repr(shell.run("%sac cache repair"))
    assert repr(shell.run(f"%sac cache clear {first}")) == f"Removed {first}"
    assert repr(shell.run("%sac cache clear --all")) == "There was nothing to remove."
    assert shell.run("%sac cache").is_empty()


def test_the_status_is_told_and_the_token_renewed(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31")
    status = shell.run("%sac status")
    for word in ("the sandbox", "the token is valid until", "228 rows", "1 results", "requests"):
        assert word in repr(status)
        assert word in status._repr_html_()
        assert word in status._repr_markdown_()
    assert sandbox.client_id not in repr(status)  # who asks is nobody's business in a notebook that is handed on
    issued = sandbox.counts["tokens_issued"]
    assert shell.run("%sac renew").renewed
    assert sandbox.counts["tokens_issued"] == issued + 1


def test_a_function_sees_its_own_variables(shell: Any, sac: Tenant) -> None:
    shell.user_ns["other"] = sac
    shell.run("def connected(mine):\n    said = %sac connect mine\n    return said")
    assert repr(shell.run("connected(sac)")) == "Connected to the sandbox."


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_failure_is_told_in_two_lines_and_keeps_its_type(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    done = shell.attempt("%sac describe US_EMPLOYMNT")
    shown = capsys.readouterr().out.strip().splitlines()
    assert isinstance(done.error_in_exec, UnknownNameError)
    assert shown == [
        "UnknownNameError: There is no model 'US_EMPLOYMNT' in this tenant.",
        "Did you mean 'US_EMPLOYMENT'?",
    ]


def test_a_failure_is_put_into_the_variable(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    sandbox.misbehave("forbidden", on="facts")
    done = shell.attempt("%sac refresh US_EMPLOYMENT jobs")
    assert isinstance(shell.user_ns["jobs"], ForbiddenError)
    assert shell.user_ns["jobs"] is done.error_in_exec


def test_all_problems_of_the_settings_are_told(
    shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAC_TENANT_URL", "https://acme.eu10.hcs.cloud.sap")
    shell.run("%load_ext sacnb")
    shell.attempt("%sac models")
    shown = capsys.readouterr().out
    assert "settings need a change" in shown
    assert "- SAC_CLIENT_ID" in shown
    assert "- SAC_CLIENT_SECRET" in shown
    assert "Traceback" not in shown


def test_the_traceback_can_be_had_back(shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run("%config SacMagics.short_errors = False")
    shell.attempt("%sac describe US_EMPLOYMNT")
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.parametrize("misbehaviour", ["token_invalid_client", "unauthorized", "reset_before_body", "html_login"])
def test_no_secret_is_in_what_is_shown(
    shell: Any, sac: Tenant, sandbox: Sandbox, capsys: pytest.CaptureFixture[str], misbehaviour: str
) -> None:
    guard = sac.model("US_EMPLOYMENT").facts().connection.context.guard
    secrets = [sandbox.client_secret, guard.ensure().token.value.reveal()]
    sandbox.misbehave(misbehaviour)
    raised = []
    for line in ("%sac models", "%sac refresh US_EMPLOYMENT jobs", "%sac renew", "%sac status", "%sac connect sac"):
        raised.append(shell.attempt(line).error_in_exec)
        secrets += [token.value.reveal()] if (token := guard.peek()) else []
    captured = capsys.readouterr()
    shown = captured.out + captured.err + repr(raised) + "".join(map(str, raised))
    assert any(isinstance(one, AuthError | NoAnswerError) for one in raised)
    assert not [secret for secret in secrets if secret in shown]
