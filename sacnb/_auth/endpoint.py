"""Get tokens for an OAuth client: post to the token endpoint, or raise an error that names the variable to look at."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit

import requests
import urllib3

from sacnb._auth.token import MAX_LIFETIME_S, PROCESS_WARNINGS, TokenEnvelope, WarnOnce, envelope_from_reply
from sacnb._connections import Watch, open_session, watch
from sacnb._http import (
    causes,
    environment_proxies,
    in_words,
    is_certificate_error,
    is_web_page,
    read_http_date,
    read_retry_after_s,
    seal,
)
from sacnb._redact import one_line, redact_text
from sacnb._settings import Secret
from sacnb._settings.tenant_url import TOKEN_URL_EXAMPLE, check_token_url
from sacnb.errors import Cancelled, RefreshError, SettingsError

# A token reply is a few kilobytes. A longer one is something else, and must not fill the memory.
_MAX_REPLY_BYTES: Final = 1_000_000
_CHUNK_BYTES: Final = 65_536
_MAX_QUOTED: Final = 200

_CLIENT_HINT: Final = (
    "Look at SAC_CLIENT_ID and SAC_CLIENT_SECRET (System > Administration > App Integration; in .env the secret needs "
    "single quotes), and whether SAC_TOKEN_URL belongs to the same tenant."
)
_URL_HINT: Final = (
    "Look at SAC_TOKEN_URL: copy the 'Token URL' of System > Administration > App Integration, such as "
    f"{TOKEN_URL_EXAMPLE}."
)
_NETWORK_HINT: Final = (
    "Look at SAC_TOKEN_URL, and at the network: VPN, the proxy variables, and SAC_CA_BUNDLE where a proxy re-signs TLS."
)
# The codes of RFC 6749 that may pass by themselves; every other one needs a change first.
_PASSING_CODES: Final = frozenset({"temporarily_unavailable", "server_error"})
_PASSING_STATUSES: Final = frozenset({408, 425, 429})
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL.
_WRONG_HOST: Final = frozenset({62, 64})


@dataclass(frozen=True, slots=True)
class TokenReply:
    """The JSON object of a successful reply, hidden from ``repr``, and the server's clock when the request was sent."""

    fields: Mapping[str, Any] = field(repr=False)
    server_date: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """Options of the requests to a token endpoint, and of the tokens in its replies.

    ``timeout`` is the seconds to connect and to wait for bytes; their sum, at most ``deadline_s``, is the limit of the
    whole exchange. ``verify`` is a CA bundle's path or True; proxies are taken from the environment unless
    ``trust_env`` is False. ``assumed_lifetime_s`` is for a token whose reply tells none, and ``max_skew_s`` the
    difference of the server's clock from ours that is ignored.
    """

    timeout: tuple[float, float] = (10.0, 30.0)
    deadline_s: float | None = None
    verify: bool | str = True
    trust_env: bool = True
    assumed_lifetime_s: float = MAX_LIFETIME_S
    max_skew_s: float = 30.0
    warn_once: WarnOnce = PROCESS_WARNINGS


