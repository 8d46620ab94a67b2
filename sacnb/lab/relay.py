"""Requests of a kernel that the server sends with its own token: reads of the Data Export Service, and nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import unquote

from sacnb._endpoints import EXPORT_ROOT
from sacnb._redact import redact_url
from sacnb.errors import QueryError, SettingsError
from sacnb.lab.answers import Reply

if TYPE_CHECKING:
    from sacnb._wire.message import Answer
    from sacnb.lab.tenants import Held

__all__ = ["check_tenant", "readable", "relay"]

# What the client itself reads of models: the lists of namespaces and models, and what is below a provider.
_READ: Final = tuple(f"{EXPORT_ROOT}/{below}/" for below in ("administration", "providers"))
_ACCEPTED: Final[Mapping[str, Literal["json", "xml"]]] = {"application/json": "json", "application/xml": "xml"}
_MOST_CHARS: Final = 64_000
_HEADERS: Final = ("Content-Type", "Date")


def readable(path: str) -> str:
    """Return *path* with its query, if the client itself reads such a path.

    Raises QueryError for another one: a kernel must not reach users, imports or actions with the server's token.
    """
    is_plain = path.startswith(_READ) and path.isascii() and path.isprintable() and not {" ", "#"}.intersection(path)
    named, before = path.partition("?")[0], ""
    while named != before:  # a server behind a gateway may decode more than once
        named, before = unquote(named), named
    if not is_plain or {".", ".."}.intersection(re.split(r"[/\\]", named)) or len(path) > _MOST_CHARS:
        raise QueryError(
            f"The Jupyter server does not send {redact_url(path)[:200]!r} for a kernel.",
            hint=f"It reads paths below {' and '.join(_READ)}, and sends nothing that writes.",
        )
    return path


def check_tenant(held: Held, tenant_url: str | None) -> None:
    """Raise SettingsError where a kernel means another tenant than the server's."""
    own = held.tenant.settings.tenant_url
    if tenant_url is not None and tenant_url.rstrip("/") != own and not held.tenant.settings.is_sandbox:
        name = repr(held.profile) if held.profile else "its environment"
        raise SettingsError(
            f"The kernel means {redact_url(tenant_url)[:200]}, and the Jupyter server has {own} for {name}."
        )


def relay(held: Held, path: str, accept: str) -> Reply:
    """Send a GET of a path of the tenant, and return the answer. Raises what ``SacSession.fetch`` raises."""
    if accept not in _ACCEPTED:
        raise QueryError(f"accept must be {' or '.join(map(repr, _ACCEPTED))}, got {accept[:80]!r}.")
    connection = held.tenant._connection
    answer = connection.context.session.fetch(
        "GET",
        connection.url(readable(path)),
        operation="send for a kernel",
        accept=accept,
        expect=_ACCEPTED[accept],
        is_bulk=True,
    )
    headers = {"X-Sacnb-Attempts": str(len(answer.outcome.attempts))}
    if answer.request_id is not None:
        headers["X-Request-Id"] = answer.request_id
    return Reply(_answer_json(answer), headers=headers)


def _answer_json(answer: Answer) -> dict[str, Any]:
    try:
        body, encoding = answer.body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(answer.body).decode("ascii"), "base64"
    return {
        "status": answer.status,
        "headers": {name: value for name in _HEADERS if (value := answer.headers.get(name)) is not None},
        "request_id": answer.request_id,
        "encoding": encoding,
        "body": body,
    }
