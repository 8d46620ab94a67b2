"""What makes two results the same: the tenant, who asks, what is asked, and the version of the data contract."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._results.info import ResultInfo, principal_digest

__all__ = ["NAME_FORM", "CacheKey"]

_SLUG_CHARS: Final = 48
NAME_FORM: Final = re.compile(r"[a-z0-9-]+-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The key of one kept result.

    ``principal`` is a digest: two users may see different rows, and the cache need not know who they are. ``query`` is
    canonical and begins with the path, which holds the namespace.
    """

    tenant_host: str
    principal: str
    provider_id: str
    entity_set: str
    query: str
    contract_version: int = CONTRACT_VERSION

    @classmethod
    def build(cls, *, tenant_host: str, principal: str, provider_id: str, entity_set: str, query: str) -> CacheKey:
        """The key of a question that is about to be asked; ``principal`` is given in clear, and only digested kept."""
        return cls(tenant_host.casefold(), principal_digest(principal), provider_id, entity_set, query)

    @classmethod
    def of(cls, info: ResultInfo) -> CacheKey:
        """The key of a result."""
        return cls(
            info.tenant_host.casefold(),
            info.principal,
            info.provider_id,
            info.entity_set,
            info.query,
            info.contract_version,
        )

    @property
    def digest(self) -> str:
        """64 hex digits that differ if anything of the key does."""
        parts = [
            self.tenant_host,
            self.principal,
            self.provider_id,
            self.entity_set,
            self.query,
            self.contract_version,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def name(self) -> str:
        """A name for files on any system: the model and the entity set in small ASCII letters, and the digest."""
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.provider_id}-{self.entity_set}".casefold())
        return f"{words[:_SLUG_CHARS].strip('-') or 'result'}-{self.digest}"

    def __str__(self) -> str:
        return self.name
