"""Settings as people write them: quotes, marks, UTF-16; a found .env never decides where a secret goes."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import IPython.core.ultratb
import pytest
import rich.console
import rich.traceback

import sacnb
from sacnb._settings import Secret, Settings, configured_secrets
from sacnb._settings.sources import _hidden, show
from sacnb.errors import SettingsError

TENANT = "https://acme.eu10.hcs.cloud.sap"
SECRET = "canary-secret$Zm9v/bar+baz="
COMPLETE = {"SAC_TENANT_URL": TENANT, "SAC_CLIENT_ID": "sb-1!b2|client!b3", "SAC_CLIENT_SECRET": SECRET}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, with nothing set in the environment."""
    for name in list(os.environ):
        if name.startswith("SAC_"):
            monkeypatch.delenv(name)
    here = tmp_path / "repository" / "notebooks"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def put(folder: Path, **variables: str) -> Path:
    file = folder / ".env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()), encoding="utf-8")
    return file


# -- a .env that was found -------------------------------------------------------------------------------------------

GUARDED = {
    "SAC_TENANT_URL": "https://evil.example",
    "SAC_TOKEN_URL": "https://evil.example/oauth/token",
    "SAC_CA_BUNDLE": "evil.pem",
    "SAC_REPLAY": "replay",
    "SAC_REPLAY_CASSETTE": "evil",
}


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("place", [".", ".."])
@pytest.mark.parametrize("holder", ["environment", "argument", "token"])
def test_a_found_dotenv_never_decides_where_a_secret_goes(
    name: str, place: str, holder: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / place, **{name: GUARDED[name]})
    values = {key: value for key, value in COMPLETE.items() if key != name}
    arguments: dict[str, Any] = {}
    if holder == "argument":
        arguments["client_secret"] = values.pop("SAC_CLIENT_SECRET")
    if holder == "token":
        del values["SAC_CLIENT_ID"], values["SAC_CLIENT_SECRET"]
        values["SAC_TOKEN"] = SECRET
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError) as caught:
        sacnb.connect(**arguments)
    (problem,) = [problem for problem in caught.value.problems if "which was found and not named" in problem]
    file = str((folder / place).resolve() / ".env")
    assert problem.startswith(f"{name} comes from {file}")
    assert f"sacnb.connect(dotenv_path={file!r})" in problem
    assert SECRET not in str(caught.value)


def test_the_cache_folder_of_a_found_dotenv_is_passed_over_with_a_note(folder: Path) -> None:
    """A .env of the whole project, and a connection by arguments to another tenant."""
    default = Settings.resolve(tenant_url=TENANT, client_id="id", client_secret=SECRET).cache_dir
    file = put(folder, **COMPLETE, SAC_TOKEN_URL="https://login.acme.example/token", SAC_CACHE_DIR="elsewhere")
    settings = Settings.resolve(
        tenant_url=TENANT, token_url="https://other.example/token", client_id="id", client_secret=SECRET
    )
    assert (settings.token_url, settings.cache_dir) == ("https://other.example/token", default)
    (note,) = [note for note in settings.notes if note.startswith("SAC_CACHE_DIR")]
    assert f"of {file.resolve()} is not used" in note
    assert "SAC_CACHE_DIR" not in settings.sources
    assert Settings.resolve().cache_dir == Path("elsewhere")


def test_a_dotenv_that_is_named_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_CLIENT_SECRET", SECRET)
    file = put(folder, SAC_TENANT_URL=TENANT, SAC_CLIENT_ID="id", SAC_TOKEN_URL="https://login.acme.example/token")
    settings = Settings.resolve(dotenv_path=file)
    assert (settings.token_url, settings.client_secret.reveal()) == ("https://login.acme.example/token", SECRET)


def test_a_found_dotenv_is_used_with_its_own_secret(folder: Path) -> None:
    put(folder, **COMPLETE, SAC_CACHE_DIR="kept")
    assert Settings.resolve().tenant_url == TENANT


def test_a_found_dotenv_may_shape_the_requests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in COMPLETE.items():
        monkeypatch.setenv(key, value)
    put(folder, SAC_STREAMS="2", SAC_TENANT_URL="https://evil.example")
    settings = Settings.resolve()
    assert (settings.streams, settings.tenant_url) == (2, TENANT)  # the environment wins, so nothing is mixed


def test_a_secret_that_is_not_in_use_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_TOKEN", "left over")
    put(folder, **COMPLETE)
    assert Settings.resolve().auth == "client_credentials"


