"""One request and its answer, between the HTTP server and what it serves."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sacnb.sandbox.encoding import gzip_bytes

__all__ = ["Answer", "Exchange"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What will be sent: ``body``, or ``zipped`` where the body is kept only in its compressed form."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json;charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    zipped: bytes | None = field(default=None, repr=False)

    def pack(self) -> Answer:
        """The same answer in its compressed form."""
        return self if self.zipped is not None else replace(self, body=b"", zipped=gzip_bytes(self.body))

    def unpack(self) -> Answer:
        """The same answer with its body as it is."""
        return self if self.zipped is None else replace(self, body=gzip.decompress(self.zipped), zipped=None)


@dataclass(slots=True)
class Exchange:
    """A request: ``path`` and ``query`` as they came, still encoded; ``origin`` as the client addressed us.

    ``take`` and ``strikes`` ask whether a misbehaviour strikes; those that did are in ``struck``.
    """

    kind: str
    method: str
    path: str
    query: str
    origin: str
    headers: Mapping[str, str] = field(repr=False)
    ask: Callable[[str, str], Mapping[str, Any] | None] = field(repr=False)
    struck: list[str] = field(default_factory=list)

    def take(self, name: str) -> Mapping[str, Any] | None:
        """The options of the misbehaviour if it strikes this request, else ``None``."""
        options = self.ask(name, self.kind)
        if options is not None:
            self.struck.append(name)
        return options

    def strikes(self, name: str) -> bool:
        """Whether the misbehaviour strikes this request."""
        return self.take(name) is not None
