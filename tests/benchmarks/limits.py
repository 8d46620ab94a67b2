"""What no client can beat with one stream: the network alone, and the network with unpacking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.server import Target, bearer, packed, unpacked
from benchmarks.worker import Run


def network(target: Target, _: Path) -> Run:
    """Every page, one after the other, as it comes over the wire; the links are known beforehand."""
    session = bearer(target)
    links: list[str] = []
    following: str | None = target.facts_url
    while following is not None:
        links.append(following)
        _, following = unpacked(packed(session, following))

    def run() -> dict[str, Any]:
        received = sum(len(packed(session, link)) for link in links)
        return {"rows": target.rows, "wire_mb": received / 1e6}

    return run


def gunzip(target: Target, _: Path) -> Run:
    """As above, with each page unpacked to find the link to the next one, and then thrown away."""
    session = bearer(target)

    def run() -> dict[str, Any]:
        size = 0
        following: str | None = target.facts_url
        while following is not None:
            body, following = unpacked(packed(session, following))
            size += len(body)
        return {"rows": target.rows, "json_mb": size / 1e6}

    return run