def test_the_sandbox_of_a_found_dotenv_needs_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_CLIENT_SECRET", SECRET)
    put(folder, SAC_TENANT_URL="sandbox")
    assert Settings.resolve().is_sandbox


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have owners on POSIX systems")
def test_a_strangers_dotenv_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(folder.parent, SAC_TENANT_URL="sandbox", SAC_STREAMS="2")
    put(folder.parent.parent, SAC_TENANT_URL="sandbox", SAC_STREAMS="3")
    found = Path.stat
    lfound = Path.lstat

    def strange(path: Path, **options: Any) -> os.stat_result:
        real = found(path, **options)
        return os.stat_result([*real[:4], 54321, *real[5:]]) if path == file else real

    monkeypatch.setattr(Path, "stat", strange)
    monkeypatch.setattr(Path, "lstat", lfound)
    settings = Settings.resolve()
    assert settings.streams == 3
    assert any(f"{file} belongs to another user" in note and "dotenv_path" in note for note in settings.notes)


def test_the_source_of_each_setting_is_logged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sacnb")
    monkeypatch.setenv("SAC_STREAMS", "2")
    file = put(folder.parent, **COMPLETE)
    tenant = sacnb.connect(page_size=7, log="info")
    assert tenant.settings.sources == {
        **dict.fromkeys(COMPLETE, str(file)),
        "SAC_STREAMS": "the environment",
        "SAC_PAGE_SIZE": "the arguments",
        "SAC_LOG": "the arguments",
    }
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Settings: ")]
    for words in (f"SAC_CLIENT_SECRET from {file}", "SAC_STREAMS from the environment", "SAC_LOG from the arguments"):
        assert words in line
    assert SECRET not in caplog.text
    assert any("above the working folder" in note for note in tenant.settings.notes)


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    program = (
        "import os, sys\nos.chdir(sys.argv[1]); os.rmdir(sys.argv[1])\n"
        "from sacnb._settings import Settings\nprint(Settings.resolve(tenant_url='sandbox').notes)"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run([sys.executable, "-c", program, str(gone)], capture_output=True, text=True, check=True)
    assert "does not exist any more" in done.stdout


# -- values as they arrive -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quotes", ["''", '""', "\u201c\u201d", "\u2018\u2019", "\u201e\u201c"])
def test_quotes_around_a_value_are_removed_with_a_note(quotes: str) -> None:
    """As `docker run --env-file` passes them on."""
    environ = {name: f"{quotes[0]}{value}{quotes[1]} " for name, value in COMPLETE.items()}
    settings = Settings.resolve(environ=environ)
    assert (settings.tenant_url, settings.client_id, settings.client_secret.reveal()) == tuple(COMPLETE.values())
    for name in COMPLETE:
        assert any(note.startswith(f"{name} was in quotes") for note in settings.notes)
    assert SECRET not in str(settings.notes)


def test_empty_quotes_are_an_empty_value() -> None:
    with pytest.raises(SettingsError, match="SAC_CLIENT_SECRET is missing"):
        Settings.resolve(environ={**COMPLETE, "SAC_CLIENT_SECRET": "''"})


@pytest.mark.parametrize("text", ["'", "'abc", "a'b'", "\"abc'"])
def test_quotes_that_do_not_belong_together_are_kept(text: str) -> None:
    assert Settings.resolve(environ={**COMPLETE, "SAC_CLIENT_SECRET": text}).client_secret.reveal() == text


@pytest.mark.parametrize("name", ["SAC_TENANT_URL", "SAC_TOKEN_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET", "SAC_TOKEN"])
@pytest.mark.parametrize(
    ("character", "words"),
    [
        ("\u200b", "ZERO WIDTH SPACE (U+200B)"),
        ("\ufeff", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)"),
        ("\u202a", "LEFT-TO-RIGHT EMBEDDING (U+202A)"),
        ("\u00ad", "SOFT HYPHEN (U+00AD)"),
        ("\u00a0", "NO-BREAK SPACE (U+00A0)"),
        ("\x07", "a control character (U+0007)"),
        ("\n", "a line break (U+000A)"),
        ("\t", "a tab (U+0009)"),
        ("\udcff", "a control character (U+DCFF)"),
    ],
)
def test_a_character_that_cannot_be_seen_is_named(name: str, character: str, words: str) -> None:
    values = {**COMPLETE, "SAC_TOKEN_URL": "https://login.acme.example/token", "SAC_TOKEN": SECRET}
    values[name] = values[name][:9] + character + values[name][9:]
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(environ=values)
    assert any(f"{name} holds {words} at position 10" in problem for problem in caught.value.problems)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("place", [0, -1])
def test_a_mark_at_an_end_is_named(place: int) -> None:
    text = f"\u200b{TENANT}" if place == 0 else f"{TENANT}\u200b"
    with pytest.raises(SettingsError, match="ZERO WIDTH SPACE"):
        Settings.resolve(environ={**COMPLETE, "SAC_TENANT_URL": text})


def test_blanks_around_a_value_are_taken_off() -> None:
    environ = {name: f"\t {value}\u00a0\r\n" for name, value in COMPLETE.items()}
    settings = Settings.resolve(environ=environ)
    assert (settings.client_id, settings.client_secret.reveal()) == ("sb-1!b2|client!b3", SECRET)


@pytest.mark.parametrize("name", ["Daten M\u00fcnchen", "\U0001f469\u200d\U0001f4bb", "mit\u00a0Abstand"])
def test_folder_names_may_hold_joiners_and_special_blanks(name: str) -> None:
    assert Settings.resolve(environ={**COMPLETE, "SAC_CACHE_DIR": f"/data/{name}/x"}).cache_dir == Path(
        f"/data/{name}/x"
    )


def test_a_path_from_windows_properties_has_a_mark_in_front() -> None:
    assert _hidden("\u202aC:/ca.pem", is_path=True) is not None


# -- .env files as editors write them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"], ids=lambda name: name
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_unicode_form_of_a_dotenv_is_read(encoding: str, newline: str, tmp_path: Path) -> None:
    text = newline.join(f"{name}='{value}'" for name, value in COMPLETE.items()) + f"{newline}# ü{newline}"
    (tmp_path / ".env").write_bytes(text.encode(encoding))
    settings = Settings.resolve(environ={}, dotenv_path=tmp_path / ".env")
    assert (settings.tenant_url, settings.client_secret.reveal()) == (TENANT, SECRET)


def test_a_dotenv_in_another_encoding_names_the_line_and_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"SAC_CLIENT_SECRET={SECRET}\n# für\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"not UTF-8 text \(line 2\)") as caught:
        Settings.resolve(environ={}, dotenv_path=tmp_path / ".env")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("line", [1, 2])
def test_a_nul_character_does_not_make_a_dotenv_utf_16(line: int, tmp_path: Path) -> None:
    lines = [f"{name}='{value}'" for name, value in COMPLETE.items()]
    lines[line - 1] += "\x00"
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"holds a NUL character \(line {line}\)"):
        Settings.resolve(environ={}, dotenv_path=tmp_path / ".env")


