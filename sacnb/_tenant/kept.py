"""The schema of a model from a kept result, for the day when SAC cannot be asked for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sacnb._cache.keys import CacheKey
from sacnb._results.info import ResultInfo, principal_digest
from sacnb.errors import CacheError, SacError

if TYPE_CHECKING:
    from sacnb._odata.schema import Schema
    from sacnb._tenant.connection import Connection

_log = logging.getLogger("sacnb.model")


def schema_of_last_result(connection: Connection, model_id: str, namespace: str, reason: SacError) -> Schema | None:
    """The schema that came with the newest result of this model that this tenant gave this user; ``None`` without one.

    With it a program that starts while SAC is away can put its question into the form under which the answer is kept.
    ``reason`` is why SAC could not be asked; what is wrong with the cache is noted on it.
    """
    ours = (connection.tenant_host.casefold(), principal_digest(connection.principal), model_id, namespace)
    try:
        infos = [entry.info for entry in connection.cache.entries() if entry.info and _whose(entry.info) == ours]
    except CacheError as error:
        reason.add_note(f"The kept results cannot be read either: {error}")
        return None
    for info in sorted(infos, key=lambda info: info.last_refresh_time, reverse=True):
        try:
            schema = connection.cache.load(CacheKey.of(info)).schema
        except CacheError as error:
            reason.add_note(f"A kept result of the model cannot be used either: {error}")
            continue
        _log.info("The columns of %s are those of the last kept result, since SAC did not say: %s", model_id, reason)
        return schema
    return None


def _whose(info: ResultInfo) -> tuple[str, str, str, str]:
    return info.tenant_host.casefold(), info.principal, info.provider_id, info.namespace
