"""A tenant for the processes of an engine: its address by settings, its secret in their environment alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import sacnb
from sacnb import Tenant
from sacnb.sandbox import Sandbox

CANARY = "canary-secret$Zm9v="

# Run in a worker: its process dies in the middle of a slice, unless another one died before.
DIE_ONCE = """
import os, signal
from sacnb._pull.stream import BatchStream

given = BatchStream.__next__
seen = []

def take(stream):
    batch = given(stream)
    seen.append(batch.num_rows)
    if len(seen) == 2:
        try:
            open({marker!r}, "x").close()
        except FileExistsError:
            return batch
        os.kill(os.getpid(), signal.SIGKILL)
    return batch

BatchStream.__next__ = take
"""


@dataclass(frozen=True)
class Place:
    """A sandbox, a tenant that is connected to it, and the secret that must appear nowhere."""

    sandbox: Sandbox
    tenant: Tenant

    def refuse_secrets(self, *found: bytes) -> None:
        token = self.tenant._connection.context.guard.ensure().token.value.reveal()
        for one in found:
            assert CANARY.encode() not in one
            assert token.encode() not in one


def connected(sandbox: Sandbox, cache: Path, **arguments: Any) -> Tenant:
    return sacnb.connect(
        sandbox.tenant_url,
        token_url=sandbox.token_url,
        client_id=sandbox.client_id,
        client_secret=sandbox.client_secret,
        cache_dir=cache,
        **arguments,
    )


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def in_order(rows: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Rows as tuples, in an order that every engine's rows can be brought into; NaN as nothing."""
    return sorted((tuple(None if _is_nan(one) else one for one in row) for row in rows), key=repr)
