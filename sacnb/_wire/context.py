"""Build what every request goes through, once, out of the settings."""

from __future__ import annotations

import base64
import io
import random as _random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import requests
import urllib3

from sacnb._auth.endpoint import ClientCredentials, EndpointOptions
from sacnb._auth.guard import TokenGuard
from sacnb._auth.named_user import AuthorizationCode
from sacnb._auth.named_user_keyring import KeptLogin
from sacnb._auth.sources import JupyterServer, StaticToken, TokenSource, read_reply
from sacnb._auth.token import RefreshPolicy, utc_now
from sacnb._connections import WatchedAdapter, current_watch
from sacnb._settings import Settings
from sacnb._settings.ca_bundle import usable_bundle
from sacnb._settings.variables import ANSWER, DOCUMENT, Limits
from sacnb._wire.message import SAC, Service
from sacnb._wire.retry import RetryPlan, refresh_runner
from sacnb._wire.session import SacSession
from sacnb._wire.telemetry import Telemetry, discover
from sacnb.errors import AuthError, NoAnswerError, SettingsError

# All threads wait for a token, so it gets less time than a page of a million rows.
_TOKEN_READ_TIMEOUT_S: Final = 30.0
_TOKEN_DEADLINE_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """The engine that every sender receives; none of them builds its own."""

    session: SacSession
    guard: TokenGuard
    retry_plan: RetryPlan
    refresh_policy: RefreshPolicy
    telemetry: Telemetry

    def close(self) -> None:
        """Close the connections that are kept open; sending opens new ones."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build_context(
    settings: Settings,
    *,
    source: TokenSource | None = None,
    telemetry: Telemetry | None = None,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> DispatchContext:
    """Return the engine for *settings*; nothing is sent yet.

    ``source`` replaces the one that the settings ask for, ``telemetry`` the one that informs OpenTelemetry where it is
    installed. ``now`` is the wall clock, ``clock`` monotonic seconds, ``random`` gives numbers in [0, 1).
    Raises SettingsError where a setting is missing.
    """
    policy = RefreshPolicy(margin_s=settings.refresh_margin_s)
    plan = RetryPlan(max_attempts=settings.max_attempts, deadline_s=settings.deadline_s)
    return context_for(
        settings.tenant_url,
        source or _source(settings, policy),
        policy=policy,
        plan=plan,
        token_plan=replace(plan, deadline_s=min(settings.deadline_s, _TOKEN_DEADLINE_S)),
        telemetry=telemetry,
        timeout=(settings.connect_timeout_s, settings.read_timeout_s),
        limits=Limits(
            replace(ANSWER, megabytes=settings.max_answer_mb),
            replace(DOCUMENT, megabytes=settings.max_document_mb),
            settings.max_list_rows,
            settings.max_empty_pages,
        ),
        verify=_verify(settings),
        now=now,
        clock=clock,
        sleep=sleep,
        random=random,
    )


def context_for(
    url: str,
    source: TokenSource,
    *,
    policy: RefreshPolicy,
    plan: RetryPlan,
    token_plan: RetryPlan | None,
    service: Service = SAC,
    telemetry: Telemetry | None = None,
    timeout: tuple[float, float],
    limits: Limits,
    verify: bool | str,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> DispatchContext:
    """Return the engine for the *service* at *url*, whose tokens come from *source*; nothing is sent yet.

    ``token_plan`` is how the request for a token is repeated; ``None`` for a source that repeats it by itself.
    """
    telemetry = telemetry or Telemetry(exporter=discover())
    guard = TokenGuard(
        source,
        policy,
        run=None if token_plan is None else refresh_runner(token_plan, clock=clock, sleep=sleep, random=random),
        listener=telemetry.on_refresh,
        now=now,
        random=random,
    )
    session = SacSession(
        url,
        guard,
        service=service,
        retry_plan=plan,
        telemetry=telemetry,
        timeout=timeout,
        limits=limits,
        verify=verify,
        now=now,
        clock=clock,
        sleep=sleep,
        random=random,
    )
    if isinstance(source, JupyterServer):
        session.mount(url.rstrip("/") + "/", ThroughJupyter(source, pool_connections=4, pool_maxsize=16))
    return DispatchContext(session, guard, plan, policy, telemetry)


class ThroughJupyter(WatchedAdapter):
    """Sends reads of the tenant through the Jupyter server, which attaches the token and repeats what may be repeated.

    Its errors are raised here as they were raised there. Whatever writes is refused before it is sent.
    """

    def __init__(self, source: JupyterServer, **options: Any) -> None:
        self._source = source
        super().__init__(**options)

    def send(  # noqa: PLR0917 - the signature of requests
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Return the answer of the tenant. Raises its error, and NoAnswerError where the server does not answer."""
        del stream, cert, proxies
        if request.method != "GET":
            raise AuthError(
                "With SAC_AUTH=jupyter_server a kernel reads models, and writes nothing.",
                hint="Writing needs a client of its own: sacnb.connect(auth='client_credentials', ...).",
            )
        url, token = self._source.place
        asked = {**self._source.about, "path": request.path_url, "accept": request.headers.get("Accept")}
        passed_on = requests.Request(
            "POST", f"{url}/request/send", json=asked, headers={"Authorization": f"token {token.reveal()}"}
        ).prepare()
        failure = ""
        try:
            reply = super().send(passed_on, stream=False, timeout=timeout, verify=verify)
            status, body = reply.status_code, reply.content
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            watched = current_watch()
            if watched is not None and watched.ended is not None:
                raise requests.ConnectionError("ended") from None
            failure = type(error).__name__
        if failure:
            raise NoAnswerError(
                f"The Jupyter server did not answer ({failure}).",
                url=url,
                hint="Is it still running? Its log says more.",
            )
        return _as_response(request, read_reply(status, body))


