"""The certificate file of a company, in the forms in which people save it, against a real TLS server."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
import trustme

from sacnb._settings import Settings
from sacnb._settings.ca_bundle import check_bundle, usable_bundle
from sacnb.errors import SettingsError

COMPLETE = {"SAC_TENANT_URL": "https://acme.eu10.hcs.cloud.sap", "SAC_CLIENT_ID": "i", "SAC_CLIENT_SECRET": "s"}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def url(authority: trustme.CA) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def write(authority: trustme.CA, form: str, folder: Path) -> Path:
    pem = authority.cert_pem.bytes()
    path = folder / "company authority's.cer"
    if form in {"folder", "hashed"}:
        path.mkdir()
        (path / "README").write_text("Certificates of the company.")
        (path / "ca.pem").write_bytes(pem)
        if form == "hashed":
            command = ["openssl", "x509", "-in", str(path / "ca.pem"), "-hash", "-noout"]
            name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            (path / "ca.pem").rename(path / f"{name}.0")
        return path
    content = {
        "pem": pem,
        "der": ssl.PEM_cert_to_DER_cert(pem.decode()),
        "utf-8 with a mark": b"\xef\xbb\xbf" + pem,
        "utf-16": pem.decode().encode("utf-16"),
        "utf-16 without a mark": pem.decode().encode("utf-16-le"),
        "CRLF": pem.replace(b"\n", b"\r\n"),
        "CRLF and a mark": b"\xef\xbb\xbf" + pem.replace(b"\n", b"\r\n"),
        "text around": b"Certificate:\n    Data:\n" + pem + b"\nfin\n",
        "blanks in front": b"\r\n  \r\n" + pem,
    }[form]
    path.write_bytes(content)
    return path


FORMS = ["pem", "der", "utf-8 with a mark", "utf-16", "utf-16 without a mark", "CRLF", "CRLF and a mark"]
FORMS += ["text around", "blanks in front", "folder", "hashed"]


@pytest.mark.parametrize("form", FORMS)
def test_every_usable_form_is_used(form: str, authority: trustme.CA, url: str, tmp_path: Path) -> None:
    if form == "hashed" and shutil.which("openssl") is None:
        pytest.skip("the command openssl makes the name of the file")
    path = write(authority, form, tmp_path)
    settings = Settings.resolve(environ={**COMPLETE, "SAC_CA_BUNDLE": str(path)})
    assert settings.ca_bundle == path
    usable = usable_bundle(path)
    assert (usable == str(path)) is (form in {"pem", "CRLF", "text around", "blanks in front", "hashed"})
    assert usable_bundle(path) == usable  # made once
    assert requests.get(url, verify=usable, timeout=10).status_code == 204


def test_a_converted_file_follows_its_source(authority: trustme.CA, tmp_path: Path) -> None:
    path = write(authority, "der", tmp_path)
    first = usable_bundle(path)
    Path(first).unlink()  # somebody tidied the temporary folder
    assert Path(usable_bundle(path)).is_file()
    path.write_bytes(ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode()))
    assert Path(usable_bundle(path)).read_text() != authority.cert_pem.bytes().decode()


PKCS12 = bytes.fromhex("3082047a02010330820440") + b"\x00" * 40
PKCS7 = bytes.fromhex("3082030a06092a864886f70d010702a08202fb") + b"\x00" * 40
KIND = b"PRIVATE KEY"
PRIVATE_KEY = b"-----BEGIN %s-----\nMIIE\n-----END %s-----\n" % (KIND, KIND)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "which is empty"),
        (b" \n", "which is empty"),
        (PKCS12, "a PKCS#12 file; make a PEM file of its certificates: openssl pkcs12 -in "),
        (PKCS7, "a PKCS#7 file; make a PEM file of it: openssl pkcs7 -inform DER -in "),
        (b"-----BEGIN PKCS7-----\nMIIE\n-----END PKCS7-----\n", "openssl pkcs7 -inform PEM -in "),
        (b"\xfe\xed\xfe\xed\x00\x00", "a Java keystore"),
        (PRIVATE_KEY, "a private key and no certificate"),
        (b"<html>Sign in</html>", "which holds no certificate"),
        (b"\x30\x03\x02\x01\x05", "whose certificates cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n", "whose certificates cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nMIIE\n", "which holds no certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_file_is_named_with_a_remedy(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "company.cer"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(environ={**COMPLETE, "SAC_CA_BUNDLE": str(path)})
    (problem,) = caught.value.problems
    assert problem.startswith(f"SAC_CA_BUNDLE is {str(path)!r}")
    assert words in problem


def test_a_folder_without_certificates_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in which no file holds a certificate"):
        check_bundle(tmp_path)


def test_a_file_that_is_gone_when_it_is_used_is_a_settings_error(tmp_path: Path, authority: trustme.CA) -> None:
    path = write(authority, "der", tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="which does not exist"):
        usable_bundle(path)
