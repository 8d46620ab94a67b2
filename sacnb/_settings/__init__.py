"""The user's configuration in one frozen value. No other room reads ``os.environ`` for it."""

from __future__ import annotations

from sacnb._settings.resolve import SANDBOX, AuthMethod, LogLevel, ReplayChoice, ReplayMode, Settings
from sacnb._settings.sources import configured_secrets, read_dotenv
from sacnb._settings.variables import VARIABLES, Secret, Variable

__all__ = [
    "SANDBOX",
    "VARIABLES",
    "AuthMethod",
    "LogLevel",
    "ReplayChoice",
    "ReplayMode",
    "Secret",
    "Settings",
    "Variable",
    "configured_secrets",
    "read_dotenv",
]