def _as_response(request: requests.PreparedRequest, found: Mapping[str, Any]) -> requests.Response:
    body = base64.b64decode(found["body"]) if found["encoding"] == "base64" else found["body"].encode()
    response = requests.Response()
    response.status_code, response.url, response.request = found["status"], request.url or "", request
    response.headers.update(found["headers"])
    if found["request_id"] is not None:
        response.headers["x-request-id"] = found["request_id"]
    response.raw = urllib3.HTTPResponse(io.BytesIO(body), found["headers"], found["status"], preload_content=False)
    return response


def _source(settings: Settings, policy: RefreshPolicy) -> TokenSource:
    if settings.auth == "static":
        if settings.token is None:
            raise SettingsError("SAC_TOKEN is missing, and SAC_AUTH=static needs it.")
        return StaticToken(settings.token)
    if settings.auth == "jupyter_server":
        timeout = (settings.connect_timeout_s, min(settings.read_timeout_s, _TOKEN_READ_TIMEOUT_S))
        return JupyterServer(settings.tenant_url, settings.profile, timeout=timeout, verify=_verify(settings))
    client = (settings.token_url, settings.client_id, settings.client_secret)
    options = EndpointOptions(
        timeout=(settings.connect_timeout_s, min(settings.read_timeout_s, _TOKEN_READ_TIMEOUT_S)),
        deadline_s=min(settings.deadline_s, _TOKEN_DEADLINE_S),
        verify=_verify(settings),
        assumed_lifetime_s=settings.token_lifetime_s,
        max_skew_s=policy.max_skew_s,
    )
    if settings.auth != "authorization_code":
        return ClientCredentials(*client, options=options)
    # The sandbox ends with its process, and with it all logins.
    kept = None if settings.is_sandbox else KeptLogin.of(settings)
    return AuthorizationCode(*client, redirect_uri=settings.redirect_uri, kept=kept, options=options)


def _verify(settings: Settings) -> bool | str:
    if settings.ca_bundle is None:
        return True
    try:
        return usable_bundle(settings.ca_bundle)
    except ValueError as error:
        raise SettingsError(f"SAC_CA_BUNDLE {error}") from None
