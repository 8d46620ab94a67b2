"""Write rows into Snowflake with Snowpipe Streaming, each exactly once.

    import sacnb.snowflake

    with sacnb.snowflake.connect() as client:             # SNOWFLAKE_* variables, or arguments
        with client.open_channel("SALES", "nightly") as channel:
            channel.append_rows(frame)                    # polars, pandas, Arrow, or a stream of batches

Needs the extra: pip install "sacnb[snowflake]".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacnb._settings import Secret
    from sacnb.snowflake.channel import Channel
    from sacnb.snowflake.client import SnowflakeClient
    from sacnb.snowflake.load import Load
    from sacnb.snowflake.status import ChannelStatus
    from sacnb.snowflake.table import create_table

__all__ = ["Channel", "ChannelStatus", "Load", "SnowflakeClient", "connect", "create_table"]

_HOME = {
    "Channel": "sacnb.snowflake.channel",
    "ChannelStatus": "sacnb.snowflake.status",
    "Load": "sacnb.snowflake.load",
    "SnowflakeClient": "sacnb.snowflake.client",
    "create_table": "sacnb.snowflake.table",
}


def connect(
    account: str | None = None,
    user: str | None = None,
    *,
    private_key_file: str | os.PathLike[str] | None = None,
    private_key: str | bytes | Secret | None = None,
    private_key_passphrase: str | Secret | None = None,
    database: str | None = None,
    schema: str | None = None,
    url: str | None = None,
    ca_bundle: str | os.PathLike[str] | None = None,
    jwt_lifetime_s: float | None = None,
    refresh_margin_s: float | None = None,
    max_answer_mb: int | None = None,
    token: str | Secret | None = None,
    token_type: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> SnowflakeClient:
    """Return a client for a Snowflake account; nothing is sent yet.

    Every argument may also be an environment variable: ``SNOWFLAKE_`` and its name in upper case. The user signs in
    with an RSA key whose public half is registered with it; *token* is a pasted token in its place, which is
    deprecated. *environ* replaces the environment.

    Raises SettingsError for what is missing or malformed, MissingExtraError.
    """
    from sacnb.snowflake.client import SnowflakeClient
    from sacnb.snowflake.settings import resolve

    arguments = {name: value for name, value in locals().items() if name not in _NO_SETTINGS}
    return SnowflakeClient(resolve(arguments, environ))


_NO_SETTINGS = frozenset({"environ", "SnowflakeClient", "resolve"})


def __getattr__(name: str) -> Any:
    """Load the public classes on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
