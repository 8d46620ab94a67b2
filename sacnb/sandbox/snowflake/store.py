"""Pipes, channels and tables, without HTTP: sequencers, rows that wait for their commit, and rows that are there.

The rules are Snowflake's as documented for the high-performance architecture: a channel has one writer; opening it
again makes the tokens of the writer before stale and discards what is not committed; an append needs the token of the
one before; rows are committed later, all of an append together; bad rows are counted and left out.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from sacnb.sandbox.snowflake.lines import Loaded, load_lines

__all__ = ["Channel", "Refused", "Store"]

_ELASTIC: Final = "ELASTIC"
_MAX_CHANNELS: Final = 2_000


class Refused(Exception):
    """An answer that is no success, with Snowflake's code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = json.dumps({"code": code, "message": message}).encode()


@dataclass(slots=True)
class Waiting:
    """An append that is not committed: what was loaded, and the requests for the status that are still to come."""

    end: str | None
    loaded: Loaded  # without its lines
    packed: bytes  # the lines, compressed, since a test of a million rows keeps all of them
    polls: int


@dataclass(slots=True)
class Channel:
    """A channel; ``sequencer`` counts its writers and ``row_sequencer`` the appends of the current one."""

    name: str
    sequencer: int = -1
    row_sequencer: int = 0
    committed: str | None = None
    status: str = "SUCCESS"
    waiting: list[Waiting] = field(default_factory=list)
    inserted: int = 0
    parsed: int = 0
    errors: int = 0
    last_error: str | None = None
    last_error_offset: str | None = None
    last_error_at: int | None = None
    created_at: int = 0
    requests: list[float] = field(default_factory=list)

    @property
    def token(self) -> str:
        """The token that the next append has to show."""
        return f"{self.sequencer}_{self.row_sequencer}"


@dataclass(frozen=True, slots=True)
class _Stored:
    channel: str
    packed: bytes


