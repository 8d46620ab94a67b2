"""The user's configuration in one frozen value. No other room reads ``os.environ`` for it."""

from __future__ import annotations

from sacnb._settings.files import is_profile_name, profile_names, profiles_path, read_dotenv, save_dotenv, save_profile
from sacnb._settings.resolve import AuthMethod, LogLevel, ReplayChoice, ReplayMode, Settings
from sacnb._settings.sources import configured_secrets
from sacnb._settings.variables import SANDBOX, VARIABLES, Secret, Variable

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
    "is_profile_name",
    "profile_names",
    "profiles_path",
    "read_dotenv",
    "save_dotenv",
    "save_profile",
]
