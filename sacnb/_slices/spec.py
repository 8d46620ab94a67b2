"""The settings of a tenant for worker processes, without secrets."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sacnb._settings import SANDBOX, Settings, profile_names

__all__ = ["ConnectSpec"]

_NEVER: Final = frozenset({"client_secret", "token", "is_sandbox", "notes", "warnings", "sources", "dotenv_path"})
_TENANT: Final = frozenset({"profile", "token_url", "client_id", "auth", "redirect_uri"})


@dataclass(frozen=True, slots=True)
class ConnectSpec:
    """The settings of a tenant, without secrets and tokens; ``tenant.spec`` makes one.

    Pickle it to a worker process, which connects with ``sacnb.connect(spec)``. The worker reads SAC_CLIENT_SECRET (or
    SAC_TOKEN) from the profile of the same name or the ``.env`` at ``dotenv_path``, if that exists there, or else from
    its own environment. Or hand the secret in: ``sacnb.connect(spec, client_secret=...)``.

    ``arguments`` are those of ``connect()``, as pairs of a name and a value.
    """

    __module__ = "sacnb"

    arguments: tuple[tuple[str, Any], ...]
    dotenv_path: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> ConnectSpec:
        """Return the spec of *settings*."""
        names = [member.name for member in fields(settings) if member.name not in _NEVER]
        arguments = {name: getattr(settings, name) for name in names}
        if settings.is_sandbox:
            arguments["tenant_url"] = SANDBOX
        if settings.is_sandbox or settings.replay == "replay":
            # The worker's own sandbox has another client, and a replay has none.
            arguments = {name: value for name, value in arguments.items() if name not in _TENANT}
        if settings.replay == "replay":
            del arguments["tenant_url"]
        return cls(
            tuple((name, _portable(value)) for name, value in arguments.items() if value not in (None, "")),
            None if settings.dotenv_path is None else str(settings.dotenv_path),
        )

    def for_connect(self, profile: str | None = None) -> dict[str, Any]:
        """Return the arguments of ``connect()``, with ``.env`` and profile if they exist on this machine.

        Another *profile* takes the place of tenant and client: its secret is not for those of this spec.
        """
        arguments = dict(self.arguments)
        if profile and profile != arguments.get("profile"):
            arguments = {name: value for name, value in arguments.items() if name not in {*_TENANT, "tenant_url"}}
        elif "profile" in arguments and arguments["profile"] not in profile_names():
            del arguments["profile"]
        is_here = self.dotenv_path is not None and Path(self.dotenv_path).is_file()
        # "" and not None: the profile of this machine's environment is not the one of the spec.
        return {"profile": "", **arguments, "dotenv_path": self.dotenv_path if is_here else None}


def _portable(value: Any) -> Any:
    """Return *value*; a path as text that does not depend on the working folder."""
    if not isinstance(value, Path):
        return value
    with suppress(FileNotFoundError):  # the working folder is gone
        value = value.absolute()
    return str(value)