def test_a_dotenv_under_an_unknown_users_home_is_not_found() -> None:
    with pytest.raises(SettingsError, match="There is no file '~nosuchuser"):
        Settings.resolve(environ={}, dotenv_path="~nosuchuser/.env")


# -- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SAC_CACHE_DIR", "SAC_CA_BUNDLE"])
def test_the_home_of_an_unknown_user_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '~nosuchuser/x', which leads nowhere here"):
        Settings.resolve(environ={**COMPLETE, name: "~nosuchuser/x"})


def no_home(*_: Any, **__: Any) -> Path:
    raise RuntimeError("could not determine the home directory")  # platformdirs 4.4; older ones leave the "~"


@pytest.mark.parametrize("platformdirs", [no_home, lambda *_, **__: Path("~/.cache/sacnb")])
def test_without_a_home_results_are_kept_in_a_folder_of_this_user(
    platformdirs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", platformdirs)
    settings = Settings.resolve(environ=COMPLETE)
    assert settings.cache_dir.is_absolute()
    assert settings.cache_dir.name == f"sacnb-{os.getuid()}"
    assert any("SAC_CACHE_DIR" in note for note in settings.notes)


def test_without_a_home_a_strangers_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/sacnb"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"sacnb-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="set SAC_CACHE_DIR"):
        Settings.resolve(environ=COMPLETE)


# -- what tools show of an error -------------------------------------------------------------------------------------

CANARIES = (SECRET, "canarytoken0123456789")


def bad_variable(environment: Callable[..., None], _: Path) -> None:
    environment(**COMPLETE, SAC_STREAMS="many")
    sacnb.connect()


