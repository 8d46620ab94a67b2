"""Named profiles: tenant and client come from one of them as a whole, and its secret goes nowhere else."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import keyrings
import pytest

import sacnb
from sacnb._settings import Secret, Settings, configured_secrets, keep_in_keyring, profiles_path, save_profile
from sacnb._settings.files import profile_names
from sacnb.errors import MissingExtraError, SacWarning, SettingsError

PROD = "https://acme.eu10.hcs.cloud.sap"
TEST = "https://acme-test.eu10.hcs.cloud.sap"
SECRET = "canary-secret$Zm9v/bar+baz="
FILE = f"""# by hand
[prod]
tenant_url = '{PROD}'
client_id = 'sb-1!b2|client!b3'
client_secret = '{SECRET}'
page_size = 7

[test]
tenant_url = '{TEST}'
token_url = 'https://login.acme.example/token'
client_id = 'of-test'
keyring = true
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ring() -> Iterator[keyrings.Ring]:
    with keyrings.in_use() as ring:
        yield ring


@pytest.fixture
def profiles() -> Path:
    return put(FILE)


def put(text: str) -> Path:
    path = profiles_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


# -- which values are used -------------------------------------------------------------------------------------------


def test_a_profile_is_named_by_argument_or_environment(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_PROFILE", "test")
    settings = Settings.resolve(profile="prod")
    assert (settings.profile, settings.tenant_url, settings.client_id) == ("prod", PROD, "sb-1!b2|client!b3")
    assert (settings.client_secret, settings.page_size) == (Secret(SECRET), 7)
    assert settings.sources["SAC_CLIENT_SECRET"] == f"the profile 'prod' in {profiles}"
    assert settings.notes == ("The token URL was derived from the tenant URL: " + settings.token_url + ".",)
    monkeypatch.setenv("SAC_PROFILE", "prod")
    assert Settings.resolve() == settings


def test_arguments_go_before_the_profile_and_that_before_the_environment(
    profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_PAGE_SIZE", "9")
    monkeypatch.setenv("SAC_STREAMS", "3")
    settings = Settings.resolve(profile="prod", client_id="other")
    assert (settings.client_id, settings.page_size, settings.streams) == ("other", 7, 3)
    assert Settings.resolve(profile="prod", page_size=8).page_size == 8


def test_tenant_and_client_are_never_mixed_with_the_environments(
    profiles: Path, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    """A token URL left over in the environment must not get the profile's secret."""
    monkeypatch.setenv("SAC_TOKEN_URL", "https://evil.example/token")
    monkeypatch.setenv("SAC_TOKEN", "left over")
    monkeypatch.setenv("SAC_AUTH", "static")
    named = here / "named.env"
    named.write_text("SAC_CLIENT_ID=of-the-file\nSAC_STREAMS=2\n", encoding="utf-8")
    settings = Settings.resolve(profile="prod", dotenv_path=named)
    assert (settings.auth, settings.token, settings.client_id) == ("client_credentials", None, "sb-1!b2|client!b3")
    assert (settings.token_url.split("/")[2], settings.streams) == ("acme.authentication.eu10.hana.ondemand.com", 2)
    (note,) = [note for note in settings.notes if "is not used" in note]
    assert note.startswith("SAC_TOKEN_URL, SAC_CLIENT_ID, SAC_AUTH, SAC_TOKEN is not used: the profile 'prod' in")


def test_no_dotenv_is_looked_for_beside_a_profile(profiles: Path, here: Path) -> None:
    (here / ".env").write_text("SAC_STREAMS=2\nSAC_CACHE_DIR=elsewhere\n", encoding="utf-8")
    settings = Settings.resolve(profile="prod")
    assert (settings.streams, settings.dotenv_path) == (4, None)


def test_an_empty_profile_means_none(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_PROFILE", "prod")
    settings = Settings.resolve(profile="", tenant_url="sandbox")
    assert (settings.profile, settings.page_size) == (None, 50_000)


def test_another_tenant_than_the_profiles_is_warned_of(profiles: Path) -> None:
    with pytest.warns(SacWarning, match=r"acme-test.* is used with the client of the profile 'prod'.*tenant is https"):
        sacnb.connect(TEST, profile="prod").close()
    assert Settings.resolve(profile="prod", tenant_url=f"{PROD}/sap/fpa/ui").warnings == ()
    assert Settings.resolve(profile="prod", tenant_url="sandbox").warnings == ()


def test_a_replay_needs_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded notebook runs on machines that do not have it."""
    assert Settings.resolve(profile="prod", replay="replay", replay_cassette="x").profile is None
    monkeypatch.setenv("SAC_REPLAY", "Replay")
    assert Settings.resolve(profile="prod").profile is None


# -- a .env that was found -------------------------------------------------------------------------------------------


def test_a_found_dotenv_does_not_choose_a_profile(profiles: Path, here: Path) -> None:
    file = here / ".env"
    file.write_text("SAC_PROFILE=prod\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Settings.resolve()
    (problem,) = caught.value.problems
    assert problem.startswith(f"SAC_PROFILE comes from {file}, which was found and not named.")
    assert Settings.resolve(dotenv_path=file).tenant_url == PROD


def test_the_keyring_is_not_opened_for_a_found_dotenv(profiles: Path, here: Path, ring: keyrings.Ring) -> None:
    ring.locked = "asked"
    (here / ".env").write_text("SAC_PROFILE=test\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="found and not named") as caught:
        Settings.resolve()
    assert "asked" not in str(caught.value)


def test_a_found_dotenv_that_chooses_the_sandbox_is_warned_of(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = here / ".env"
    file.write_text("SAC_TENANT_URL=sandbox\n", encoding="utf-8")
    assert Settings.resolve().warnings == ()
    monkeypatch.setenv("SAC_CLIENT_SECRET", SECRET)
    with pytest.warns(SacWarning, match=r"The data is the sandbox's.*the client secret comes from the environment"):
        sacnb.connect().close()
    assert Settings.resolve(dotenv_path=file).warnings == ()
    assert Settings.resolve(tenant_url="sandbox").warnings == ()


# -- files as people write them --------------------------------------------------------------------------------------


def test_an_unknown_profile_names_those_there_are(profiles: Path) -> None:
    with pytest.raises(SettingsError, match=r"There is no profile 'prd' in .*There are: prod, test. Did you mean"):
        Settings.resolve(profile="prd")
    profiles.unlink()
    with pytest.raises(SettingsError, match=r"There are none yet. Make it: sacnb init --profile prod"):
        Settings.resolve(profile="prod")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[prod]\nclient_secret = {SECRET}\n", "not valid TOML: line 2, column"),
        (f"[prod]\nclient_id = 'x\nclient_secret = '{SECRET}'\n", "not valid TOML: line 2, column"),
        (f"[prod]\n[prod]\nclient_secret = '{SECRET}'\n", "not valid TOML: line 2, column"),
        (f"\nclient_secret = '{SECRET}'\n[prod]\n", "line 2: 'client_secret' stands before the first [name]"),
        (f"[prod]\n\nclientsecret = '{SECRET}'\n", "line 3: the profile 'prod' has the unknown key 'clientsecret'"),
        (f"[prod]\nclient_secret = ['{SECRET}']\n", "line 2: client_secret of the profile 'prod' must be a text"),
        ("[prod]\nclient_id = 12\n", "line 2: client_id of the profile 'prod' must be a text in quotes"),
        ("[prod]\npage_size = true\n", "line 2: page_size of the profile 'prod' must be a number"),
        ("[prod]\nkeyring = 'yes'\n", "line 2: keyring of the profile 'prod' must be true or false"),
        ("[prod]\nreplay = 'off'\n", "line 2: the profile 'prod' has the unknown key 'replay'"),
        (f"[prod]\nkeyring = true\nclient_secret = '{SECRET}'\n", "line 3: the profile 'prod' has client_secret and"),
        ("# caf\xe9\n[prod]\n", None),
    ],
)
def test_a_damaged_file_is_named_with_its_line_and_without_values(text: str, words: str | None) -> None:
    path = put(text)
    if words is None:
        path.write_bytes(text.encode("latin-1"))
        words = "not UTF-8 text (line 1)"
    with pytest.raises(SettingsError) as caught:
        sacnb.connect(profile="prod")
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
    below = caught.value.__traceback__.tb_next if caught.value.__traceback__ else None  # this test's own frame has it
    trace = traceback.TracebackException(SettingsError, caught.value, below, capture_locals=True)
    assert "canary" not in "".join(trace.format())
    assert caught.value.__context__ is None


def test_what_another_profile_has_does_not_matter(profiles: Path) -> None:
    put(FILE + "[future]\nnew_key = 1\n")
    assert Settings.resolve(profile="prod").tenant_url == PROD
    assert profile_names() == ("prod", "test", "future")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_editors_are_read(encoding: str) -> None:
    put("").write_bytes(FILE.replace("\n", "\r\n").encode(encoding))
    assert Settings.resolve(profile="prod").client_secret == Secret(SECRET)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_file_that_others_may_read_is_noted(profiles: Path) -> None:
    profiles.chmod(0o640)
    assert any(f"chmod 600 {profiles}" in note for note in Settings.resolve(profile="prod").notes)


@pytest.mark.parametrize("name", ["sandbox", "a b", "../x", "a.b", ""])
def test_a_name_that_no_profile_can_have(name: str) -> None:
    with pytest.raises(SettingsError):
        save_profile(name, {"SAC_TENANT_URL": PROD}, in_keyring=False)


# -- writing ---------------------------------------------------------------------------------------------------------


def test_saving_keeps_the_rest_and_is_for_the_user_alone(profiles: Path) -> None:
    profiles.chmod(0o644)
    awkward = 'it\'s "$x" \\n \u00fc|='
    values = {"SAC_TENANT_URL": TEST, "SAC_CLIENT_ID": "new", "SAC_CLIENT_SECRET": Secret(awkward)}
    assert save_profile("prod", values, in_keyring=False) == profiles
    settings = Settings.resolve(profile="prod")
    assert (settings.tenant_url, settings.client_id, settings.client_secret.reveal()) == (TEST, "new", awkward)
    assert settings.page_size == 7
    text = profiles.read_text(encoding="utf-8")
    assert text.startswith("# by hand\n[prod]\n")
    assert text.endswith(FILE[FILE.index("\n[test]") :])
    save_profile("pr\u00fcf", values, in_keyring=False)
    assert profile_names() == ("prod", "test", "pr\u00fcf")
    if os.name != "nt":
        assert profiles.stat().st_mode & 0o777 == 0o600


def test_a_comment_with_another_line_break_stays() -> None:
    path = put(f"# a\u2028b\x85c\n[prod]\ntenant_url = '{PROD}'  # d\u2028e\n# end\u2028f")
    save_profile("prod", {"SAC_TENANT_URL": TEST}, in_keyring=False)
    text = path.read_text(encoding="utf-8")
    assert text == f"# a\u2028b\x85c\n[prod]\ntenant_url = '{TEST}'\n# end\u2028f\n"


def test_the_first_profile_makes_the_file() -> None:
    path = save_profile("prod", {"SAC_TENANT_URL": PROD, "SAC_CLIENT_ID": "x"}, in_keyring=True)
    assert profile_names() == ("prod",)
    if os.name != "nt":
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_file_that_lines_cannot_show_is_left_alone() -> None:
    text = f"[prod]\ntenant_url = '''\n{PROD}'''\n"
    path = put(text)
    with pytest.raises(SettingsError, match="cannot be changed"):
        save_profile("prod", {"SAC_TENANT_URL": TEST}, in_keyring=False)
    assert path.read_text(encoding="utf-8") == text


# -- the keyring -----------------------------------------------------------------------------------------------------


def test_a_secret_in_the_keyring(profiles: Path, ring: keyrings.Ring) -> None:
    keep_in_keyring("test", Secret(SECRET))
    settings = Settings.resolve(profile="test")
    assert (settings.tenant_url, settings.client_secret) == (TEST, Secret(SECRET))
    assert settings.sources["SAC_CLIENT_SECRET"].startswith("the keyring, for the profile 'test'")
    ring.locked = "locked"
    assert Settings.resolve(profile="test", client_secret="given").client_secret == Secret("given")
    assert Settings.resolve(profile="test", tenant_url="sandbox").is_sandbox
    with pytest.raises(SettingsError, match=r"which does not give it: locked"):
        Settings.resolve(profile="test")


def test_a_keyring_without_the_secret(profiles: Path, ring: keyrings.Ring) -> None:
    with pytest.raises(SettingsError, match="has no secret of the profile 'test'"):
        Settings.resolve(profile="test")


def test_a_keyring_that_is_not_there(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    with pytest.raises(MissingExtraError, match=r"sacnb\[keyring\]"):
        Settings.resolve(profile="test")


# -- workers and searches --------------------------------------------------------------------------------------------


def test_a_spec_carries_the_name_and_never_the_secret(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = sacnb.connect(profile="prod").spec
    assert dict(spec.arguments)["profile"] == "prod"
    assert SECRET.encode() not in pickle.dumps(spec)
    monkeypatch.setenv("SAC_CLIENT_SECRET", "of another machine")
    settings = sacnb.connect(pickle.loads(pickle.dumps(spec))).settings
    assert (settings.client_secret, settings.tenant_url, settings.warnings) == (Secret(SECRET), PROD, ())
    profiles.unlink()
    settings = sacnb.connect(spec).settings
    assert (settings.client_secret.reveal(), settings.tenant_url) == ("of another machine", PROD)
    monkeypatch.delenv("SAC_CLIENT_SECRET")
    with pytest.raises(SettingsError) as caught:
        sacnb.connect(spec)
    assert "the profile 'prod', which this machine does not have" in caught.value.__notes__[0]


def test_a_spec_is_not_mixed_with_another_profile(
    profiles: Path, ring: keyrings.Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_keyring("test", Secret("of-test"))
    spec = sacnb.connect(profile="prod").spec
    settings = sacnb.connect(spec, profile="test").settings
    assert (settings.tenant_url, settings.token_url) == (TEST, "https://login.acme.example/token")
    assert (settings.client_id, settings.client_secret.reveal(), settings.page_size) == ("of-test", "of-test", 7)
    plain = sacnb.connect(PROD, client_id="x", client_secret=SECRET).spec
    monkeypatch.setenv("SAC_PROFILE", "test")
    monkeypatch.setenv("SAC_CLIENT_SECRET", "of the worker")
    assert sacnb.connect(plain).settings.client_secret.reveal() == "of the worker"


def test_searches_know_the_secrets_of_all_profiles(profiles: Path, ring: keyrings.Ring) -> None:
    keep_in_keyring("test", Secret("in the keyring"))
    assert {secret.reveal() for secret in configured_secrets(environ={})} == {SECRET, "in the keyring"}
    ring.locked = "locked"
    with pytest.warns(SacWarning, match="The secret of the profile 'test' is not known to this search"):
        assert {secret.reveal() for secret in configured_secrets(environ={})} == {SECRET}
    put("[prod]\nclient_secret =\n")
    with pytest.raises(SettingsError, match="line 2"):
        configured_secrets(environ={})
