"""Tab in the magics: its suggestions, and that it does not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sacnb._settings import profiles_path, save_profile
from sacnb._tenant import Tenant
from sacnb.notebook.completion import _ARGUMENT, _COLUMN_CALL, _COMPARED, _MODEL_CALL, _WORD
from sacnb.notebook.session import Catalogue, described, texts
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]


def offered(shell: Any, code: str) -> list[str]:
    """Return what Tab makes of the last word of *code*."""
    start = max(code.rfind(" "), code.rfind("\n")) + 1
    return [text[start:] for text in shell.complete_at_end(code)]


def reading_has_ended() -> None:
    """Wait for the requests that completion has sent in the background."""
    for thread in threading.enumerate():
        if thread.name == "sacnb-catalogue":
            thread.join(30)


# -- lines -----------------------------------------------------------------------------------------------------------


LINES: list[tuple[str, list[str]]] = [
    (
        "%sac ",
        [
            *("connect", "models", "describe", "members", "refresh", "write", "run", "cache", "status"),
            *("login", "logout", "whoami", "renew"),
        ],
    ),
    ("%sac re", ["refresh", "renew"]),
    ("  %sac de", ["describe"]),
    ("found = %sac mod", ["models"]),
    ("%sac nothing ", []),
    ("%sac describe ", ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]),
    ("%sac describe us_e", ["US_EMPLOYMENT"]),
    ("%sac describe EMPLOY", ["US_EMPLOYMENT"]),  # no model begins with this, and one contains it
    ("%sac describe US_EMPLOYMENT ", []),
    ("%sac members US_EMPLOYMENT ", ["Version", "Date", "Sector"]),
    ("%sac members US_EMPLOYMENT S", ["Sector"]),
    ("%sac members NO_SUCH_MODEL ", []),
    ("%sac refresh US_EMPLOYMENT --d", ["--date", "--dims", "--dry-run"]),
    ("%sac refresh --w", ["--where"]),
    ("%sac status --", ["--help"]),
    ("%sac refresh US_EMPLOYMENT --where ", ["Version=", "Date=", "Sector=", "Employees="]),
    ("%sac refresh US_EMPLOYMENT --where Sec", ["Sector="]),
    ("%sac refresh US_EMPLOYMENT --where Sector=3", ["Sector=30", "Sector=31", "Sector=32"]),
    ("%sac refresh US_EMPLOYMENT --where=Sector=31", ["--where=Sector=31"]),
    ("%sac refresh US_EMPLOYMENT --where Employees=", []),
    ("%sac refresh US_EMPLOYMENT jobs --where Sector=31 --date ", ["Date"]),
    ("%sac refresh US_EMPLOYMENT --dims Version,", ["Version,Date", "Version,Sector"]),
    ("%sac refresh US_EMPLOYMENT --dims=Ver", ["--dims=Version"]),
    ("%sac refresh US_EMPLOYMENT --measures ", ["Employees"]),
    ("%sac refresh US_EMPLOYMENT --since ", []),
    ("%sac refresh US_EMPLOYMENT --dry-run=", []),
    ("%sac cache ", ["list", "clear", "repair"]),
    ("%%sac by_sector --l", ["--limit"]),
    ("%%sac --params ", ["values"]),
]


def test_suggestions_in_a_line(shell: Any, sac: Tenant) -> None:
    shell.Completer.use_jedi = False  # slow, and it reads no magics; those in calls and in SQL are beside its own
    shell.user_ns.update(values={"start": 2010}, number=1)
    for code, expected in LINES:
        found = offered(shell, code)
        if expected:
            assert found == expected, code
        else:  # then IPython suggests its own names
            assert not {"US_EMPLOYMENT", "Sector", "Version", "Employees", "31"} & set(found), code


def test_a_member_with_blanks_comes_as_one_word(shell: Any, sac: Tenant) -> None:
    (found,) = offered(shell, "%sac refresh PLANNING --where Region=Pac")
    assert found == '"Region=Pacific West "'
    shell.run(f"%sac refresh PLANNING pacific --where {found}")
    assert set(shell.user_ns["pacific"].polars()["Region"]) == {"Pacific West "}


def test_connect_offers_profiles_and_connected_tenants(
    shell: Any, sac: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"SAC_TENANT_URL": "https://acme.eu10.hcs.cloud.sap", "SAC_CLIENT_ID": "sb-1"}
    for name in ("prod", "pre-prod"):
        save_profile(name, values, in_keyring=False)
    assert offered(shell, "%sac connect ") == ["prod", "pre-prod", "sac", "sandbox"]
    assert offered(shell, "%sac connect pr") == ["prod", "pre-prod"]
    assert offered(shell, "%sac connect --profile ") == ["prod", "pre-prod"]
    profiles_path().write_text("not toml")
    assert offered(shell, "%sac connect s") == ["sac", "sandbox"]


def test_cassettes_are_offered_by_name(shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("plan", "plain", "other"):
        (tmp_path / f"{name}.cassette.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    shell.run("%load_ext sacnb")
    assert offered(shell, "%sac_replay ") == ["other", "plain", "plan"]
    assert offered(shell, "%sac_replay pla") == ["plain", "plan"]
    assert offered(shell, "%sac_replay --r") == ["--record", "--replay"]


# -- SQL -------------------------------------------------------------------------------------------------------------


QUERIES: list[tuple[str, list[str]]] = [
    ("select * from ", ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]),
    ("select * from us", ["US_EMPLOYMENT"]),
    ("SELECT *\nFROM SCALE\nJOIN us", ["US_EMPLOYMENT"]),
    ('select * from "us', ['"US_EMPLOYMENT']),
    ("select * from US_EMPLOYMENT where ", ["Version", "Date", "Sector", "Employees"]),
    ("select * from US_EMPLOYMENT where sec", ["Sector"]),
    ("select * from US_EMPLOYMENT as jobs where jobs.Emp", ["jobs.Employees"]),
    ('select * from US_EMPLOYMENT where "Sec', ['"Sector']),
    ("select * from US_EMPLOYMENT where Sector = '3", ["'30", "'31", "'32"]),
    ("select * from US_EMPLOYMENT where Sector <> '31", ["'31"]),
    ("select * from US_EMPLOYMENT where Sector in ('31', '32", ["'32"]),
    ('select * from US_EMPLOYMENT as e where e."Sector" like \'31', ["'31"]),
    ("select 'it''s' as x from US_EMPLOYMENT where Sector='31", ["Sector='31"]),
    ("select * from US_EMPLOYMENT where Version = 'public.A", ["'public.Actual"]),
    ("select * from US_EMPLOYMENT where Date >= :st", [":start", ":stop"]),
    ("select * from NOT_THERE where Sec", []),
    ("select * from US_EMPLOYMENT -- where Sec", []),
    ("select * from US_EMPLOYMENT /* where Sec", []),
    ("select * from US_EMPLOYMENT where Employees > 'Sec", []),
    ("select 'Sec", []),
]


def test_suggestions_in_sql(shell: Any, sac: Tenant) -> None:
    shell.user_ns.update(start="201001", stop=201012, street=object(), _hidden=1)
    for sql, expected in QUERIES:
        found = offered(shell, f"%%sac jobs\n{sql}")
        if expected:
            assert found == expected, sql
        else:
            assert not {"Sector", "'Sector", "31", "'31"} & set(found), sql


def test_columns_are_known_before_the_model_is_written_down_to_the_cursor(shell: Any, sac: Tenant) -> None:
    """People write ``from`` first, and go back to ``select``."""
    from IPython.core.completer import provisionalcompleter

    before, after = "%%sac\nselect Sec", " from US_EMPLOYMENT"
    with provisionalcompleter():
        found = [c.text for c in shell.Completer.completions(before + after, len(before))]
    assert found == ["Sector"]


CALLS: list[tuple[str, list[str]]] = [
    ("sac.model('us", ["US_EMPLOYMENT"]),
    ('chosen = sac["', ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]),
    ("jobs.members('", ["Version", "Date", "Sector"]),
    ("sac['US_EMPLOYMENT'].members('Se", ["Sector"]),
    ("sac.model('US_EMPLOYMENT').facts(dims=['Version', '", ["Version", "Date", "Sector"]),
    ("jobs.facts(measures=['", ["Employees"]),
    ("jobs.facts(where={'", ["Version", "Date", "Sector", "Employees"]),
    ("jobs.facts(where={'Version': 'public.Actual', 'Sector': ['30', '3", ["30", "31", "32"]),
    ("jobs.facts(\n    since='2010',\n    date='", ["Date"]),
    ("jobs.facts().fetch().to_csv('", []),
    ("other['", []),
    ("print('", []),
]


def test_suggestions_in_calls_of_tenants_and_models(
    shell: Any, sac: Tenant, connect_to: ConnectTo, sandbox: Sandbox
) -> None:
    # A tenant that is not the one of the magics.
    other = connect_to(sandbox)
    shell.user_ns.update(sac=other, jobs=other.model("US_EMPLOYMENT"), other={"US_EMPLOYMENT": 1})
    for code, expected in CALLS:
        start = max(code.rfind("'"), code.rfind('"')) + 1
        found = [text[start:] for text in shell.complete_at_end(code)]
        if expected:
            assert found == expected, code
        else:
            assert not {"Sector", "Version", "Employees", "31"} & set(found), code


def test_a_long_word_before_the_cursor_is_looked_at_once() -> None:
    picture = "9_" * 20_000  # looked at from each of its characters, it would take minutes
    for pattern in (_WORD, _COMPARED, _MODEL_CALL, _COLUMN_CALL, _ARGUMENT):
        assert pattern.search(f"{picture} + ") is None or pattern is _WORD


def test_outside_of_the_magics_it_suggests_nothing(shell: Any, sac: Tenant) -> None:
    for code in ("sac", "x = 1 # %sac ", "print('%sac ')", "%%sacred\nselect "):
        assert not {"connect", "US_EMPLOYMENT"} & set(offered(shell, code))


# -- what it costs ---------------------------------------------------------------------------------------------------


def test_without_a_tenant_it_suggests_commands_and_connects_to_nothing(shell: Any) -> None:
    from sacnb.notebook.session import SESSION

    shell.run("%load_ext sacnb")
    assert offered(shell, "%sac de") == ["describe"]
    assert "US_EMPLOYMENT" not in offered(shell, "%sac describe ")
    assert SESSION.catalogue is None


def test_it_does_not_wait_and_knows_the_names_at_the_next_tab(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    shell.run("%config SacMagics.completion_wait_s = 0")
    sandbox.misbehave("slow_bytes", times=1, chunks=2, pause_s=0.05)
    assert "US_EMPLOYMENT" not in offered(shell, "%sac describe ")
    reading_has_ended()
    assert "US_EMPLOYMENT" in offered(shell, "%sac describe ")


def test_it_reads_everything_once(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    for _ in range(2):
        assert offered(shell, "%sac refresh US_EMPLOYMENT --where Sector=31") == ["Sector=31"]
    asked = len(sandbox.log)
    for code in ("%sac describe ", "%sac members US_EMPLOYMENT ", "%sac refresh US_EMPLOYMENT --where Sector=3"):
        assert offered(shell, code)
    assert len(sandbox.log) == asked


def test_names_that_the_magics_have_read_are_known(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    shell.run("%sac models")
    shell.run("%sac describe US_EMPLOYMENT")
    shell.run("%sac members US_EMPLOYMENT Sector")
    asked = len(sandbox.log)
    assert offered(shell, "%sac refresh US_EMPLOYMENT --where Sector=31") == ["Sector=31"]
    assert len(sandbox.log) == asked


def test_after_a_failure_it_suggests_nothing_and_retries_later(
    sandbox: Sandbox, connect_to: ConnectTo, time: Any
) -> None:
    catalogue = Catalogue(connect_to(sandbox), clock=time.clock)
    sandbox.misbehave("forbidden")
    assert catalogue.models(until=30) is None
    reading_has_ended()
    asked = len(sandbox.log)
    sandbox.behave()
    assert catalogue.models(until=30) is None
    assert len(sandbox.log) == asked
    time.advance(31)
    assert "US_EMPLOYMENT" in texts(catalogue.models(until=90), "id", "name")


def test_a_column_without_members_has_no_suggestions(shell: Any, sac: Tenant) -> None:
    assert "true" not in "".join(offered(shell, "%sac refresh EDM_TYPES --where Boolean="))
    assert sac.model("EDM_TYPES").schema.column("Boolean").role == "attribute"


def test_values_of_parameters_are_texts_numbers_and_dates(shell: Any, sac: Tenant) -> None:
    shell.user_ns.update(pa=1, pb="x", pc=Decimal(1), pd=[1], pe=object(), pf=len, _pg=1)
    assert offered(shell, "%%sac\nselect * from US_EMPLOYMENT where Sector = :p") == [":pa", ":pb", ":pc", ":pd"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("US employment by sector", "model: US employment by sector"),
        (None, "model"),
        ("", "model"),
        ("Connect to a tenant: a connected one, or another.", "model: Connect to a tenant"),
        ("The plan of all regions, accounts and cost centres", "model: The plan of all regions, accounts and …"),
    ],
)
def test_a_popup_shows_a_short_type_with_the_description(text: str | None, shown: str) -> None:
    assert described("model", text) == shown.replace(" ", "\u00a0")
