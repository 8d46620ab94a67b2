"""The user's configuration in one frozen value. No other room reads ``os.environ`` for it."""

from __future__ import annotations

from sacnb._redact import Secret
from sacnb._settings.files import (
    check_profile_name,
    is_profile_name,
    profile_names,
    profiles_path,
    read_dotenv,
    read_profile,
    save_dotenv,
    save_profile,
)
from sacnb._settings.resolve import AuthMethod, LogLevel, ReplayChoice, ReplayMode, Settings
from sacnb._settings.sources import configured_secrets
from sacnb._settings.variables import (
    IDENTITY,
    SANDBOX,
    VARIABLES,
    Variable,
    documentation,
    keep_in_keyring,
    system_keyring,
)

__all__ = [
    "IDENTITY",
    "SANDBOX",
    "VARIABLES",
    "AuthMethod",
    "LogLevel",
    "ReplayChoice",
    "ReplayMode",
    "Secret",
    "Settings",
    "Variable",
    "check_profile_name",
    "configured_secrets",
    "documentation",
    "is_profile_name",
    "keep_in_keyring",
    "profile_names",
    "profiles_path",
    "read_dotenv",
    "read_profile",
    "save_dotenv",
    "save_profile",
    "system_keyring",
]
