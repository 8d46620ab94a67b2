"""A keyring in memory, in the place of the system's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keyring
import keyring.backend
import keyring.errors


class Ring(keyring.backend.KeyringBackend):
    """Keeps passwords; ``locked`` is what it says where it gives and takes nothing."""

    priority = 1  # type: ignore[assignment]
    locked = ""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked(self.locked)
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise keyring.errors.PasswordSetError(self.locked)
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.locked:
            raise keyring.errors.PasswordDeleteError(self.locked)
        del self.kept[service, username]


@contextmanager
def in_use() -> Iterator[Ring]:
    """Make a keyring the system's for the time of a block."""
    before, ring = keyring.get_keyring(), Ring()
    keyring.set_keyring(ring)
    try:
        yield ring
    finally:
        keyring.set_keyring(before)
