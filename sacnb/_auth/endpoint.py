"""One POST to a token endpoint: the reply, or an error that says which variable to look at."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import requests
import urllib3

from sacnb._http import environment_proxies, in_words, is_certificate_error, read_http_date, read_retry_after_s, seal
from sacnb._settings import Secret
from sacnb._settings.tenant_url import is_loopback
from sacnb.errors import RefreshError, SettingsError

# A token reply is a few kilobytes. More than this is not one, and must not fill the memory.
_MAX_REPLY_BYTES: Final = 1_000_000
_CHUNK_BYTES: Final = 65_536
_MAX_QUOTED: Final = 200

_CLIENT_HINT: Final = (
    "Look at SAC_CLIENT_ID and SAC_CLIENT_SECRET (System > Administration > App Integration; in .env the secret needs "
    "single quotes), and whether SAC_TOKEN_URL belongs to the same tenant."
)
_URL_HINT: Final = (
    "Look at SAC_TOKEN_URL: copy the 'Token URL' of System > Administration > App Integration, such as "
    "https://acme.authentication.eu10.hana.ondemand.com/oauth/token."
)
_NETWORK_HINT: Final = (
    "Look at SAC_TOKEN_URL, and at the network: VPN, the proxy variables, and SAC_CA_BUNDLE where a proxy re-signs TLS."
)
# The codes of RFC 6749 that may pass by themselves; every other one needs somebody to change something.
_PASSING_CODES: Final = frozenset({"temporarily_unavailable", "server_error"})
_PASSING_STATUSES: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class TokenReply:
    """The JSON object of a successful reply, never shown, and the server's clock when the request was sent."""

    fields: Mapping[str, Any] = field(repr=False)
    server_date: datetime | None


