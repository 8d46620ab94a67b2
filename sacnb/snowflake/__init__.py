"""Write rows into Snowflake with Snowpipe Streaming, each exactly once."""

from __future__ import annotations

__all__: list[str] = []