class TokenEndpoint:
    """Posts forms to a token endpoint, each over a connection of its own, and reads the tokens in its replies.

    Tokens are requested once an hour: a session kept for them would go stale, and could not be shared by threads.
    Redirects are not followed, since the form or its header holds the client's secret. Raises SettingsError for an
    address that is not https (plain http is allowed to this machine only).
    """

    def __init__(self, url: str, options: EndpointOptions) -> None:
        try:
            self._url = check_token_url(url)
        except ValueError as error:
            problem = f"SAC_TOKEN_URL {error}"
        else:
            problem = ""
        if problem:
            raise SettingsError(problem)
        self.host = urlsplit(url).hostname or ""
        whole_s = sum(options.timeout)
        self._deadline_s = whole_s if options.deadline_s is None else min(whole_s, options.deadline_s)
        self._options = options
        self._proxies = environment_proxies(url) if options.trust_env else {}

    def post(self, form: Mapping[str, Secret | str], *, basic: tuple[str, Secret] | None, now: datetime) -> TokenReply:
        """Send ``form``, with id and secret of ``basic`` in a header, and read the reply.

        Raises RefreshError, whose text repeats no secret and whose traceback holds none; Cancelled where a pull that
        waits for the token is stopped.
        """
        authorization = None
        if basic is not None:
            pair = f"{basic[0]}:{basic[1].reveal()}".encode()
            authorization = Secret(base64.b64encode(pair).decode("ascii"))
            del pair
        try:
            return self._post(form, authorization, now)
        except BaseException as error:
            seal(error)
            raise

    def token_in(self, reply: TokenReply, now: datetime) -> TokenEnvelope:
        """Return the token in *reply*, which was asked for at *now*. Raises RefreshError."""
        return envelope_from_reply(
            reply.fields,
            now=now,
            server_date=reply.server_date,
            assumed_lifetime_s=self._options.assumed_lifetime_s,
            max_skew_s=self._options.max_skew_s,
            warn_once=self._options.warn_once,
        )

    def _post(self, form: Mapping[str, Secret | str], authorization: Secret | None, now: datetime) -> TokenReply:
        headers = {
            "Accept": "application/json",
            # Two kilobytes gain nothing by compression, and a reply that drips in is simpler to bound.
            "Accept-Encoding": "identity",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if authorization is not None:
            headers["Authorization"] = f"Basic {authorization.reveal()}"
        plain = {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}
        failure: Exception | None = None
        with open_session() as session, watch(self._deadline_s) as watched:
            try:
                with session.post(
                    self._url,
                    data=urlencode(plain).encode("ascii"),
                    headers=headers,
                    timeout=self._options.timeout,
                    verify=self._options.verify,
                    proxies=self._proxies,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    # The body of a redirect is not read: it may be endless, and says nothing.
                    is_redirect = 300 <= response.status_code < 400
                    body = b"" if is_redirect else b"".join(_chunks(response))
            # ValueError: requests and http.client raise it for headers that cannot be parsed.
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                failure = self._no_answer(error)
        failure = self._end_of(watched) or failure
        if failure is not None:
            # Raised out here, so that the error of requests, with the request on it, is not its context.
            raise failure
        date = read_http_date(response.headers.get("Date"))
        if response.status_code != 200:
            raise self._refusal(response, body, date, now)
        return TokenReply(self._read_success(response, body), _sent_at(date, response.elapsed))

    def _end_of(self, watched: Watch) -> Exception | None:
        if watched.ended == "stopped":
            return Cancelled("The operation was cancelled while it waited for a token.")
        if watched.ended == "deadline":
            return RefreshError(
                f"The token endpoint {self.host} did not answer within {self._deadline_s:g} s.", hint=_NETWORK_HINT
            )
        return None

    def _no_answer(self, error: Exception) -> RefreshError:
        if is_certificate_error(error):
            return self._untrusted(error)
        return RefreshError(
            f"The token endpoint {self.host} did not answer: {in_words(error)[1]}.",
            hint=_NETWORK_HINT,
        )

    def _untrusted(self, error: Exception) -> RefreshError:
        reason = next(cause for cause in causes(error) if isinstance(cause, ssl.SSLCertVerificationError))
        if reason.verify_code in _WRONG_HOST:
            message = f"The TLS certificate of the token endpoint {self.host} belongs to another host."
            hint = f"{_URL_HINT} If the address is right, a proxy or a firewall answers in its place."
        else:
            message = f"The TLS certificate of the token endpoint {self.host} is not trusted: {reason.verify_message}."
            hint = "Set SAC_CA_BUNDLE to a PEM file with your company's certificate authority."
            if self._options.verify is not True:
                hint = "The file in SAC_CA_BUNDLE lacks the authority that signed it; ask your IT for the right one."
        return RefreshError(message, error_code="non_retriable", hint=hint)

    def _read_success(self, response: requests.Response, body: bytes) -> Mapping[str, Any]:
        fields = _read_json_object(body)
        if fields is None:
            is_page = is_web_page(body, response.headers.get("Content-Type"))
            raise RefreshError(
                f"The token endpoint {self.host} answered with "
                + ("a web page" if is_page else "something that is not JSON")
                + f" ({_content_type(response)}) instead of a token.",
                # A page comes again; JSON that was cut short may be whole the next time.
                error_code="non_retriable" if is_page else "refresh_failed",
                hint=_URL_HINT,
            )
        if "error" in fields and "access_token" not in fields:
            raise self._oauth_error(fields, 200, None)
        return fields

    def _refusal(self, response: requests.Response, body: bytes, date: datetime | None, now: datetime) -> RefreshError:
        status = response.status_code
        retry_after_s = read_retry_after_s(response.headers.get("Retry-After"), server_date=date, now=now)
        if 300 <= status < 400:
            return RefreshError(
                f"The token endpoint {self.host} redirects to {_host_of(response.headers.get('Location', ''))}; the "
                "client's secret is not sent there.",
                error_code="non_retriable",
                hint=_URL_HINT,
            )
        fields = _read_json_object(body)
        if fields is not None and isinstance(fields.get("error"), str):
            return self._oauth_error(fields, status, retry_after_s)
        if status == 404:
            return RefreshError(
                f"The token endpoint {self.host} answered 404: there is no such token service or subdomain.",
                error_code="non_retriable",
                hint=_URL_HINT,
            )
        passing = status in _PASSING_STATUSES or status >= 500
        return RefreshError(
            f"The token endpoint {self.host} answered {status} ({_content_type(response)}) without a reason.",
            error_code="refresh_failed" if passing else "non_retriable",
            retry_after_s=retry_after_s,
            hint=None if passing else (_CLIENT_HINT if status in {400, 401, 403} else _URL_HINT),
        )

    def _oauth_error(self, fields: Mapping[str, Any], status: int, retry_after_s: float | None) -> RefreshError:
        code = _quotable(fields.get("error"))
        text = _quotable(fields.get("error_description"))
        passing = code in _PASSING_CODES or status in _PASSING_STATUSES or status >= 500
        return RefreshError(
            f"The token endpoint {self.host} answered {status} {code}" + (f" ({text})." if text else "."),
            error_code="refresh_failed" if passing else "non_retriable",
            retry_after_s=retry_after_s,
            code=code,
            hint=None if passing else _CLIENT_HINT,
        )


class ClientCredentials:
    """The technical user of an OAuth client: SAC's "2-legged" flow.

    ``style`` is the way in which the client identifies itself: ``"basic"``, a header with id and secret as they are and
    only ``grant_type`` in the body, or ``"body"``, all three in the body. In the header they are *not* form-encoded
    first, although RFC 6749 2.3.1 asks for it: SAC's ids hold ``!`` and ``|``, and every client known to work sends
    them raw. Raises SettingsError for an address that is not https (plain http is allowed to this machine only).
    """

    name = "client_credentials"
    renewable = True

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: Secret | str,
        *,
        style: Literal["basic", "body"] = "basic",
        options: EndpointOptions | None = None,
    ) -> None:
        client_secret = client_secret if isinstance(client_secret, Secret) else Secret(client_secret)
        self.principal = client_id
        self._secret = client_secret
        missing = [
            name
            for name, value in (("SAC_CLIENT_ID", client_id), ("SAC_CLIENT_SECRET", self._secret.reveal()))
            if not value
        ]
        if missing:
            raise SettingsError([f"{name} is missing, and client_credentials needs it." for name in missing])
        self._style = style
        self._endpoint = TokenEndpoint(token_url, options or EndpointOptions())

    def __repr__(self) -> str:
        return f"ClientCredentials({self._endpoint.host!r}, client_id={self.principal!r})"

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Ask the token endpoint once. Raises RefreshError; its traceback holds no secret."""
        try:
            return self._fetch(now)
        except BaseException as error:
            seal(error)
            raise

    def _fetch(self, now: datetime) -> TokenEnvelope:
        form: dict[str, Secret | str] = {"grant_type": "client_credentials"}
        if self._style == "body":
            form |= {"client_id": self.principal, "client_secret": self._secret}
        basic = (self.principal, self._secret) if self._style == "basic" else None
        return self._endpoint.token_in(self._endpoint.post(form, basic=basic, now=now), now)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, at most ``_MAX_REPLY_BYTES`` of it."""
    response.raw.decode_content = True
    size = 0
    while chunk := response.raw.read1(_CHUNK_BYTES):
        size += len(chunk)
        if size > _MAX_REPLY_BYTES:
            raise requests.exceptions.ContentDecodingError("the reply is longer than 1 MB, which no token is")
        yield chunk


def _sent_at(date: datetime | None, elapsed: timedelta) -> datetime | None:
    """Return the server's clock when the request was sent; ``Date`` is written when the reply is."""
    try:
        return None if date is None else date - elapsed
    except OverflowError:  # the first moment of the year 1
        return None


def _read_json_object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _content_type(response: requests.Response) -> str:
    return _quotable(response.headers.get("Content-Type", "no content type").partition(";")[0])[:60]


def _host_of(location: str) -> str:
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return one_line(host, 100) if host else "another address"


def _quotable(value: object) -> str:
    """Return text of the server on one line, short, and without the secrets that it may repeat."""
    return one_line(redact_text(str(value)), _MAX_QUOTED) if value is not None else ""
