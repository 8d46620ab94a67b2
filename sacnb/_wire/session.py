"""Send requests that stay authorised: ``requests`` for those who know it, ``fetch`` for everything of ours."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NoReturn

import requests
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import AuthBase
from requests.utils import default_user_agent
from requests_oauthlib import OAuth2Session

from sacnb._auth.guard import TokenGuard
from sacnb._auth.token import TokenEnvelope, utc_now
from sacnb._endpoints import CSRF_HEADER, CSRF_PATH, CUSTOM_AUTH_HEADER
from sacnb._http import Origin, environment_proxies, seal
from sacnb._redact import redact_url
from sacnb._settings import Secret
from sacnb._wire.exchange import CsrfKeeper, Exchange
from sacnb._wire.failures import redirected, unauthorized
from sacnb._wire.interrupt import Interrupt, InterruptibleAdapter
from sacnb._wire.message import (
    ACCEPT_ENCODING,
    Answer,
    Check,
    Demand,
    Expect,
    encode_body,
    may_be_repeated,
    request_id,
    with_query,
)
from sacnb._wire.retry import Campaign, RetryBudget, RetryPlan
from sacnb._wire.telemetry import FailureEvent, RequestEvent, Telemetry, current_trace_id, log
from sacnb.errors import AuthError, Cancelled, RequestError, SacError, SettingsError

__all__ = ["Answer", "SacSession"]

_MAX_REDIRECTS: Final = 5


class SacSession(OAuth2Session):
    """A session for one tenant, safe to share between threads, whose tokens come from a TokenGuard.

    It replaces what OAuth2Session does with tokens: its own renewal cannot serve client credentials (it posts
    ``grant_type=refresh_token`` without a token, and raises TokenUpdated), its DEBUG log prints tokens, and it keeps
    the token where threads overwrite each other's. Here a token travels with the request it is for, over https (plain
    http only to this machine), and to the tenant's own origin only, redirects included.

    ``get``, ``request`` and so on are those of ``requests``, authorised, with the one replay after a 401. ``fetch``
    adds the retries, the CSRF token, and the certainty that the answer is whole.

    The environment is read once, here: proxies for the tenant's host (NO_PROXY included) unless ``trust_env`` is
    False. Reading it with each request would double what a request costs, and lets a .netrc replace the token.
    ``timeout`` is the seconds to connect and to wait for the next bytes, ``verify`` True or a CA bundle's path,
    ``pool_size`` how many connections are kept. Raises SettingsError for an address that is not https.
    """

    def __init__(
        self,
        tenant_url: str,
        guard: TokenGuard,
        *,
        retry_plan: RetryPlan | None = None,
        telemetry: Telemetry | None = None,
        timeout: tuple[float, float] = (10.0, 120.0),
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
                f"SAC_TENANT_URL is {redact_url(tenant_url)!r}; expected https://<tenant> (plain http only to this "
                "machine)."
            )
        super().__init__(client=BackendApplicationClient(client_id=guard.principal))
        self.guard = guard
        self.telemetry = telemetry or Telemetry()
        self.csrf = CsrfKeeper()
        self.timeout = timeout
        self.now = now
        self.clock = clock
        self.sleep = sleep
        self._random = random
        self._plan = retry_plan or RetryPlan()
        self._origin = origin
        self._root = tenant_url.rstrip("/")
        self.trust_env = False
        self.proxies = environment_proxies(tenant_url) if trust_env else {}
        self.verify = verify
        self.max_redirects = _MAX_REDIRECTS
        self.headers.update(
            {
                "User-Agent": f"sacnb {default_user_agent()}",
                "Accept-Encoding": ACCEPT_ENCODING,
                CUSTOM_AUTH_HEADER: "true",
            }
        )
        for scheme in ("https://", "http://"):
            self.mount(scheme, InterruptibleAdapter(pool_connections=4, pool_maxsize=pool_size))

    def __repr__(self) -> str:
        return f"<SacSession {self._root}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session is not pickled: pass the settings and connect again where they arrive.")

    # -- the face of requests ----------------------------------------------------------------------------------------

    # Without the two arguments that only served OAuth2Session's own renewal.
    def request(  # type: ignore[override]  # noqa: PLR0917
        self,
        method: str,
        url: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        withhold_token: bool = False,  # noqa: FBT001, FBT002 - OAuth2Session's signature
        files: Any = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send one request as ``requests`` does, authorised; a path is taken as one of the tenant's.

        After a 401 it is sent once more with a fresh token, if its body can be sent again. Raises AuthError for a
        second 401 and for a redirect to another origin, RequestError for an address outside of the tenant, and the
        errors of ``requests``. ``withhold_token`` sends it without a token, wherever it goes.
        """
        kwargs.setdefault("timeout", self.timeout)
        url = self._absolute(url)
        try:
            for hook in self.compliance_hook["protected_request"] if not withhold_token else ():
                url, headers, data = hook(url, headers, data)
            if withhold_token:
                return requests.Session.request(self, method, url, data=data, headers=headers, files=files, **kwargs)
            with self.telemetry.operation("request"):
                return self._request(method, url, data=data, headers=headers, files=files, **kwargs)
        except BaseException as error:
            seal(error)
            raise

    def _request(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        token = self.guard.ensure().token
        response = self._send_with(token, method, url, **kwargs)
        if response.status_code != 401:
            return response
        log.warning(
            "request: SAC answered 401; the token is given up.", extra={"request_id": request_id(response.headers)}
        )
        self.guard.reject(token)
        response.close()
        # A stream or a file has been read to its end; a form, text or bytes are still there.
        if kwargs.get("files") or not isinstance(response.request.body, bytes | str | None):
            raise unauthorized("request", method, redact_url(url), "and its body cannot be sent a second time")
        fresh = self.guard.ensure().token
        if fresh.value == token.value:
            raise unauthorized("request", method, redact_url(url), "and the token service hands the rejected token out")
        response = self._send_with(fresh, method, url, **kwargs)
        if response.status_code == 401:
            response.close()
            raise unauthorized("request", method, redact_url(url), "also to a fresh token")
        return response

    def _send_with(self, token: TokenEnvelope, method: str, url: str, **kwargs: Any) -> requests.Response:
        started = self.clock()
        response = requests.Session.request(self, method, url, auth=_Bearer(token, self._origin), **kwargs)
        self.telemetry.on_request(
            RequestEvent(
                operation="request",
                method=method,
                url=redact_url(response.url),
                status=response.status_code,
                error_kind=None,
                elapsed_s=self.clock() - started,
                bytes_received=0 if kwargs.get("stream") else len(response.content),
                request_id=request_id(response.headers),
                trace_id=current_trace_id(),
            )
        )
        if response.is_redirect and kwargs.get("allow_redirects", True):
            response.close()
            raise redirected("request", response.url, response.headers["Location"])
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where to go on, if it is the tenant itself; a redirect to any other origin is never followed."""
        target = super().get_redirect_target(resp)
        return target if target is not None and Origin.of_link(resp.url, target) == self._origin else None

    def fetch_token(self, *_: Any, **__: Any) -> NoReturn:
        """Refuses: tokens come from the guard."""
        raise AuthError("A SacSession gets its tokens by itself.", hint="For a new one now: session.guard.force().")

    def refresh_token(self, *_: Any, **__: Any) -> NoReturn:
        """Refuses: tokens come from the guard."""
        self.fetch_token()

    @property
    def authorized(self) -> bool:
        """Whether a token that has not expired is at hand; sending gets one in any case."""
        token = self.guard.peek()
        return token is not None and not token.is_expired(self.now())

    # -- ours --------------------------------------------------------------------------------------------------------

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
    ) -> Answer:
        """Ask SAC, and get a good answer or one of our errors.

        Args:
            method: the HTTP method.
            path_or_url: a path of the tenant's, beginning with ``/``, or an address within the tenant, such as a
                next link; it is requested as it stands.
            operation: what this is for, in a word or two, for log, telemetry and errors.
            params: a query to append, encoded as SAC wants it (``%20``, never ``+``).
            headers: more headers.
            json: a value to send as JSON.
            data: bytes, text (sent as UTF-8) or a form to send.
            idempotent: whether sending it twice does no harm, so that it may be repeated when it is not known to have
                arrived; by default true for all methods but POST and PATCH, and with an ``Idempotency-Key``.
            accept: the ``Accept`` header.
            expect: what the body must look like; ``"any"`` checks nothing but that it is not a web page.
            check: called with each answer; BadAnswer(truncated=True) raised in it has the request sent again.
            cancelled: looked at before each try, between packets and during waits; true ends it with Cancelled. An
                ``Interrupt`` also ends the wait for a packet.
            budget: what may be spent on retries, shared with other requests.

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
        demand = Demand(
            method=method,
            url=with_query(self._absolute(path_or_url), params),
            operation=operation,
            headers=all_headers,
            body=body,
            is_idempotent=may_be_repeated(method, all_headers) if idempotent is None else idempotent,
            expect="any" if method == "HEAD" else expect,
            check=check,
        )
        _refuse_foreign(method, demand.url, self._origin)  # before anything is sent at all
        watching = cancelled.watching() if isinstance(cancelled, Interrupt) else nullcontext()
        with self.telemetry.operation(operation), watching:
            return self._carry_out(demand, self._plan, cancelled, budget)

    def _carry_out(
        self,
        demand: Demand,
        plan: RetryPlan,
        cancelled: Callable[[], bool] | None,
        budget: RetryBudget | None = None,
    ) -> Answer:
        campaign = Campaign(
            plan,
            demand.operation,
            clock=self.clock,
            sleep=self.sleep,
            random=self._random,
            cancelled=cancelled,
            budget=budget,
        )
        exchange = Exchange(self, demand, campaign)
        try:
            return campaign.run(exchange.attempt, exchange.on_wait)
        except BaseException as error:
            seal(error)
            if isinstance(error, SacError):
                error.outcome = error.outcome or campaign.outcome()
                if not isinstance(error, Cancelled):
                    status = getattr(error, "status", None)
                    self.telemetry.on_failure(
                        FailureEvent(demand.operation, type(error).__name__, status, current_trace_id())
                    )
            raise

    def transmit(
        self, demand: Demand, token: TokenEnvelope, csrf: Secret | None, timeout: tuple[float, float]
    ) -> requests.Response:
        """Send ``demand`` once, with ``token``; the body is left unread."""
        headers = demand.headers if csrf is None else {**demand.headers, CSRF_HEADER: csrf.reveal()}
        prepared = self.prepare_request(
            requests.Request(
                demand.method, demand.url, headers=headers, data=demand.body, auth=_Bearer(token, self._origin)
            )
        )
        return self.send(
            prepared,
            stream=True,
            timeout=timeout,
            # A redirected POST would become a GET, or be sent twice; neither is what was asked for.
            allow_redirects=demand.is_safe,
            verify=self.verify,
            cert=self.cert,
            proxies=self.proxies,
        )

    def _absolute(self, path_or_url: str) -> str:
        is_path = path_or_url.startswith("/") and not path_or_url.startswith("//")  # the latter names a host
        return self._root + path_or_url if is_path else path_or_url

    def fetch_csrf(self, campaign: Campaign) -> None:
        """Have SAC give a CSRF token, which the exchange finds in the answer and keeps; within ``campaign``'s time."""
        demand = Demand(
            method="GET",
            url=self._absolute(CSRF_PATH),
            operation="csrf",
            headers={"Accept": "application/json", CSRF_HEADER: "fetch"},
            body=None,
            is_idempotent=True,
            expect="any",
        )
        plan = replace(self._plan, deadline_s=max(campaign.remaining_s(), 0.0))
        self._carry_out(demand, plan, campaign.cancelled)


class _Bearer(AuthBase):
    """Attaches a token to a prepared request, if it goes where the token may go."""

    def __init__(self, token: TokenEnvelope, origin: Origin) -> None:
        self._token = token
        self._origin = origin

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Judged on the prepared address, which is the one that is connected to.
        _refuse_foreign(request.method or "", request.url or "", self._origin)
        request.headers["Authorization"] = f"Bearer {self._token.value.reveal()}"
        return request


def _refuse_foreign(method: str, url: str, origin: Origin) -> None:
    if Origin.of(url) != origin:
        shown = redact_url(url)
        raise RequestError(
            f"{shown} is not an address of the tenant {origin.host}; the token is not sent there.",
            method=method,
            url=shown,
        )
