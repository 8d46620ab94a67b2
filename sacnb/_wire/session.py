"""Session with a valid token: ``get`` and ``request`` as in ``requests``, ``fetch`` with retries and checks."""

from __future__ import annotations

import contextlib
import random as _random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NoReturn

import requests
import urllib3
from requests_oauthlib import OAuth2Session

from sacnb._auth.guard import TokenGuard
from sacnb._auth.token import TokenEnvelope, utc_now
from sacnb._connections import current_watch, prepare_session, watch
from sacnb._endpoints import CSRF_HEADER, CSRF_PATH
from sacnb._http import Origin, environment_proxies, seal
from sacnb._redact import redact_url
from sacnb._settings.variables import Limits
from sacnb._wire.authorizer import Bearer, GuardedSession, UselessRenewals, refuse_foreign
from sacnb._wire.exchange import Csrf, CsrfKeeper, Engine, authorizer_for, carry_out, read_refusal, received_from
from sacnb._wire.failures import redirected, too_late, too_long
from sacnb._wire.message import (
    ACCEPT_ENCODING,
    SAC,
    Answer,
    Check,
    Expect,
    Received,
    Request,
    Service,
    TooLong,
    encode_body,
    may_be_repeated,
    read_whole,
    request_id,
    with_query,
)
from sacnb._wire.retry import RetryBudget, RetryPlan
from sacnb._wire.telemetry import RequestEvent, Telemetry, current_trace_id
from sacnb.errors import SettingsError

__all__ = ["Answer", "SacSession"]

_MAX_REDIRECTS: Final = 5


