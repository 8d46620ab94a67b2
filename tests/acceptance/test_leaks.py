"""Every secret of a connection is planted, everything goes wrong, and whatever a tool can show is searched."""

from __future__ import annotations

import base64
import http.client
import io
import json
import logging
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode
from urllib.request import urlopen

import keyrings
import leaks
import pytest
from IPython.core.ultratb import VerboseTB
from rich.console import Console
from rich.traceback import Traceback

import sacnb
import sacnb.sandbox
from sacnb import Tenant
from sacnb.errors import SacError
from sacnb.sandbox import Sandbox

CLIENT_SECRET = "0f7a1c$zQ9vWk4xHd?/Lm2Tb8nRj5+=="  # planted
PASSWORD = "Yt6pXc3mGv&Bq7sNf"  # planted
FAULTS = (
    ("token_invalid_client", {}),
    ("token_down", {}),
    ("truncated_json", {"on": "token"}),
    ("refresh_token_expired", {}),
)
REFUSALS = ("unauthorized", "html_login")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sacnb.sandbox.start(client_secret=CLIENT_SECRET, users={"planner": PASSWORD}) as started:  # planted
        yield started


class Watched:
    """Notes every secret that goes over the wire, and every error with what tools make of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets = {CLIENT_SECRET, PASSWORD}
        self.texts: dict[str, str] = {}
        send = http.client.HTTPConnection.send

        def noted(connection: http.client.HTTPConnection, data: Any) -> None:
            self.note(bytes(data) if isinstance(data, bytes | bytearray) else b"")
            send(connection, data)

        monkeypatch.setattr(http.client.HTTPConnection, "send", noted)

    def note(self, sent: bytes) -> None:
        """Note the secrets in what is sent."""
        text = sent.decode("latin-1")
        self.secrets |= set(
            re.findall(r"^(?:Authorization: \w+|Cookie:|x-csrf-token:) (?!Fetch)(\S+)", text, re.M | re.I)
        )
        form = parse_qs(text.rpartition("\r\n")[2])
        for name in ("code", "code_verifier", "refresh_token", "client_secret"):
            self.secrets |= set(form.get(name, ()))

    def attempt(self, name: str, call: Callable[[], object]) -> None:
        """Make a call that fails, and keep all that tools show of its error."""
        with pytest.raises(SacError) as caught:
            call()
        error = caught.value
        assert error.__traceback__ is not None
        trace = error.__traceback__.tb_next  # without this frame, which knows the secrets
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        assert trace is not None
        console = Console(file=io.StringIO(), width=110)
        console.print(
            Traceback.from_exception(
                type(error), error, trace, show_locals=True, locals_max_length=10_000, locals_max_string=100_000
            )
        )
        assert isinstance(console.file, io.StringIO)
        self.texts[f"{name}: rich"] = console.file.getvalue()
        self.texts[f"{name}: IPython"] = VerboseTB(include_vars=True).text(type(error), error, trace)
        self.texts[f"{name}: error"] = (
            f"{error!s} {error!r} {vars(error)} {error.__notes__ if hasattr(error, '__notes__') else ''}"
        )
        self.texts[f"{name}: pickle"] = repr(pickle.dumps(error))
        assert "locals" in self.texts[f"{name}: rich"]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def connect(sandbox: Sandbox, auth: str, folder: Path) -> Tenant:
    return sacnb.connect(
        sandbox.tenant_url,
        token_url=sandbox.token_url,
        client_id=sandbox.client_id,
        client_secret=CLIENT_SECRET,  # planted
        auth=auth,
        redirect_uri="http://127.0.0.1:0/",
        cache_dir=folder,
        max_attempts=1,
        profile="",
        log="debug",
    )


def browse(link: str) -> None:
    """Log in as the person does, whose browser logs nothing."""
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr(http.client.HTTPConnection, "debuglevel", 0)
        with urlopen(link, timeout=30) as page:
            form = page.url
        with urlopen(form, urlencode({"username": "planner", "password": PASSWORD}).encode(), timeout=30) as page:
            page.read()


@pytest.mark.parametrize("auth", ["client_credentials", "authorization_code"])
def test_no_secret_and_no_piece_of_one_is_in_anything_that_a_tool_shows(  # noqa: PLR0917 - fixtures
    auth: str,
    sandbox: Sandbox,
    watched: Watched,
    ring: keyrings.Ring,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox.behave()
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    caplog.set_level(logging.DEBUG)
    for name in ("sacnb", "urllib3", "requests_oauthlib", "oauthlib"):
        caplog.set_level(logging.DEBUG, logger=name)
    capfd.readouterr()
    events: list[object] = []
    tenant = connect(sandbox, auth, tmp_path / "cache")
    tenant.telemetry.add_hook(events.append)
    with tenant:

        def log_in() -> None:
            tenant._login(keep=True, paste=None, timeout_s=30, show=str, find=lambda: browse)

        if auth == "authorization_code":
            watched.attempt("nobody", tenant.models)
            log_in()
        facts = tenant.model("US_EMPLOYMENT").facts(where={"Version": "public.Actual", "Sector": "31"}, limit=5)
        result = facts.refresh()
        for name in REFUSALS:
            sandbox.misbehave(name, on="api")
            watched.attempt(name, tenant.models)
            sandbox.behave()
        for name, options in FAULTS:
            sandbox.misbehave(name, **options)
            if auth == "authorization_code":
                watched.attempt(f"renew, {name}", tenant.renew_token)
                if name != "refresh_token_expired":
                    watched.attempt(f"log in, {name}", log_in)
                sandbox.behave()
                log_in()
            elif name != "refresh_token_expired":
                with connect(sandbox, auth, tmp_path / "cache") as other:  # a refusal is remembered for a while
                    watched.attempt(f"renew, {name}", other.models)
                sandbox.behave()
        shown = (tenant, tenant.settings, tenant.spec, tenant.whoami(), result, result.info, tenant.telemetry.summary())
        watched.texts["repr"] = "".join(map(repr, shown))
        watched.texts["html"] = "".join(one._repr_html_() for one in (tenant, tenant.whoami(), result))
        watched.texts["inside"] = repr(
            [vars(one) for one in (tenant._connection.context.guard, tenant._connection.context.guard.source)]
        )
        watched.texts["events"] = repr(events)
        watched.texts["spec"] = repr(pickle.dumps(tenant.spec))
        watched.texts["log"] = caplog.text + repr([vars(record) for record in caplog.records])
        watched.texts["sandbox"] = repr(sandbox.log)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            watched.texts[file.name] = file.read_bytes().decode("latin-1")
    watched.texts["stdout"], watched.texts["stderr"] = capfd.readouterr()
    kept = [json.loads(value)["refresh_token"] for value in ring.kept.values()]
    assert len(kept) == (auth == "authorization_code")
    watched.secrets |= set(kept)
    secrets = {secret for secret in watched.secrets if len(secret) >= leaks.PIECE_CHARS}
    assert len(secrets) >= (15 if auth == "authorization_code" else 4)
    assert len(watched.texts) > 30
    found = leaks.places(watched.texts, secrets)
    assert found == [], "\n".join(found[:20])


@pytest.mark.parametrize(
    "form",
    [
        "{secret}",
        "{half}\n    {other}",
        '"{half}" + "{other}"',
        "{quoted}",
        "{base64}",
        "Basic {basic}",
        "{json}",
        "{reversed}",
        "{hex}",
    ],
)
def test_the_search_finds_every_form(form: str) -> None:
    secret = CLIENT_SECRET
    written = form.format(
        secret=secret,
        half=secret[:17],
        other=secret[17:],
        quoted=quote(secret, safe=""),
        base64=base64.b64encode(secret.encode()).decode(),
        basic=base64.b64encode(f"sb-1!b2:{secret}".encode()).decode(),
        json=json.dumps(secret),
        reversed=secret[::-1],
        hex=secret.encode().hex(),
    )
    assert leaks.places({"text": f"before {written} behind"}, [secret])
    assert leaks.places({"text": "zQ9vWk4xH, 0f7a1c and others"}, [secret]) == []
