"""Read the addresses of tenant and token endpoint in the forms in which people paste them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from sacnb._endpoints import derive_token_url
from sacnb._settings.sources import show

_MODELER_ID = re.compile(r"/m/model/([^/&?#]+)")
_NEO_HOST = re.compile(r"\.[a-z]{2}\d\.(?:sapanalytics\.cloud|hcs\.cloud\.sap|hanacloudservices\.cloud\.sap)$")
_EXAMPLE: Final = "https://acme.eu10.hcs.cloud.sap"
TOKEN_URL_EXAMPLE: Final = "https://acme.authentication.eu10.hana.ondemand.com/oauth/token"  # noqa: S105 - an address


@dataclass(frozen=True, slots=True)
class TenantAddress:
    """A tenant's origin (scheme and host), the token URL derived from it, and notes about what was left out."""

    url: str
    derived_token_url: str | None
    notes: tuple[str, ...]


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine, the only place that plain http may go to."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_tenant_url(text: str) -> TenantAddress:
    """Return the tenant's origin from a pasted address, which may have a path, or no scheme.

    Raises ValueError with the rest of a sentence that begins with the variable's name.
    """
    if "<" in text or ">" in text:
        raise ValueError(f"is {show(text)}, which still holds a part to be filled in; expected for example {_EXAMPLE}.")
    notes = []
    if "://" not in text:
        text = f"https://{text}"
        notes.append("The tenant URL had no scheme; https is used.")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"is {show(text)}, which is not an address; expected for example {_EXAMPLE}.") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"holds a user name or password before the host; expected only the address: {_EXAMPLE}.")
    if not host or re.search(r"\s", host) or (("." not in host) and not is_loopback(host)):
        raise ValueError(f"is {show(text)}, which has no full host name; expected for example {_EXAMPLE}.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError(f"begins with {parts.scheme}://; tokens are sent only over https: {_EXAMPLE}.")
    if ".authentication." in host:
        raise ValueError(f"is {show(text)}, which is the token service; that address belongs in SAC_TOKEN_URL.")
    if _NEO_HOST.search(host):
        notes.append(
            "The host has the form of an SAP data center (NEO); SAP offers the Data Export Service on Cloud Foundry "
            "tenants only."
        )
    rest = unquote(text[text.index("://") + 3 :].partition("/")[2]).partition("?")[0]
    if rest:
        notes.append(f"Only the host of the tenant URL is used; '/{rest[:80]}' was left out.")
    model = _MODELER_ID.search(unquote(text))
    if model:
        notes.append(f"The address names a model; its id for sac.model(...) is {model[1].rpartition(':')[2]!r}.")
    shown_host = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown_host}" + (f":{port}" if port is not None else "")
    return TenantAddress(url, derive_token_url(host), tuple(notes))


def check_redirect_uri(text: str) -> str:
    """Return *text* if SAC can send a browser there. Raises ValueError with the rest of a sentence if it cannot."""
    example = "http://127.0.0.1:8414/"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", SplitResult("", "", "", "", "")
    if not host or re.search(r"\s", text) or parts.username is not None or parts.fragment:
        raise ValueError(f"is {show(text)}, which is no address of a page; expected for example {example}.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError(f"begins with {parts.scheme}://; over http a login may come to this machine only: {example}.")
    return text


def check_token_url(text: str) -> str:
    """Return *text* if it can be a token URL. Raises ValueError with the rest of a sentence if it cannot."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", SplitResult("", "", "", "", "")
    if not host or re.search(r"\s", text):
        raise ValueError(f"is {show(text)}, which is not a full address; expected for example {TOKEN_URL_EXAMPLE}.")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"holds a user name or password before the host; expected for example {TOKEN_URL_EXAMPLE}.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError(f"begins with {parts.scheme}://; secrets are sent only over https: {TOKEN_URL_EXAMPLE}.")
    if "/oauth/token/alias/" in parts.path:
        raise ValueError("is the 'OAuth2SAML Token URL'; expected the 'Token URL' beside it.")
    if parts.path.endswith("/authorize"):
        raise ValueError("is the 'Authorization URL'; expected the 'Token URL' beside it.")
    return text
