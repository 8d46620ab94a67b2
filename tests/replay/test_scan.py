"""The scan finds what must not be shared, and stays quiet about what merely looks technical."""

from __future__ import annotations

import base64
import gzip
import html
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from sacnb.errors import ReplayError, SettingsError
from sacnb.replay import scan_paths, scan_text
from sacnb.replay.scan import secrets_around

# Put together here, so that this file itself passes the scan.
RANDOM = "Zx8qP2" + "mLr4Tn9V" + "bK1w"
JWT = "ey" + "JhbGciOiJSUzI1NiJ9" + "." + "eyJqdGkiOiI0MiJ9" + "." + "c2lnbmF0dXJl"
UUID = "0d9b7e1c-" + "1f7a-4f0e-9b7d-" + "6a1c2e3f4a5b"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"token = {JWT}", "JSON web token"),
        ("-----BEGIN " + "RSA PRIVATE KEY-----", "private key"),
        (f"{UUID}$" + RANDOM + "abcdefgh=", "SAC client secret"),
        (f'"access_token": "{RANDOM}"', "value of a secret key"),
        (f"client_secret={RANDOM}&grant_type=x", "value of a secret key"),
        (f"SAC_TOKEN='{RANDOM}'", "value of a secret key"),
        (f"SAC_CLIENT_SECRET={RANDOM}=", "value of a secret key"),
        (f"X-CSRF-Token: {RANDOM}", "value of a secret key"),
        (f'"set-cookie": ["{RANDOM}; path=/"]', "value of a secret key"),
        (rf'"{{\"access_token\":\"{RANDOM}\"}}"', "value of a secret key"),
        (rf'"\\\"client_secret\\\": \\\"{RANDOM}\\\""', "value of a secret key"),
        (f"accessToken: {RANDOM}", "value of a secret key"),
        (f"X-API-Key: {RANDOM}", "value of a secret key"),
        (f"JSESSIONID={RANDOM}; Path=/", "value of a secret key"),
        (f"HTTPS_PROXY=http://me:{RANDOM}@proxy.acme.example:8080", "password in an address"),
        (f"curl -H 'Bearer {RANDOM}'", "bearer token"),
        (f"curl -H 'Basic {RANDOM}=='", "basic credentials"),
    ],
)
def test_a_secret_is_found_named_and_not_repeated(text: str, kind: str) -> None:
    findings = list(scan_text(f"first line\n{text}\n", path="x.yaml"))
    assert [(f.path, f.line, f.kind) for f in findings] == [("x.yaml", 2, kind)]
    assert RANDOM not in str(findings[0])


@pytest.mark.parametrize(
    "text",
    [
        '"access_token": "**********"',
        '"access_token": "REDACTED"',
        "client_secret=settings.client_secret",
        "SAC_CLIENT_SECRET=''",
        'SAC_CLIENT_SECRET="<your client secret>"',
        "Authorization: Bearer <token>",
        "authorization: str = headers[name]",
        f'{{file = "polars.whl", hash = "sha256:{"0a1b2c3d4e5f6789" * 4}"}}',
        "x-csrf-token: fetch",
        "password=aaaaaaaaaaaaaaaaaaaaaaaa",
        '"access_token": "eyJhbGciOiJSUzI1NiIsImprdSI6Imh0dHBzOi8v..."',
        r'"{\"access_token\":\"***\",\"token_type\":\"bearer\"}"',
        "https://user:password@proxy.acme.example",
        "https://tenant.eu10.hcs.cloud.sap/api/v1/csrf",
    ],
)
def test_what_stands_in_a_secrets_place_is_no_secret(text: str) -> None:
    assert list(scan_text(text)) == []


IN_A_CASSETTE = '{\n "metadata": {\n  "format": "sacnb cassette 1"\n },\n '


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://acme.eu10.hcs.cloud.sap/x", "host of a tenant"),
        ("acme.authentication.us20.hana.ondemand.com", "host of a tenant"),
        (f"sb-{UUID}!b12|client!b3", "client id"),
        ("http://127.0.0.1:8080/x", "address of a machine"),
        (r"http:\/\/localhost:8080\/x", "address of a machine"),
    ],
)
def test_a_cassette_must_not_even_say_where_it_comes_from(text: str, kind: str) -> None:
    assert [f.kind for f in scan_text(f'{IN_A_CASSETTE}"{text}"')] == [kind]
    assert list(scan_text(f'"{text}"')) == []


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        ("tests/test_x.py", "password='canary" + "-5Gh2kL9x'", False),
        ("tests/test_x.py", f"password='{RANDOM}'  # planted", False),
        ("tests/test_x.py", f"password='{RANDOM}'", True),
        ("notebooks/x.ipynb", "password='canary" + "-5Gh2kL9x'", True),
        ("x.cassette.json", f"password='{RANDOM}'  # planted", True),
    ],
)
def test_only_programs_may_plant_secrets(path: str, line: str, found: bool) -> None:
    assert bool(list(scan_text(line, path=path))) is found


