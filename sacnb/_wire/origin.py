"""Scheme, host and port: to whom a token may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from sacnb._settings.tenant_url import is_loopback

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """The part of an address that decides who receives a request."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> Origin | None:
        """The origin of an absolute ``url``; ``None`` where it has none, or names a user, which no tenant's does.

        Read with the parser that requests itself picks the connection with, so that the two cannot disagree.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not parts.scheme or not host or parts.username is not None or parts.password is not None:
            return None
        return cls(parts.scheme, host.lower(), port if port is not None else _DEFAULT_PORTS.get(parts.scheme))

    @classmethod
    def of_link(cls, base: str, link: str) -> Origin | None:
        """The origin that ``link``, found in an answer from ``base``, leads to; ``None`` where it leads nowhere."""
        try:
            return cls.of(urljoin(base, link))
        except ValueError:
            return None

    @property
    def may_carry_secrets(self) -> bool:
        """Whether it is https, or plain http to this machine."""
        return self.scheme == "https" or (self.scheme == "http" and is_loopback(self.host))