class TokenEndpoint:
    """Posts forms to a token endpoint, each over a connection of its own.

    Tokens are asked for once an hour: a session kept for them would only go stale, and could not be shared by threads.
    Redirects are never followed, since the form or its header holds the client's secret. ``timeout`` is the seconds to
    connect and to wait for bytes; a reply that drips in is given up after their sum.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: tuple[float, float],
        verify: bool | str,
        trust_env: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host or parts.username is not None or parts.password is not None:
            raise SettingsError(f"SAC_TOKEN_URL is not a plain address of a token endpoint. {_URL_HINT}")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise SettingsError(
                f"SAC_TOKEN_URL begins with {parts.scheme}://; secrets are sent only over https (plain http only to "
                "this machine)."
            )
        self.host = host
        self._url = url
        self._timeout = timeout
        self._verify = verify
        self._proxies = environment_proxies(url) if trust_env else {}
        self._clock = clock

    def post(self, form: Mapping[str, Secret | str], *, basic: tuple[str, Secret] | None, now: datetime) -> TokenReply:
        """Send ``form``, with id and secret of ``basic`` in a header, and read the reply.

        Raises RefreshError, whose text repeats no secret and whose traceback holds none.
        """
        authorization = None
        secrets = [value for value in form.values() if isinstance(value, Secret)]
        if basic is not None:
            pair = f"{basic[0]}:{basic[1].reveal()}".encode()
            authorization = Secret(base64.b64encode(pair).decode("ascii"))
            secrets += [basic[1], authorization]
            del pair
        try:
            return self._post(form, authorization, secrets, now)
        except BaseException as error:
            seal(error)
            raise

    def _post(
        self,
        form: Mapping[str, Secret | str],
        authorization: Secret | None,
        secrets: list[Secret],
        now: datetime,
    ) -> TokenReply:
        headers = {
            "Accept": "application/json",
            # Nothing to gain on two kilobytes, and it keeps the reading of a reply that drips in simple.
            "Accept-Encoding": "identity",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if authorization is not None:
            headers["Authorization"] = f"Basic {authorization.reveal()}"
        plain = {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}
        failure: RefreshError | None = None
        with requests.Session() as session:
            # Off, because requests would let a .netrc replace the Authorization header; proxies were looked up once.
            session.trust_env = False
            try:
                with session.post(
                    self._url,
                    data=urlencode(plain).encode("ascii"),
                    headers=headers,
                    timeout=self._timeout,
                    verify=self._verify,
                    proxies=self._proxies,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    body = b"".join(self._chunks(response))
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                failure = self._no_answer(error)
        if failure is not None:
            # Raised out here, so that the error of requests, with the request on it, is not its context.
            raise failure
        date = read_http_date(response.headers.get("Date"))
        if response.status_code != 200:
            raise self._refusal(response, body, date, secrets, now)
        return TokenReply(
            self._read_success(response, body, secrets),
            # Date is written when the reply is; take off what the reply took, or slowness would look like skew.
            date - timedelta(seconds=response.elapsed.total_seconds()) if date is not None else None,
        )

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it arrives: read1 returns with every packet, so that the time can be looked at in between."""
        give_up_at = self._clock() + sum(self._timeout)
        response.raw.decode_content = True
        size = 0
        while chunk := response.raw.read1(_CHUNK_BYTES):
            size += len(chunk)
            if self._clock() > give_up_at:
                raise requests.ReadTimeout("the reply drips in too slowly")
            if size > _MAX_REPLY_BYTES:
                raise requests.exceptions.ContentDecodingError("the reply is far too long for a token")
            yield chunk

    def _no_answer(self, error: Exception) -> RefreshError:
        if is_certificate_error(error):
            return RefreshError(
                f"The TLS certificate of the token endpoint {self.host} is not trusted.",
                error_code="non_retriable",
                hint="Set SAC_CA_BUNDLE to a PEM file with your company's certificate authority.",
            )
        return RefreshError(
            f"The token endpoint {self.host} did not answer ({in_words(error)[1]}).",
            hint=_NETWORK_HINT,
        )

    def _read_success(self, response: requests.Response, body: bytes, secrets: list[Secret]) -> Mapping[str, Any]:
        fields = _read_json_object(body)
        if fields is None:
            is_page = body.lstrip()[:1] == b"<"
            raise RefreshError(
                f"The token endpoint {self.host} answered with "
                + ("a web page" if is_page else "something that is not JSON")
                + f" ({_content_type(response)}) instead of a token.",
                # A page comes again; JSON that was cut short may be whole the next time.
                error_code="non_retriable" if is_page else "refresh_failed",
                hint=_URL_HINT,
            )
        if "error" in fields and "access_token" not in fields:
            raise self._oauth_error(fields, 200, None, secrets)
        return fields

    def _refusal(
        self,
        response: requests.Response,
        body: bytes,
        date: datetime | None,
        secrets: list[Secret],
        now: datetime,
    ) -> RefreshError:
        status = response.status_code
        retry_after_s = read_retry_after_s(response.headers.get("Retry-After"), server_date=date, now=now)
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("Location", "")).hostname or "another address"
            return RefreshError(
                f"The token endpoint {self.host} redirects to {target}; the client's secret is not sent there.",
                error_code="non_retriable",
                hint=_URL_HINT,
            )
        fields = _read_json_object(body)
        if fields is not None and isinstance(fields.get("error"), str):
            return self._oauth_error(fields, status, retry_after_s, secrets)
        if status == 404:
            return RefreshError(
                f"The token endpoint {self.host} answered 404: there is no such token service or subdomain.",
                error_code="non_retriable",
                hint=_URL_HINT,
            )
        passing = status in _PASSING_STATUSES or status >= 500
        return RefreshError(
            f"The token endpoint {self.host} answered {status} ({_content_type(response)}) without saying why.",
            error_code="refresh_failed" if passing else "non_retriable",
            retry_after_s=retry_after_s,
            hint=None if passing else (_CLIENT_HINT if status in {400, 401, 403} else _URL_HINT),
        )

    def _oauth_error(
        self, fields: Mapping[str, Any], status: int, retry_after_s: float | None, secrets: list[Secret]
    ) -> RefreshError:
        code = _quotable(fields.get("error"), secrets)
        text = _quotable(fields.get("error_description"), secrets)
        passing = code in _PASSING_CODES or status in _PASSING_STATUSES or status >= 500
        return RefreshError(
            f"The token endpoint {self.host} answered {status} {code}" + (f" ({text})." if text else "."),
            error_code="refresh_failed" if passing else "non_retriable",
            retry_after_s=retry_after_s,
            hint=None if passing else _CLIENT_HINT,
        )


def _read_json_object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _content_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "no content type").partition(";")[0].strip()[:60]


def _quotable(value: object, secrets: list[Secret]) -> str:
    """Text of the server, on one line, short, and without the secrets that it may repeat."""
    text = " ".join(str(value).split()) if value is not None else ""
    for secret in secrets:
        plain = secret.reveal()
        encoded = base64.b64encode(plain.encode()).decode("ascii")
        for form in {plain, quote(plain, safe=""), quote_plus(plain), encoded} - {""}:
            text = text.replace(form, "***")
    printable = "".join(character for character in text if character.isprintable())
    return printable[:_MAX_QUOTED] + ("…" if len(printable) > _MAX_QUOTED else "")