class Store:
    """All pipes of an account; safe for threads. ``polls`` is how many requests for the status a commit takes."""

    def __init__(self, *, polls: int = 1, requests_per_s: float | None = None) -> None:
        self.polls = polls
        self._requests_per_s = requests_per_s
        self._lock = threading.RLock()
        self._channels: defaultdict[str, dict[str, Channel]] = defaultdict(dict)
        self._rows: defaultdict[str, list[_Stored]] = defaultdict(list)
        self._codec = pa.Codec("zstd")

    # -- what clients do ---------------------------------------------------------------------------------------------

    def open(self, pipe: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Open a channel, in place of whoever had it open."""
        with self._lock:
            channel = self._channels[pipe].setdefault(_key(name), Channel(name, created_at=_now_ms()))
            if channel.waiting and body.get("fail_on_uncommitted_rows"):
                raise Refused(409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA", "The channel has uncommitted rows.")
            channel.waiting.clear()
            channel.sequencer += 1
            channel.row_sequencer = 1
            channel.status = "SUCCESS"
            if body.get("offset_token") is not None:
                channel.committed = str(body["offset_token"])
            return {"next_continuation_token": channel.token, "channel_status": self._describe(pipe, channel)}

    def append(
        self, pipe: str, name: str, query: Mapping[str, str], lines: bytes, *, never: bool, polls: int, spoil: bool
    ) -> dict[str, Any]:
        """Take the rows of one append; ``spoil`` makes the first of them a bad one."""
        loaded = load_lines(lines)
        if spoil and loaded.rows:
            rest = loaded.lines.partition(b"\n")[2]
            loaded = Loaded(rest, loaded.rows - 1, loaded.errors + 1, "Numeric value 'spoilt' is not recognized")
        end = query.get("endOffsetToken", query.get("offsetToken"))
        return self._take(pipe, name, query, [self._waiting(end, loaded, 1 << 60 if never else polls)])

    def append_files(
        self, pipe: str, name: str, query: Mapping[str, str], fragments: list[tuple[str, bytes]]
    ) -> dict[str, Any]:
        """Take the rows of fragments of files, each with its last offset."""
        return self._take(
            pipe, name, query, [self._waiting(end, load_lines(lines), self.polls) for end, lines in fragments]
        )

    def _waiting(self, end: str | None, loaded: Loaded, polls: int) -> Waiting:
        packed = self._codec.compress(loaded.lines, asbytes=True)
        return Waiting(end, replace(loaded, lines=b""), packed, polls)

    def _take(self, pipe: str, name: str, query: Mapping[str, str], appends: list[Waiting]) -> dict[str, Any]:
        with self._lock:
            if _key(name) == _ELASTIC:
                self._rows[pipe] += [_Stored(name, one.packed) for one in appends]
                return {}
            channel = self.channel(pipe, name)
            self._admit(channel, query)
            channel.waiting += appends
            self._commit(pipe, channel)
            return {"next_continuation_token": channel.token}

    def statuses(self, pipe: str, names: list[str]) -> dict[str, Any]:
        """Describe channels; those that do not exist are left out. Names count as they are written here."""
        if len(names) > _MAX_CHANNELS:
            raise Refused(400, "ERR_GET_CHANNEL_STATUS_BATCH_TOO_MANY_CHANNELS", "Too many channels.")
        with self._lock:
            found = {}
            for name in names:
                channel = self._channels[pipe].get(_key(name))
                if channel is None or channel.name != name:
                    continue
                for waiting in channel.waiting:
                    waiting.polls -= 1
                self._commit(pipe, channel)
                found[name] = self._describe(pipe, channel)
            return {"channel_statuses": found}

    def drop(self, pipe: str, name: str, *, fail_on_uncommitted: bool) -> None:
        """Remove a channel and its offset."""
        with self._lock:
            channel = self.channel(pipe, name)
            if channel.waiting and fail_on_uncommitted:
                raise Refused(409, "ERR_CHANNEL_HAS_UNCOMMITTED_DATA", "The channel has uncommitted rows.")
            del self._channels[pipe][_key(name)]

    # -- what tests do -----------------------------------------------------------------------------------------------

    def channel(self, pipe: str, name: str) -> Channel:
        """Return a channel. Raises Refused where there is none."""
        channel = self._channels[pipe].get(_key(name))
        if channel is None:
            raise Refused(
                404,
                "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED",
                f"Channel {name} does not exist or is not authorized.",
            )
        return channel

    def change(self, pipe: str, name: str, change: Callable[[dict[str, Channel], Channel], None]) -> None:
        """Do something to a channel that exists, as somebody else would."""
        with self._lock:
            channels = self._channels[pipe]
            if (channel := channels.get(_key(name))) is not None:
                change(channels, channel)

    def peek(self, pipe: str, name: str) -> dict[str, Any] | None:
        """Describe a channel without counting as a request for its status."""
        with self._lock:
            channel = self._channels[pipe].get(_key(name))
            return None if channel is None else self._describe(pipe, channel)

    def clear(self) -> None:
        """Forget all channels and rows."""
        with self._lock:
            self._channels.clear()
            self._rows.clear()

    def settle(self) -> None:
        """Commit everything that waits, as time would."""
        with self._lock:
            for pipe, channels in self._channels.items():
                for channel in channels.values():
                    for waiting in channel.waiting:
                        waiting.polls = 0
                    self._commit(pipe, channel)

    def lines(self, pipe: str, channel: str | None = None) -> Iterator[bytes]:
        """Yield the committed rows as NDJSON, an append at a time, in the order of their commit."""
        with self._lock:
            stored = list(self._rows[pipe])
        for one in stored:
            if channel is None or one.channel == channel:
                with pa.CompressedInputStream(pa.BufferReader(one.packed), "zstd") as stream:
                    yield stream.read()

    def rows(self, pipe: str, channel: str | None = None) -> list[dict[str, Any]]:
        """Return the committed rows, with numbers as text where a float would lose digits."""
        found = []
        for lines in self.lines(pipe, channel):
            found += [json.loads(line, parse_float=str) for line in lines.splitlines() if line.strip()]
        return found

    # -- within ------------------------------------------------------------------------------------------------------

    def _admit(self, channel: Channel, query: Mapping[str, str]) -> None:
        """Let an append with the right token in, and make the next token. Raises Refused."""
        self._limit(channel)
        if channel.status != "SUCCESS":
            raise Refused(409, channel.status, "The channel is invalid and must be reopened.")
        token = query.get("continuationToken")
        if token is None:
            raise Refused(400, "INVALID_REQUEST", "continuationToken is missing.")
        if token != channel.token:
            raise Refused(
                400,
                "STALE_CONTINUATION_TOKEN_SEQUENCER",
                f"Channel {channel.name} has a newer continuation token; reopen it.",
            )
        channel.row_sequencer += 1

    def _limit(self, channel: Channel) -> None:
        if self._requests_per_s is None:
            return
        now = time.monotonic()
        channel.requests = [at for at in channel.requests if now - at < 1.0]
        if len(channel.requests) >= self._requests_per_s:
            raise Refused(429, "RATE_LIMIT", "Too many requests for this channel.")
        channel.requests.append(now)

    def _commit(self, pipe: str, channel: Channel) -> None:
        while channel.waiting and channel.waiting[0].polls <= 0:
            waiting = channel.waiting.pop(0)
            loaded = waiting.loaded
            if loaded.rows:
                self._rows[pipe].append(_Stored(channel.name, waiting.packed))
            channel.inserted += loaded.rows
            channel.parsed += loaded.rows + loaded.errors
            channel.errors += loaded.errors
            channel.committed = waiting.end if waiting.end is not None else channel.committed
            if loaded.errors:
                channel.last_error, channel.last_error_offset = loaded.message, waiting.end
                channel.last_error_at = _now_ms()

    def _describe(self, pipe: str, channel: Channel) -> dict[str, Any]:
        database, schema, name = pipe.split("/")
        return {
            "database_name": database,
            "schema_name": schema,
            "pipe_name": name,
            "channel_name": channel.name,
            "channel_status_code": channel.status,
            "last_committed_offset_token": channel.committed,
            "created_on_ms": channel.created_at,
            "rows_inserted": channel.inserted,
            "rows_parsed": channel.parsed,
            "rows_error_count": channel.errors,
            "last_error_offset_upper_bound": channel.last_error_offset,
            "last_error_message": channel.last_error,
            "last_error_timestamp": channel.last_error_at,
            "snowflake_avg_processing_latency_ms": 5,
        }


def _key(name: str) -> str:
    return name.upper()


def _now_ms() -> int:
    return int(time.time() * 1000)
