"""The options of ``format("sacnb")``, checked; one that holds a secret is refused."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sacnb._arguments import required_text
from sacnb.errors import QueryError

__all__ = ["Options"]

_SECRETS: Final = ("secret", "password", "passwd", "credential", "apikey", "accesskey", "token")
_HINT: Final = (
    "Options travel with the plan. Set SAC_CLIENT_SECRET where driver and executors start, from your platform's secret "
    "store, or name a profile that each of them has: option('profile', ...)."
)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return text.lower() == "true"


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("a whole number")
    return int(text)


def _partitions(text: str) -> Any:
    return _whole(text) if text.isdigit() else text if text == "auto" else _names(text)


_Reader = Callable[[str], Any]
_CONNECT: Final[Mapping[str, _Reader]] = {
    "tenant_url": str, "token_url": str, "client_id": str, "profile": str, "page_size": _whole, "streams": _whole,
}  # fmt: skip
_MODEL: Final[Mapping[str, _Reader]] = {"provider": str, "namespace": str}
_READ: Final[Mapping[str, _Reader]] = {
    "version": str, "since": str, "until": str, "date": str, "dims": _names, "measures": _names, "repeated": str,
    "check_count": _flag, "partitions": _partitions, "at_once": _whole,
}  # fmt: skip
_WRITE: Final[Mapping[str, _Reader]] = {
    "version": str, "method": str, "scope": _names, "confirm": _whole, "allow_partial": _flag, "verify": _flag,
    "audit": str,
}  # fmt: skip


class Options:
    """The options of a data source by their names: as in Python, or as Spark writes them (``tenantUrl``)."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        known = {_plain(name): name for name in (*_CONNECT, *_MODEL, *_READ, *_WRITE)}
        known["path"] = "provider"  # what load("SALES") and save("SALES") set
        self._values: dict[str, str] = {}
        for name, value in given.items():
            plain = _plain(name)
            if plain != "tokenurl" and any(word in plain for word in _SECRETS):
                raise QueryError(f"The option {name!r} is for a secret, and is refused.", hint=_HINT)
            if plain not in known:
                near = difflib.get_close_matches(plain, known, n=1)
                raise QueryError(
                    f'format("sacnb") has no option {name!r}.',
                    hint=f"Did you mean {known[near[0]]!r}?" if near else f"It has: {', '.join(known.values())}.",
                )
            self._values[known[plain]] = str(value)

    @property
    def connect(self) -> dict[str, Any]:
        """The arguments of ``connect()``."""
        return self._read(_CONNECT)

    @property
    def model(self) -> dict[str, Any]:
        """The arguments of ``Tenant.model``."""
        found = self._read(_MODEL)
        required_text("provider", found.get("provider"))
        return {"model_id" if name == "provider" else name: value for name, value in found.items()}

    def for_read(self) -> dict[str, Any]:
        """Return the arguments of ``facts()`` and ``partitions()``. Raises QueryError for options of a write."""
        return self._of("read", _READ)

    def for_write(self) -> dict[str, Any]:
        """Return the arguments of ``Model.write``. Raises QueryError for options of a read."""
        return self._of("write", _WRITE)

    def _of(self, what: str, readers: Mapping[str, _Reader]) -> dict[str, Any]:
        allowed = {*_CONNECT, *_MODEL, *readers}
        for name in self._values:
            if name not in allowed:
                raise QueryError(f"A {what} has no option {name!r}.", hint=f"It has: {', '.join(sorted(allowed))}.")
        return self._read(readers)

    def _read(self, readers: Mapping[str, _Reader]) -> dict[str, Any]:
        found = {}
        for name, read in readers.items():
            if name in self._values:
                try:
                    found[name] = read(self._values[name])
                except ValueError as error:
                    raise QueryError(f"The option {name!r} is {self._values[name]!r}; expected {error}.") from None
        return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