class SacSession(GuardedSession):
    """A session for one tenant, safe to share between threads, whose tokens come from a TokenGuard.

    A token travels with the request it is for, over https (plain http only to this machine), and to the tenant's own
    origin only, redirects included.

    ``get``, ``request`` and so on are those of ``requests``, authorised: a refused token is renewed once. ``fetch``
    adds the retries, the CSRF token, and the certainty that the answer is whole. No cookies are kept, but for those of
    a CSRF token; answers are bounded by ``limits``.

    The environment is read once, here: proxies for the tenant's host (NO_PROXY included) unless ``trust_env`` is
    False. Reading it with each request would double what a request costs, and lets a .netrc replace the token.
    ``timeout`` is the seconds to connect and to wait for the next bytes, ``verify`` True or a CA bundle's path,
    ``pool_size`` how many connections are kept, ``service`` another service than SAC. Raises SettingsError for
    an address that is not https.
    """

    def __init__(
        self,
        tenant_url: str,
        guard: TokenGuard,
        *,
        service: Service = SAC,
        retry_plan: RetryPlan | None = None,
        telemetry: Telemetry | None = None,
        timeout: tuple[float, float] = (10.0, 120.0),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        verify: bool | str = True,
        trust_env: bool = True,
        pool_size: int = 64,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
    ) -> None:
        origin = Origin.of(tenant_url)
        if origin is None or not origin.may_carry_secrets:
            raise SettingsError(
                f"{service.address_setting} is {redact_url(tenant_url)!r}; expected https://<tenant> (plain http "
                "only to this machine)."
            )
        super().__init__(guard, now)
        self.telemetry = telemetry or Telemetry()
        self.limits = limits
        self.timeout = timeout
        self.clock = clock
        self.sleep = sleep
        self._origin = origin
        self._service = service
        self._root = tenant_url.rstrip("/")
        self._engine = Engine(
            guard=guard,
            telemetry=self.telemetry,
            plan=retry_plan or RetryPlan(),
            timeout=timeout,
            csrf=CsrfKeeper(),
            csrf_url=self._root + CSRF_PATH,
            useless=UselessRenewals(),
            transmit=self._transmit,
            now=now,
            clock=clock,
            sleep=sleep,
            random=random,
        )
        prepare_session(self, pool_size=pool_size)
        self.auth = None  # OAuth2Session's own stands in the way of one that a user sets
        self.proxies = environment_proxies(tenant_url) if trust_env else {}
        self.verify = verify
        self.max_redirects = _MAX_REDIRECTS
        self.headers.update({"Accept-Encoding": ACCEPT_ENCODING, **service.headers})

    def __repr__(self) -> str:
        return f"<SacSession {self._root}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session is not pickled: pass the settings and connect again where they arrive.")

    # -- the face of requests ----------------------------------------------------------------------------------------

    def request(  # type: ignore[override]  # noqa: PLR0917
        self,
        method: str,
        url: str | bytes,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        withhold_token: bool = False,  # noqa: FBT001, FBT002 - OAuth2Session's signature
        files: Any = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send one request as ``requests`` does, authorised; a path is taken as one of the tenant's.

        After a 401 it is sent once more with a fresh token, if its body can be sent again. Raises AuthError for a
        second 401 and for a redirect to another origin, RequestError for an address outside of the tenant,
        NoAnswerError at the deadline, BadAnswer for an answer that is too long, and the errors of ``requests``.
        ``withhold_token`` sends it without a token, wherever it goes; so does an ``auth`` of your own.
        """
        kwargs.setdefault("timeout", self.timeout)
        for unused in ("client_id", "client_secret"):  # of OAuth2Session's own renewal
            kwargs.pop(unused, None)
        address = self._absolute(url.decode() if isinstance(url, bytes) else url)
        method = method.upper()
        auth = kwargs.pop("auth", None) or self.auth
        is_ours = not withhold_token and auth is None
        request = Request(
            method, address, "request", {}, None, may_be_repeated(method, headers or {}), "any", None, self._service
        )
        try:
            for hook in self.compliance_hook["protected_request"] if is_ours else ():
                address, headers, data = hook(address, headers, data)
            options = {**kwargs, "data": data, "headers": headers, "files": files}
            with self.telemetry.operation("request"), watch(self._engine.plan.deadline_s) as watched:
                try:
                    if is_ours:
                        response = self._request(request, address, options)
                    else:
                        response = super(OAuth2Session, self).request(method, address, auth=auth, **options)
                except (requests.RequestException, urllib3.exceptions.HTTPError):
                    if watched.ended is None:
                        raise
                else:
                    # The end of a body that ends with its connection looks the same when that was shut down.
                    if watched.ended is None or options.get("stream"):
                        return response
                    response.close()
                raise too_late(request, self._engine.plan.deadline_s).error
        except BaseException as error:
            seal(error)
            raise

    def _request(self, request: Request, url: str, options: dict[str, Any]) -> requests.Response:
        last: list[requests.Response] = []
        body = options["data"]
        # A stream or a file has been read to its end; a form, text or bytes are still there.
        is_kept = not options["files"] and not hasattr(body, "read") and not hasattr(body, "__next__")

        def send(token: TokenEnvelope) -> Received:
            _close(last)
            started = self.clock()
            bearer = Bearer(token, self._origin)
            response = super(OAuth2Session, self).request(request.method, url, auth=bearer, **options)
            last.append(response)
            self.telemetry.on_request(
                RequestEvent(
                    operation=request.operation,
                    method=request.method,
                    url=redact_url(response.url),
                    status=response.status_code,
                    error_kind=None,
                    elapsed_s=self.clock() - started,
                    bytes_received=0 if options.get("stream") else len(response.content),
                    request_id=request_id(response.headers),
                    trace_id=current_trace_id(),
                )
            )
            return received_from(response, b"" if options.get("stream") else response.content)

        try:
            authorizer_for(self._engine, request).send(send, can_be_sent_again=is_kept)
        except BaseException:
            _close(last)
            raise
        (response,) = last
        if response.is_redirect and options.get("allow_redirects", True):
            response.close()
            raise redirected(request, response.url, response.headers["Location"])
        return response

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a prepared request as ``requests`` does. Redirects within its origin are followed, and no others.

        requests would read the body of a redirect whatever its length, and connect to another host than the one that
        a check of the ``Location`` sees. Raises BadAnswer for an answer that is too long, unless it is streamed.
        """
        follows, stream = kwargs.pop("allow_redirects", True), kwargs.pop("stream", self.stream)
        history: list[requests.Response] = []
        while True:
            response = super().send(request, stream=True, allow_redirects=False, **kwargs)
            following = self._following(request, response) if follows and response.is_redirect else None
            if following is None:
                break
            read_refusal(response)  # a short body is read to its end, so that its connection can be used again
            response.close()
            history.append(response)
            if len(history) > self.max_redirects:
                raise requests.TooManyRedirects(f"more than {self.max_redirects} redirects", response=response)
            request = following
        response.history = history
        try:
            if not stream:
                read_whole(response, self.limits.answer.megabytes * 1_000_000)
        except TooLong:
            sent = Request(request.method or "", response.url, "request", {}, None, is_idempotent=True, expect="any")
            raise too_long(replace(sent, service=self._service, bound=self.limits.answer)).error from None
        return response

    def _following(
        self, request: requests.PreparedRequest, response: requests.Response
    ) -> requests.PreparedRequest | None:
        """Return the request to which a redirect leads, if that is to the same origin."""
        origin = Origin.of(request.url or "")
        location = response.headers["Location"]
        with contextlib.suppress(UnicodeError):
            location = location.encode("latin-1").decode()  # http.client reads every byte as a character
        url = origin.resolve(response.url, location) if origin is not None else None
        if url is None:
            return None
        following = request.copy()
        following.url = url
        self.rebuild_method(following, response)
        if response.status_code not in {307, 308}:
            following.body = None
            for name in ("Content-Length", "Content-Type", "Transfer-Encoding"):
                following.headers.pop(name, None)
        elif hasattr(following.body, "__next__") or hasattr(following.body, "read"):
            return None  # it was read while it was sent
        return following

    # -- requests with retries and checks ----------------------------------------------------------------------------

    def fetch(
        self,
        method: str,
        path_or_url: str,
        *,
        operation: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | str | Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        accept: str = "application/json",
        expect: Expect = "json",
        check: Check | None = None,
        cancelled: Callable[[], bool] | None = None,
        budget: RetryBudget | None = None,
        is_bulk: bool = False,
    ) -> Answer:
        """Ask SAC, and get a good answer or one of our errors.

        Args:
            method: the HTTP method.
            path_or_url: a path of the tenant's, beginning with ``/``, or an address within the tenant, such as a
                next link; it is requested as it stands.
            operation: name of the operation for log, telemetry and errors.
            params: a query to append, encoded as SAC wants it (``%20``, never ``+``).
            headers: more headers.
            json: a value to send as JSON.
            data: bytes, text (sent as UTF-8) or a form to send.
            idempotent: whether sending it twice does no harm, so that it may be repeated when it is not known to have
                arrived; by default true for all methods but POST and PATCH, and with an ``Idempotency-Key``.
            accept: the ``Accept`` header.
            expect: format of the body; ``"any"`` checks only that it is not a web page.
            check: called with each answer; BadAnswer(truncated=True) raised in it has the request sent again.
            cancelled: called before each attempt, between packets and during waits; true ends it with Cancelled. An
                ``Interrupt`` also ends the wait for a packet.
            budget: retries left, shared with other requests.
            is_bulk: for rows, which may be as long as SAC_MAX_ANSWER_MB; others have SAC_MAX_DOCUMENT_MB.

        Raises:
            AuthError: two 401 in a row, no token (RefreshError), or a login page.
            RequestError: any other refusal, as ForbiddenError, NotFoundError, LiveConnectionError, ThrottledError,
                ServerError; NoAnswerError where none came.
            BadAnswer: the answer is cut short or foreign.
            Cancelled: ``cancelled`` said so.
        """
        method = method.upper()
        body, content_type = encode_body(json, data)
        typed = {"Content-Type": content_type} if content_type else {}
        all_headers = {"Accept": accept, **typed, **(headers or {})}
        limits = self.limits
        request = Request(
            method=method,
            url=with_query(self._absolute(path_or_url), params),
            operation=operation,
            headers=all_headers,
            body=body,
            is_idempotent=may_be_repeated(method, all_headers) if idempotent is None else idempotent,
            expect="any" if method == "HEAD" else expect,
            check=check,
            service=self._service,
            bound=limits.answer if is_bulk or limits.answer.megabytes < limits.document.megabytes else limits.document,
        )
        refuse_foreign(method, request.url, self._origin)  # before anything is sent at all
        around = current_watch()
        if cancelled is None and around is not None:  # such as that of a widget, which stops all that its thread sends
            cancelled = lambda: around.ended == "stopped"  # noqa: E731
        with self.telemetry.operation(operation):
            return carry_out(self._engine, request, cancelled=cancelled, budget=budget)

    def _transmit(
        self, request: Request, token: TokenEnvelope, csrf: Csrf | None, timeout: tuple[float, float]
    ) -> requests.Response:
        """Send *request* once; the body is left unread."""
        headers = request.headers if csrf is None else {**request.headers, CSRF_HEADER: csrf.value.reveal()}
        prepared = self.prepare_request(
            requests.Request(
                request.method,
                request.url,
                headers=headers,
                data=request.body,
                cookies=None if csrf is None else csrf.cookies,
                auth=Bearer(token, self._origin),
            )
        )
        return self.send(
            prepared,
            stream=True,
            timeout=timeout,
            # A redirected POST would become a GET, or be sent twice; neither is what was asked for.
            allow_redirects=request.is_safe,
            verify=self.verify,
            cert=self.cert,
            proxies=self.proxies,
        )

    def _absolute(self, path_or_url: str) -> str:
        is_path = path_or_url.startswith("/") and not path_or_url.startswith("//")  # the latter names a host
        return self._root + path_or_url if is_path else path_or_url


def _close(responses: list[requests.Response]) -> None:
    while responses:
        responses.pop().close()
