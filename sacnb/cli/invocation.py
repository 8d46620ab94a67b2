"""What the global options say, and the ways from there to settings and a tenant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from sacnb.cli.logs import log_to_stderr
from sacnb.cli.streams import say

if TYPE_CHECKING:
    from sacnb._cache.store import Cache
    from sacnb._settings import Settings
    from sacnb._tenant import Tenant
    from sacnb._wire.telemetry import Event

__all__ = ["Invocation", "Source"]

Source = Literal["sac", "sandbox"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of the program, as the options before the command describe it."""

    env_file: Path | None = None
    tenant_url: str | None = None
    verbosity: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of ``connect()`` that the options stand for."""
        levels = {0: None, 1: "info"}
        return {
            "dotenv_path": self.env_file,
            "tenant_url": self.tenant_url,
            "log": levels.get(self.verbosity, "debug"),
        }

    def connect(self, source: Source | None = None) -> Tenant:
        """Connect to the tenant of the settings, or to the one that ``source`` asks for.

        Raises SettingsError; click.UsageError where ``source`` is ``"sac"`` and the settings name the sandbox.
        """
        from sacnb._settings import Settings
        from sacnb._tenant import connect

        arguments = self.arguments
        if source == "sandbox":
            arguments["tenant_url"] = source
        elif source == "sac" and Settings.resolve(**arguments).is_sandbox:
            raise click.UsageError(
                "--source sac needs a tenant, and the settings name the sandbox: set SAC_TENANT_URL."
            )
        log_to_stderr()
        tenant = connect(**arguments)
        if self.verbosity > 1:
            tenant.telemetry.add_hook(_say_request)
        return tenant

    def local_settings(self) -> Settings:
        """The settings for commands that ask no tenant anything: a tenant need not be set."""
        from sacnb._settings import SANDBOX, Settings

        return Settings.resolve(**{**self.arguments, "tenant_url": SANDBOX})

    def cache(self) -> Cache:
        """The cache of the settings."""
        from sacnb._cache.store import Cache

        return Cache(self.local_settings().cache_dir)


def _say_request(event: Event) -> None:
    """One line on stderr for each request; its address has no secrets any more."""
    from sacnb._wire.telemetry import RequestEvent

    if isinstance(event, RequestEvent):
        answer = event.status or event.error_kind
        say(f"{event.method} {event.url}: {answer}, {event.bytes_received:,} bytes, {event.elapsed_s:.2f} s")