def bad_tenant(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect("ftp://x", client_id="i", client_secret=SECRET)


def unknown_argument(environment: Callable[..., None], _: Path) -> None:
    environment(**COMPLETE)
    Settings.resolve(tenant=TENANT)


def token_with_blanks(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(TENANT, token=f"two words {CANARIES[1]}", auth="static")


def in_dotenv(environment: Callable[..., None], folder: Path) -> None:
    sacnb.connect(dotenv_path=put(folder, SAC_CLIENT_SECRET=SECRET, SAC_STREAMS="x"))


def dotenv_not_utf8(environment: Callable[..., None], folder: Path) -> None:
    (folder / ".env").write_bytes(f"SAC_CLIENT_SECRET={SECRET}\n# für\n".encode("latin-1"))
    sacnb.connect(dotenv_path=folder / ".env")


def secret_in_the_token_url(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(token_url=f"ftp://h/{SECRET}", client_secret="x")


def secret_as_the_token_url(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(TENANT, token_url=SECRET, client_secret="x")


def password_in_the_tenant_url(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(f"https://u:{SECRET}@acme.eu10.hcs.cloud.sap", client_secret="x")


def secret_as_the_tenant_url(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(SECRET, client_secret="x")


def secret_as_the_auth(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(auth=SECRET, client_secret="x")


def secret_as_a_number(environment: Callable[..., None], _: Path) -> None:
    environment(**COMPLETE, SAC_PAGE_SIZE=SECRET)
    sacnb.connect()


def ca_bundle_missing(environment: Callable[..., None], _: Path) -> None:
    sacnb.connect(TENANT, client_id="i", client_secret=SECRET, ca_bundle="/nowhere.pem")


@pytest.mark.parametrize(
    "fail",
    [
        bad_variable,
        bad_tenant,
        unknown_argument,
        token_with_blanks,
        in_dotenv,
        dotenv_not_utf8,
        secret_in_the_token_url,
        secret_as_the_token_url,
        password_in_the_tenant_url,
        secret_as_the_tenant_url,
        secret_as_the_auth,
        secret_as_a_number,
        ca_bundle_missing,
    ],
    ids=lambda function: function.__name__,
)
def test_no_tool_that_shows_locals_finds_a_secret(
    fail: Callable[..., None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        fail(environment, folder)
    error = caught.value
    trace = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # without the frames of this file
    shown = [str(error), repr(error), repr(vars(error))]
    seen = trace
    while seen is not None:
        shown += [repr(value) for value in seen.tb_frame.f_locals.values()]
        seen = seen.tb_next
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(
        rich.traceback.Traceback.from_exception(
            type(error), error, trace, show_locals=True, extra_lines=0, locals_max_length=1000, locals_max_string=5000
        )
    )
    shown.append(console.file.getvalue())  # type: ignore[attr-defined]
    shown.append(IPython.core.ultratb.VerboseTB(include_vars=True).text(type(error), error, trace, 1))
    assert "resolve" in "".join(shown) or "connect" in "".join(shown)
    for canary in CANARIES:
        assert all(canary not in text for text in shown)
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("value", "is_shown"),
    [
        ("many", True),
        (7, True),
        ("https://<tenant>.eu10.hcs.cloud.sap", True),
        ("https://acme.eu10.hcs.cloud.sap:port", True),
        (SECRET, False),
        ("eyJhbGciOiJub25lIn0.e30.c2ln", False),
        ("0123456789abcdef0123456789abcdef", False),
        ("Zm9vYmFy=", False),
    ],
)
def test_a_value_that_may_be_a_secret_is_not_repeated(value: object, is_shown: bool) -> None:
    assert (show(value) == repr(value)) is is_shown


# -- looking for secrets ---------------------------------------------------------------------------------------------


def test_the_secrets_of_all_sources_are_known_although_settings_are_wrong(tmp_path: Path) -> None:
    file = put(tmp_path, SAC_CLIENT_SECRET="in-the-file", SAC_STREAMS="x", SAC_REPLAY="replay")
    environ = {"SAC_CLIENT_SECRET": "'in-quotes'", "SAC_TOKEN": "a-token"}
    found = configured_secrets(environ=environ, dotenv_path=file, client_secret=Secret("an-argument"))
    assert {secret.reveal() for secret in found} == {
        "in-the-file",
        "'in-quotes'",
        "in-quotes",
        "a-token",
        "an-argument",
    }
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError):
        configured_secrets(environ={}, dotenv_path=file)
