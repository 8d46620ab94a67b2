"""What the user configured, in one frozen value; nothing else in sacnb reads ``os.environ``."""

from __future__ import annotations

from sacnb._settings.resolve import SANDBOX, AuthMethod, LogLevel, ReplayChoice, ReplayMode, Settings
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
]
