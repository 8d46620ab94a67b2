"""One login in the browser: the link, and the code that comes back to this machine or is pasted."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from sacnb._redact import one_line, redact_text
from sacnb._settings import Secret
from sacnb._settings.tenant_url import is_loopback
from sacnb.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Listener", "LoginAttempt", "is_served_here", "read_pasted"]

_VERIFIER_CHARS: Final = 96
_REQUEST_TIMEOUT_S: Final = 10
_WAIT_SLICE_S: Final = 0.2
_AGAIN: Final = "Log in again: sacnb login, %sac login, or tenant.login()."
_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>sacnb</title>'
    "<p>{text}</p><p>You can close this tab.</p></html>"
)
_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address of the page holds the code
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One login that was begun: ``url`` is the link, the other values tell its answer from any other."""

    url: str = field(repr=False)
    redirect_uri: str
    state: Secret
    verifier: Secret
    nonce: str = field(repr=False)

    @classmethod
    def make(cls, authorize_url: str, client_id: str, redirect_uri: str, scope: str) -> LoginAttempt:
        """Return a login with a state, a nonce and a PKCE verifier of its own."""
        from oauthlib.common import add_params_to_uri
        from oauthlib.oauth2 import WebApplicationClient

        client = WebApplicationClient(client_id)
        verifier = Secret(client.create_code_verifier(_VERIFIER_CHARS))
        state, nonce = Secret(secrets.token_urlsafe(32)), secrets.token_urlsafe(32)
        parameters = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "state": state.reveal(),
            "nonce": nonce,
            "code_challenge": client.create_code_challenge(verifier.reveal(), "S256"),
            "code_challenge_method": "S256",
            **({"scope": scope} if scope else {}),
        }
        return cls(add_params_to_uri(authorize_url, list(parameters.items())), redirect_uri, state, verifier, nonce)

    def is_mine(self, answer: Mapping[str, str]) -> bool:
        """Return whether the state of an answer is that of this login.

        A refusal may come without a state, though RFC 6749 asks for one: it gives nobody anything.
        """
        if "state" not in answer and answer.get("error"):
            return True
        return hmac.compare_digest(answer.get("state", "").encode(), self.state.reveal().encode())

    def code_in(self, answer: Mapping[str, str]) -> Secret:
        """Return the code of an answer. Raises AuthError for a refusal, another login's answer, or none."""
        if not self.is_mine(answer):
            raise AuthError("The answer belongs to another login (its state differs), so it is not used.", hint=_AGAIN)
        if answer.get("error"):
            why = one_line(redact_text(" ".join(filter(None, map(answer.get, ("error", "error_description"))))), 200)
            hint = _AGAIN
            if answer["error"] in {"unauthorized_client", "invalid_scope", "invalid_request"}:
                hint = "Look at the OAuth client: its purpose must be Interactive Usage, and its redirect URI this one."
            raise AuthError(f"SAC refused the login: {why}.", hint=hint)
        if not answer.get("code"):
            raise AuthError("The answer to the login holds no code.", hint=_AGAIN)
        return Secret(answer["code"])


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of an answer; one that is repeated is none, since it is not clear which is meant."""
    try:
        return {name: values[0] for name, values in parse_qs(query, max_num_fields=50).items() if len(values) == 1}
    except ValueError:
        return {}


def read_pasted(attempt: LoginAttempt, pasted: Secret) -> Secret:
    """Return the code in what a user pasted: the address that the browser was sent to, or the code alone.

    A code alone has no state; that it belongs to this login is then up to PKCE. Raises AuthError.
    """
    text = pasted.reveal().strip().strip("'\"")
    if "://" in text or "code=" in text or "error=" in text:
        query = text.partition("?")[2] if "?" in text else text
        return attempt.code_in(_parameters(query.partition("#")[0]))
    if not text or any(character.isspace() for character in text):
        raise AuthError(
            "Neither a code nor an address was pasted.",
            hint="After the login, copy the whole address of the page that your browser shows, even if it is an error.",
        )
    return Secret(text)


class Listener:
    """Sends the browser to SAC, waits on this machine until SAC sends it back, and answers it once.

    ``redirect_uri`` is loopback; port 0 takes a free one. The browser is started with a link to this listener, which
    works once: other users of the machine can read the command lines of browsers, and must not read the state. Only
    the request with the right path and the state of the login is taken; anything else gets an error page and changes
    nothing. Nothing is logged: the request holds the code.
    """

    def __init__(self, redirect_uri: str) -> None:
        parts = urlsplit(redirect_uri)
        host = parts.hostname or ""
        self._path = parts.path or "/"
        self._start: str | None = f"/login-{secrets.token_urlsafe(24)}"
        self._attempt: LoginAttempt | None = None
        self._answer: dict[str, str] | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        family = _V6Server if ":" in host else _Server
        address = ("::1" if ":" in host else "127.0.0.1", parts.port or 0)
        try:
            self._server = family(address, _handler(self))
        except OSError as error:
            raise AuthError(
                f"Port {address[1]} of this machine, to which SAC sends the browser back, cannot be used: "
                f"{error.strerror or error}.",
                hint="Close the program that uses it, register another SAC_REDIRECT_URI with the OAuth client, or "
                "paste the address (sacnb login --paste, %sac login --paste).",
            ) from None
        shown = f"[{host}]" if ":" in host else host
        self.redirect_uri = f"{parts.scheme}://{shown}:{self._server.server_address[1]}{parts.path}"

    @contextmanager
    def serving(self, attempt: LoginAttempt) -> Iterator[str]:
        """Serve while *attempt* waits for its answer; gives the link that begins it."""
        self._attempt = attempt
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sacnb-login", daemon=True)
        thread.start()
        try:
            scheme, _, rest = self.redirect_uri.partition("://")
            yield f"{scheme}://{rest.partition('/')[0]}{self._start}"
        finally:
            self._server.shutdown()
            thread.join()
            self.close()

    def close(self) -> None:
        """Stop listening."""
        self._server.server_close()

    def wait(self, timeout_s: float, clock: Callable[[], float]) -> Mapping[str, str]:
        """Return the parameters of the answer. Raises AuthError when the time is up."""
        end = clock() + timeout_s
        # In slices: a wait without an end cannot be interrupted on Windows.
        while not self._done.wait(_WAIT_SLICE_S):
            if clock() >= end:
                raise AuthError(f"Nobody logged in within {timeout_s:g} s.", hint=_AGAIN)
        answer = self._answer
        assert answer is not None  # noqa: S101 - set before the event
        return answer

    def begin(self, path: str) -> str | None:
        """Return the address of SAC's login for a request that begins it; the first one only."""
        with self._lock:
            if self._attempt is None or self._start is None or path != self._start:
                return None
            self._start = None
            return self._attempt.url

    def take(self, path: str) -> tuple[int, str]:
        """Take the request for *path* if it is the answer; return status and text of the page."""
        parts = urlsplit(path)
        if parts.path != self._path:
            if parts.path.startswith("/login-"):
                return 410, "This link works once, and was used already. Begin the login again."
            return 404, "There is nothing here."
        answer = _parameters(parts.query)
        with self._lock:
            if self._attempt is None or not self._attempt.is_mine(answer):
                return 400, "This address belongs to no login of this program."
            if self._answer is not None:
                return 410, "This login has been answered already."
            self._answer = answer
        if answer.get("error"):
            return 200, "The login was refused. The program shows the reason."
        return 200, "Welcome. The login is complete, and the program continues."

    def finish(self) -> None:
        """Let the program continue: the browser has its page."""
        if self._answer is not None:
            self._done.set()


class _Server(ThreadingHTTPServer):
    # Browsers open connections that they do not use: a thread each, and nobody waits for them.
    daemon_threads = True
    block_on_close = False
    # A login soon after another one finds the port free; on Windows the option would share it with strangers.
    allow_reuse_address = os.name != "nt"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a traceback could hold the code, and a browser that left is no failure."""


class _V6Server(_Server):
    address_family = socket.AF_INET6


def _handler(listener: Listener) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT_S
        server_version, sys_version = "sacnb", ""

        def do_GET(self) -> None:
            headers = {**_HEADERS, "Connection": "close"}
            if (location := listener.begin(self.path)) is not None:
                status, text = 302, "The login begins."
                headers["Location"] = location
            else:
                status, text = listener.take(self.path)
            body = _PAGE.format(text=text).encode()
            headers["Content-Length"] = str(len(body))
            self.close_connection = True
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
                self.wfile.flush()
            finally:
                listener.finish()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of http.server
            """Log nothing: the request line holds the code."""

    return Handler


def is_served_here(redirect_uri: str) -> bool:
    """Return whether *redirect_uri* leads to this machine, over plain http."""
    parts = urlsplit(redirect_uri)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")