def test_a_known_secret_is_found_in_a_planted_line_too() -> None:
    assert [f.line for f in scan_text("x = 'canary'  # planted", path="x.py", known_secrets=["canary"])] == [1]


def test_a_known_secret_is_found_whatever_it_looks_like() -> None:
    findings = list(scan_text("let me in", known_secrets=["", "let me"]))
    assert [f.kind for f in findings] == ["a secret of this machine's settings"]


def test_folders_are_walked_as_git_sees_them(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(".env\n")
    (tmp_path / ".env").write_text(f"SAC_TOKEN={RANDOM}\n")
    (tmp_path / "kept.txt").write_text(f"SAC_TOKEN={RANDOM}\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0" + RANDOM.encode())
    assert [Path(f.path).name for f in scan_paths([tmp_path])] == ["kept.txt"]


def test_without_git_everything_below_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "cassette.yaml").write_text(f"access_token: {RANDOM}\n")
    monkeypatch.setenv("PATH", "")
    assert [f.line for f in scan_paths([tmp_path])] == [1]
    assert [f.line for f in scan_paths([tmp_path / "sub" / "cassette.yaml"])] == [1]


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="to scan"):
        scan_paths([tmp_path / "nowhere"])


SECRET = "plain/words+secret$of&mine=99"


def _json_escaped(text: str) -> str:
    return "".join(rf"\u{ord(character):04x}" for character in text)


def _wrapped(text: str) -> str:
    encoded = base64.b64encode(f"user:{text}".encode()).decode()
    return "\n".join(encoded[at : at + 16] for at in range(0, len(encoded), 16))


@pytest.mark.parametrize(
    "write",
    [
        quote,
        lambda text: quote(quote(text, safe=""), safe=""),
        _json_escaped,
        lambda text: json.dumps(json.dumps(text)),
        html.escape,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"id:{text}".encode()).decode().rstrip("="),
        lambda text: base64.b64encode(f"a longer text with {text} in it".encode()).decode(),
        lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
        lambda text: text.encode().hex(),
        _wrapped,
    ],
)
def test_a_known_secret_is_found_in_every_form(write: Callable[[str], str]) -> None:
    findings = list(scan_text(f"one\nx {write(SECRET)}\n", known_secrets=[SECRET]))
    assert [(f.line, f.kind) for f in findings] == [(2, "a secret of this machine's settings")]


def test_the_shape_of_a_secret_is_found_in_base64_and_behind_escapes() -> None:
    secret = f"{UUID}$" + RANDOM + "abcdefgh"
    for text in (base64.b64encode(f"x:{secret} y".encode()).decode(), quote(secret), _json_escaped(secret)):
        assert [f.kind for f in scan_text(text)] == ["SAC client secret"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-8-sig"])
def test_text_is_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "notes.txt").write_bytes(f"one\naccess_token: {RANDOM}\n".encode(encoding))
    assert [(f.line, f.kind) for f in scan_paths([tmp_path])] == [(2, "value of a secret key")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", [b"\x89PNG\0\1\2\3", b"\x89PNG\0\1\2\3\4"])
def test_a_secret_among_binary_data_is_found(tmp_path: Path, before: bytes, encoding: str) -> None:
    (tmp_path / "picture.png").write_bytes(before + b"\xff\xfe\x80" * 3 + SECRET.encode(encoding) + b"\0\xd8\0\xd8")
    findings = scan_paths([tmp_path], known_secrets=[SECRET])
    assert [f.kind for f in findings] == ["a secret of this machine's settings"]


def test_archives_are_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sheet.xml", f"access_token: {RANDOM}")
    (tmp_path / "log.gz").write_bytes(gzip.compress(f"access_token: {RANDOM}".encode()))
    assert [Path(f.path).name for f in scan_paths([tmp_path])] == ["sheet.xml", "log.gz"]


def test_what_was_not_searched_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 rows PAR1")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "large.txt").write_bytes(b"x" * 2_000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"x" * 2_000))
    monkeypatch.setattr("sacnb.replay.scan._MAX_BYTES", 1_000)
    findings = {Path(f.path).name: f for f in scan_paths([tmp_path])}
    assert {name: (f.line, f.kind) for name, f in findings.items()} == dict.fromkeys(
        ["rows.parquet", "torn.zip", "large.txt", "bomb.gz"], (0, "not searched")
    )
    assert str(findings["rows.parquet"]).endswith("rows.parquet: not searched: it is compressed")


def test_a_file_that_cannot_be_opened_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "locked.txt").write_text("x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert [f.shown for f in scan_paths([tmp_path])] == ["Permission denied"]


def test_the_secrets_of_a_folder_are_known_whatever_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".env").write_text(f"SAC_CLIENT_SECRET='{SECRET}'\nSAC_PAGE_SIZE=many\nSAC_REPLAY=replay\n")
    assert secrets_around(tmp_path / "sub", environ={"SAC_TOKEN": "a pasted token"}) == [SECRET, "a pasted token"]
    (tmp_path / ".env").write_bytes(b"SAC_CLIENT_SECRET=\xff\xfe\xfa")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        secrets_around(tmp_path, environ={})
