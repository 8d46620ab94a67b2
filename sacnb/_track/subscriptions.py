"""List and delete the subscriptions that change tracking leaves in SAC.

Names of fields and paths are SAP's; null comes as the text "null" in SAP's sample. Times are kept as texts, since their
form is unconfirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sacnb._endpoints import SUBSCRIPTIONS_PATH, subscription_path
from sacnb._odata.page import cut_page, read_pages
from sacnb._pull.plan import link_of
from sacnb._wire.session import SacSession
from sacnb.errors import UnknownNameError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._wire.message import Answer

__all__ = ["delete_subscription", "list_subscriptions", "subscription_of"]

_FIELDS: Final = {
    "id": "subscriptionid",
    "entity_set": "entitysetname",
    "external_id": "externalid",
    "chain": "chainid",
    "previous": "previoussubscriptionid",
    "started": "starttime",
    "ended": "endtime",
    "last_accessed": "lastaccessed",
    "delta_link": "currentdeltalink",
}


def _rows(session: SacSession, tenant_url: str, provider_id: str, namespace: str) -> list[dict[str, str | None]]:
    """Return the subscriptions to a provider. Which ones SAC shows to a client is not known: those of others too."""
    found = read_pages(
        lambda url: session.fetch("GET", url, operation="list subscriptions", check=_check),
        tenant_url + SUBSCRIPTIONS_PATH,
        session.limits,
        origin=tenant_url,
    )
    folded = [{name.casefold(): value for name, value in row.items()} for row in found]
    ours = [
        row
        for row in folded
        if (_text(row, "providerid"), _text(row, "namespaceid") or namespace) == (provider_id, namespace)
    ]
    return [{name: _text(row, member) for name, member in _FIELDS.items()} for row in ours]


def _check(answer: Answer) -> None:
    cut_page(answer.body, status=answer.status)


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    return None if value is None or value == "null" else str(value)


def list_subscriptions(session: SacSession, tenant_url: str, provider_id: str, namespace: str) -> pl.DataFrame:
    """Return the subscriptions to a provider, as texts."""
    import polars as pl

    rows = _rows(session, tenant_url, provider_id, namespace)
    return pl.DataFrame(rows, schema=dict.fromkeys(_FIELDS, pl.String))


def subscription_of(session: SacSession, tenant_url: str, provider_id: str, namespace: str, link: str) -> str | None:
    """Return the id of the subscription whose link is *link*; links are compared, and never taken apart."""
    for row in _rows(session, tenant_url, provider_id, namespace):
        if row["delta_link"] is not None and link_of(row["delta_link"]) == link:
            return row["id"]
    return None


def delete_subscription(
    session: SacSession, tenant_url: str, provider_id: str, namespace: str, subscription_id: str, *, known: bool = False
) -> None:
    """Delete a subscription, and those before it in its chain.

    Raises:
        UnknownNameError: SAC lists no such subscription; not asked where it is *known*.
        SacError: The session's errors.
    """
    if not known:
        ids = [row["id"] or "" for row in _rows(session, tenant_url, provider_id, namespace)]
        if subscription_id not in ids:
            raise UnknownNameError("subscription", subscription_id, ids, where=f"the model {provider_id!r}")
    path = subscription_path(provider_id, subscription_id, namespace)
    session.fetch("DELETE", path, operation="delete subscription", params={"deleteChain": "true"}, expect="any")
