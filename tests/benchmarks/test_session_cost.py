"""What a request costs in the session itself, beside the bare OAuth2Session: without a network, and over loopback.

Measured side by side, in turns, so that whatever else the machine does falls on both; the best of many rounds counts,
since noise only ever adds. Recorded for docs/performance.md, and not asserted in seconds: run it with ``make bench``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests.adapters import BaseAdapter
from requests_oauthlib import OAuth2Session
from urllib3 import HTTPResponse

from sacnb._auth import TokenEnvelope, TokenGuard
from sacnb._settings import Secret
from sacnb._wire import SacSession

pytestmark = pytest.mark.benchmark

BODY = b'{"value":[' + b",".join(b'{"Date":"202401","Employees":%d}' % n for n in range(100)) + b"]}"
PATH = "/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData?$select=Date,Employees&pagesize=50000"
ROUNDS = 15


class Nothing(BaseAdapter):
    """An adapter that answers at once, so that only the session's own work is left."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        response = requests.Response()
        response.status_code = 200
        response.url = request.url or ""
        response.request = request
        response.headers.update({"Content-Type": "application/json", "Content-Length": str(len(BODY))})
        response.raw = HTTPResponse(BytesIO(BODY), headers=response.headers, status=200, preload_content=False)
        return response

    def close(self) -> None:
        """Nothing to close."""


class Source:
    name = principal = "benchmark"
    renewable = True

    def fetch(self, now: datetime) -> TokenEnvelope:
        return TokenEnvelope(Secret("t" * 900), now, now + timedelta(hours=1))


@pytest.fixture
def loopback() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet per answer

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def ours(url: str) -> SacSession:
    return SacSession(url, TokenGuard(Source()))


def bare() -> OAuth2Session:
    token = {"access_token": "t" * 900, "token_type": "bearer", "expires_at": time.time() + 3600}
    return OAuth2Session(client=BackendApplicationClient("benchmark"), token=token)


def microseconds(calls: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """The least that each call cost per request, taken in turns."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(count):
                call()
            best[name] = min(best[name], (time.perf_counter() - started) / count * 1e6)
    return best


Record = Callable[[str, Any], None]


def report(title: str, cost: dict[str, float]) -> None:
    base = cost["bare OAuth2Session.get"]
    print(f"\n{title}")
    for name, us in cost.items():
        print(f"  {name:<34}{us:8.1f} µs   {us / base:5.2f} x   {us - base:+8.1f} µs")


def test_without_a_network(record_property: Record) -> None:
    url = "https://acme.eu10.hcs.cloud.sap"
    session, peer = ours(url), bare()
    for one in (session, peer):
        one.mount("https://", Nothing())
    cost = microseconds(
        {
            "bare OAuth2Session.get": lambda: peer.get(url + PATH).content,
            "SacSession.get": lambda: session.get(url + PATH).content,
            "SacSession.fetch": lambda: session.fetch("GET", url + PATH, operation="x").body,
            "of it: guard.ensure": session.guard.ensure,
        },
        200,
    )
    report("a request without a network", cost)
    record_property("request_bare_us", cost["bare OAuth2Session.get"])
    record_property("request_ours_us", cost["SacSession.fetch"])
    record_property("request_guard_us", cost["of it: guard.ensure"])
    peer.trust_env = False
    report(
        "the same, the bare session not reading the environment either",
        microseconds(
            {
                "bare OAuth2Session.get": lambda: peer.get(url + PATH).content,
                "SacSession.fetch": lambda: session.fetch("GET", url + PATH, operation="x").body,
            },
            200,
        ),
    )
    assert session.fetch("GET", url + PATH, operation="x").body == BODY


def test_over_loopback(loopback: str, monkeypatch: pytest.MonkeyPatch, record_property: Record) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    session, peer = ours(loopback), bare()
    with session, peer:
        cost = microseconds(
            {
                "bare OAuth2Session.get": lambda: peer.get(loopback + PATH).content,
                "SacSession.get": lambda: session.get(loopback + PATH).content,
                "SacSession.fetch": lambda: session.fetch("GET", loopback + PATH, operation="x").body,
            },
            50,
        )
        report("a request over loopback", cost)
        record_property("loopback_bare_us", cost["bare OAuth2Session.get"])
        record_property("loopback_ours_us", cost["SacSession.fetch"])
        assert session.fetch("GET", loopback + PATH, operation="x").body == BODY
