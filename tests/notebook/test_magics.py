"""``%sac``: the results of its commands, and how errors look, in a real IPython."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from sacnb._odata.where import under
from sacnb._results.result import Result
from sacnb._settings import Secret, save_profile
from sacnb._tenant import Tenant
from sacnb.errors import (
    AuthError,
    ForbiddenError,
    NoAnswerError,
    RefreshError,
    SacError,
    SettingsError,
    UnknownNameError,
    UsageError,
)
from sacnb.notebook import current_tenant
from sacnb.notebook.commands import COMMANDS
from sacnb.sandbox import Column, Sandbox, dimension, start, table_model

ConnectTo = Callable[..., Tenant]
COMMAND_NAMES = [
    *("connect", "models", "describe", "members", "refresh", "write", "run", "cache", "status"),
    *("login", "logout", "whoami", "renew"),
]

# -- manuals and mistakes in the line --------------------------------------------------------------------------------


def test_alone_it_shows_the_manual_with_all_commands(shell: Any, sac: Tenant) -> None:
    shown = repr(shell.run("%sac"))
    assert list(COMMANDS) == COMMAND_NAMES
    for name, command in COMMANDS.items():
        assert f"%sac {name}" in shown
        assert command.summary in shown
        for option in (option for action in command.parser._actions for option in action.option_strings):
            assert option in shown
    assert shown == repr(shell.run("%sac help")) == repr(shell.run("%sac --help"))


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_each_command_has_a_manual(shell: Any, sac: Tenant, name: str) -> None:
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
        ("%sac modells", "There is no command %sac modells. Did you mean %sac models?"),
        ("%sac xyz", "The commands are connect, models"),
        ("%sac describe", "required: model"),
        ("%sac refresh US_EMPLOYMENT --limt 5", "has no option --limt. Did you mean --limit?"),
        ("%sac refresh US_EMPLOYMENT --limit many", "'many' is not a number of rows"),
        ("%sac refresh US_EMPLOYMENT --where Sector", "'Sector' is not COLUMN=VALUE"),
        ("%sac refresh US_EMPLOYMENT 1st", "'1st' is not a variable name"),
        ("%sac refresh US_EMPLOYMENT class", "'class' is not a variable name"),
        ("%sac describe US_EMPLOYMENT and more", "takes fewer words"),
        ("%sac refresh US_EMPLOYMENT --where Name=O'Hare", "A quote is not closed"),
        ("%sac connect acme", "'acme' is neither a variable with a connected tenant, nor a profile, nor a URL"),
        ("%sac cache clear", "the beginning of a key, or --all"),
        ("%sac cache clear us --all", "the beginning of a key, or --all"),
    ],
)
def test_a_mistake_in_the_line_is_an_error_of_two_lines(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    done = shell.attempt(line)
    shown = capsys.readouterr()
    assert type(done.error_in_exec) is UsageError
    assert says in str(done.error_in_exec)
    assert " ".join((shown.out + shown.err).split()) == " ".join(f"UsageError: {done.error_in_exec}".split())


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
def test_a_value_that_may_be_a_secret_is_not_repeated(
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


# -- results ---------------------------------------------------------------------------------------------------------


def test_the_first_magic_connects_with_the_settings(
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


def test_a_tenant_of_the_user_is_used_and_left_open(shell: Any, sac: Tenant) -> None:
    assert current_tenant() is sac
    shell.run("shown = %sac connect sandbox")
    assert current_tenant() is not sac
    assert "US_EMPLOYMENT" in set(sac.models()["id"])


def test_a_profile_is_connected_by_its_name(
    shell: Any, sac: Tenant, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "SAC_TENANT_URL": sandbox.tenant_url,
        "SAC_TOKEN_URL": sandbox.token_url,
        "SAC_CLIENT_ID": sandbox.client_id,
        "SAC_CLIENT_SECRET": Secret(sandbox.client_secret),
    }
    save_profile("pre-prod", values, in_keyring=False)
    for line in ("%sac connect pre-prod", "%sac connect --profile pre-prod"):
        assert str(shell.run(line)) == f"Connected to {sandbox.tenant_url}, profile pre-prod."
        assert shell.run("%sac models employ")["id"].to_list() == ["US_EMPLOYMENT"]
    shown = shell.attempt("%sac connect prod")
    assert "The profiles are: pre-prod." in str(shown.error_in_exec)


def test_a_failed_connection_is_closed_and_the_current_one_kept(
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


def test_a_new_connection_closes_only_one_that_the_magic_made(
    shell: Any, sac: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Tenant] = []
    with monkeypatch.context() as patch:
        patch.setattr(Tenant, "close", lambda tenant: closed.append(tenant))  # noqa: PLW0108 - bound to the tenant
        shell.run("shown = %sac connect sandbox")
        ours = current_tenant()
        assert closed == []
        shell.run("shown = %sac connect sac")
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


def test_the_library_of_frames_is_set_by_option_or_configuration(shell: Any, sac: Tenant) -> None:
    assert isinstance(shell.run("%sac models"), pl.DataFrame)
    assert isinstance(shell.run("%sac models --pandas"), pd.DataFrame)
    shell.run("%config SacMagics.frame = 'pandas'")
    assert isinstance(shell.run("%sac models"), pd.DataFrame)
    assert isinstance(shell.run("%sac models --polars"), pl.DataFrame)
    assert isinstance(shell.run("%sac members US_EMPLOYMENT Sector"), pd.DataFrame)


def test_a_refresh_is_shown_or_stored_in_a_variable(shell: Any, sac: Tenant) -> None:
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
        ("--under Sector=30", {"where": {"Sector": under("30")}}),
        ("--where Employees=8992", {"where": {"Employees": 8992}}),
        ("--dims Version,Date --measures Employees", {"dims": ["Version", "Date"], "measures": ["Employees"]}),
        ("--since 2015-11 --date Date --limit 3", {"since": "2015-11", "date": "Date", "limit": 3}),
    ],
)
def test_a_refresh_sends_the_query_of_its_options(
    shell: Any, sac: Tenant, options: str, question: dict[str, Any]
) -> None:
    expected = sac.model("US_EMPLOYMENT").facts(**question).fetch()
    assert len(expected) > 0
    assert shell.run(f"%sac refresh US_EMPLOYMENT {options}").arrow().equals(expected.arrow())


def test_a_refresh_returns_a_frame_on_request(shell: Any, sac: Tenant) -> None:
    result = sac.model("US_EMPLOYMENT").facts(where={"Sector": "31"}).fetch()
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --polars")
    assert shell.user_ns["jobs"].equals(result.polars())
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --pandas")
    pd.testing.assert_frame_equal(shell.user_ns["jobs"], result.pandas())


def test_a_dry_run_shows_the_request_and_downloads_no_rows(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    said = repr(shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --dry-run"))
    assert "US_EMPLOYMENT/FactData?" in said
    assert "$filter=Sector eq '31'" in said
    assert said.endswith("\n228 rows")
    assert "jobs" not in shell.user_ns
    assert sandbox.counts["rows"] <= 1
    assert sandbox.counts["facts_requests"] == 1  # the count, and nothing else
    assert repr(shell.run("%sac refresh US_EMPLOYMENT --limit 7 --dry-run")).endswith("\n7 rows")


def test_old_rows_come_with_a_warning(
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


def test_track_reads_what_changed(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    assert len(shell.run("%sac refresh US_EMPLOYMENT --where Sector=31 --track")) == 228
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --track")
    assert len(shell.user_ns["jobs"]) == 228
    assert sandbox.counts["delta_requests"] == 1
    with pytest.raises(UsageError, match="excludes --no-cache"):
        shell.run("%sac refresh US_EMPLOYMENT --track --no-cache")


def test_without_the_cache_nothing_is_cached(shell: Any, sac: Tenant) -> None:
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
    assert repr(shell.run("%sac cache repair")) == "Every cached result can be used."
    sac.cache.show(second).path.write_bytes(b"")
    assert "cannot be used" not in repr(shell.run(f"%sac cache list {first}"))
    assert "moved aside" in repr(shell.run("%sac cache repair"))
    assert repr(shell.run(f"%sac cache clear {first}")) == f"Removed {first}"
    assert repr(shell.run("%sac cache clear --all")) == "Nothing to remove."
    assert shell.run("%sac cache").is_empty()


def test_the_status_is_shown_and_the_token_renewed(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31")
    status = shell.run("%sac status")
    for word in ("the sandbox", "the token is valid until", "228 rows", "1 results", "requests"):
        assert word in repr(status)
        assert word in status._repr_html_()
        assert word in status._repr_markdown_()
    assert sandbox.client_id not in repr(status)  # notebooks are shared
    issued = sandbox.counts["tokens_issued"]
    assert shell.run("%sac renew").renewed
    assert sandbox.counts["tokens_issued"] == issued + 1


def test_a_function_sees_its_own_variables(shell: Any, sac: Tenant) -> None:
    shell.user_ns["other"] = sac
    shell.run("def connected(mine):\n    shown = %sac connect mine\n    return shown")
    assert repr(shell.run("connected(sac)")) == "Connected to the sandbox."


# -- errors ----------------------------------------------------------------------------------------------------------


SEE_ALL = "%tb shows the traceback; %config SacMagics.full_tracebacks = True shows it each time."


def test_an_error_is_shown_in_a_few_lines_and_keeps_its_type(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    done = shell.attempt("%sac describe US_EMPLOYMNT")
    shown = capsys.readouterr().out.strip().splitlines()
    assert isinstance(done.error_in_exec, UnknownNameError)
    assert shown == [
        "UnknownNameError: There is no model 'US_EMPLOYMNT' in this tenant.",
        "Did you mean 'US_EMPLOYMENT'?",
        SEE_ALL,
    ]


def test_an_error_is_stored_in_the_variable(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    sandbox.misbehave("forbidden", on="facts")
    done = shell.attempt("%sac refresh US_EMPLOYMENT jobs")
    assert isinstance(shell.user_ns["jobs"], ForbiddenError)
    assert shell.user_ns["jobs"] is done.error_in_exec


def test_all_problems_of_the_settings_are_shown(
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
    shell.attempt("%sac describe US_EMPLOYMNT")
    capsys.readouterr()
    shell.run("%tb")
    assert "Traceback" in capsys.readouterr().out
    shell.run("%config SacMagics.full_tracebacks = True")
    shell.attempt("%sac describe US_EMPLOYMNT")
    assert "Traceback" in capsys.readouterr().out
    shell.run("%unload_ext sacnb")
    shell.attempt("raise error", error=UnknownNameError("model", "x"))
    assert "Traceback" not in capsys.readouterr().out


def test_an_error_is_as_short_wherever_it_is_raised(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "x = 1\nsac.model('US_EMPLOYMNT').schema"
    done = shell.attempt(code)
    assert isinstance(done.error_in_exec, UnknownNameError)
    expected = [
        "UnknownNameError: There is no model 'US_EMPLOYMNT' in this tenant.",
        "Did you mean 'US_EMPLOYMENT'?",
        f"Raised by line 2 of the cell. {SEE_ALL}",
    ]
    assert capsys.readouterr().out.strip().splitlines() == expected
    shell.attempt(code)  # not taken for %tb
    assert capsys.readouterr().out.strip().splitlines() == expected
    shell.run("%tb")
    shown = capsys.readouterr().out
    assert "Traceback" in shown
    assert "read_metadata" in shown
    assert "***" not in shown
    assert "failed resolving arguments" not in shown
    shell.attempt("1 / 0")
    assert "Traceback" in capsys.readouterr().out  # only errors of sacnb are short


def test_an_error_that_was_shown_can_be_pickled(shell: Any, sac: Tenant) -> None:
    error = shell.attempt("sac.model('US_EMPLOYMNT').schema").error_in_exec
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_outside_of_ipython_a_traceback_is_as_python_makes_it() -> None:
    program = "import sacnb\nsacnb.connect('sandbox').model('NO_SUCH_MODEL').schema"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert 'File "<string>", line 2' in done.stderr


def test_texts_of_a_server_cannot_steer_the_terminal(shell: Any, connect_to: ConnectTo) -> None:
    evil = "\x1b]0;owned\x07"
    members = pl.DataFrame({"ID": [evil], "Description": ["\x1b[31mred \u202e"]})
    rows = pl.DataFrame({"Who": [evil], "Amount": [1.0]})
    columns = [Column("Who", key=True), Column("Amount", "Edm.Double")]
    with start(
        models=[table_model("M", columns=columns, rows=rows, name=evil, dimensions={"Who": dimension(members)})]
    ) as server:
        shell.user_ns["sac"] = connect_to(server)
        shell.run("%load_ext sacnb")
        shell.run("_ = %sac connect sac")
        for line in ("%sac models", "%sac members M Who", "%sac describe M", "%sac refresh M"):
            shown = shell.run(line)
            html = shown._repr_html_() if hasattr(shown, "_repr_html_") else ""
            assert "\x1b" not in repr(shown) + str(shown) + html
        with pytest.raises(SacError) as caught:
            shell.run("%sac describe M\x1b[2J")
        assert "\x1b" not in str(caught.value)


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


def test_a_frame_is_written_from_its_variable(shell: Any, sac: Tenant) -> None:
    row = {"Date": ["201506"], "Sector": ["31"], "Employees": [1.5]}
    shell.user_ns["plan"] = pl.DataFrame(row)
    checked = shell.run("%sac write US_EMPLOYMENT plan --version public.Plan --dry-run")
    assert checked.is_dry_run
    named = "--version public.Plan"
    for options, hint in (("", named), (f"{named} --method CleanAndReplace", "--confirm 15")):
        assert hint in shell.attempt(f"%sac write US_EMPLOYMENT plan {options}").error_in_exec.hint
    report = shell.run("%sac write US_EMPLOYMENT plan --version public.Plan")
    assert (report.rows, report.verified) == (1, True)
    report.undo()
    with pytest.raises(UsageError, match="there is no variable 'nothing'"):
        shell.run("%sac write US_EMPLOYMENT nothing --version public.Plan")
