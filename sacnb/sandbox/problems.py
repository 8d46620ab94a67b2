"""Refusals: what the sandbox says when it cannot or will not answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Refusal"]


@dataclass(eq=False)
class Refusal(Exception):
    """An answer with an error status.

    ``number`` is the number SAC puts in brackets at the end of its message. Only numbers seen on live tenants are
    used: 1305 (endpoint not valid), 1402 (key column not selected), 3401 (client not allowed), 3707 (entity set
    absent), 3905 (data audit is off). No raw error body of the Data Export Service was ever published: the envelope
    ``{"error": {"code": <correlation id>, "message": ...}}`` is what clients of live tenants parse, and the words of
    the messages are the sandbox's own.
    """

    status: int
    message: str
    number: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message if self.number is None else f"{self.message} [{self.number}]"

    def body(self, *, as_object: bool = False) -> bytes:
        """The JSON envelope; ``as_object`` gives ``message`` as ``{"lang", "value"}``, which some clients have met."""
        text = str(self)
        message: str | dict[str, str] = {"lang": "en", "value": text} if as_object else text
        return json.dumps({"error": {"code": str(uuid.uuid4()), "message": message}}, ensure_ascii=False).encode()
