"""The connection to an account: find the ingest host, get its tokens, open channels and ask for their status."""

from __future__ import annotations

import contextlib
import random as _random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self
from urllib.parse import urlsplit

from sacnb._arguments import names as checked_names
from sacnb._arguments import required_text
from sacnb._auth.token import TokenEnvelope, utc_now
from sacnb._fork import renew_after_fork
from sacnb._http import Origin
from sacnb._redact import one_line
from sacnb._wire.context import DispatchContext
from sacnb._wire.message import Answer
from sacnb._wire.telemetry import Telemetry, TelemetrySummary, discover
from sacnb.errors import BadAnswer, QueryError, RequestError
from sacnb.snowflake.engine import engine
from sacnb.snowflake.names import Pipe, identifier, split_table
from sacnb.snowflake.settings import SnowflakeSettings
from sacnb.snowflake.status import ChannelStatus, read_object
from sacnb.snowflake.tokens import ScopedToken, read_text_or_json

if TYPE_CHECKING:
    from sacnb.snowflake.channel import Channel

__all__ = ["SnowflakeClient"]

_HOSTNAME_PATH: Final = "/v2/streaming/hostname"
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?::\d{1,5})?")
_OPEN_IN_PROGRESS: Final = "ERR_OPEN_CHANNEL_IN_PROGRESS"
_OPEN_ATTEMPTS: Final = 5
_MAX_STATUSES: Final = 1_000


class SnowflakeClient:
    """A connection to a Snowflake account, safe for threads. Made by ``sacnb.snowflake.connect``; close it.

    Every request goes through the engine that sacnb uses for SAC: one token for all threads, refreshed in time, one new
    token after a 401, one wait after a 429, and retries where repeating does no harm.
    """

    __module__ = "sacnb.snowflake"

    def __init__(
        self,
        settings: SnowflakeSettings,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._settings = settings
        self._clocks: dict[str, Any] = {"now": now, "clock": clock, "sleep": sleep, "random": random}
        self._telemetry = Telemetry(exporter=discover())
        self._control = self._engine(settings.url, settings.source, settings.token_type)
        self._ingest: DispatchContext | None = None
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Make the lock anew: a thread of the parent may have held it."""
        self._lock = threading.Lock()

    def _engine(self, url: str, source: Any, token_type: str) -> DispatchContext:
        return engine(
            url,
            source,
            token_type=token_type,
            verify=self._settings.verify,
            margin_s=self._settings.margin_s,
            max_answer_mb=self._settings.max_answer_mb,
            telemetry=self._telemetry,
            **self._clocks,
        )

    def __repr__(self) -> str:
        return f"<SnowflakeClient {self._control.guard.principal} at {urlsplit(self._settings.url).netloc}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client is not pickled: pass the settings and connect again where they arrive.")

    @property
    def principal(self) -> str:
        """Account and user, as they stand in tokens."""
        return self._control.guard.principal

    @property
    def telemetry(self) -> TelemetrySummary:
        """Counters of this connection: requests, retries, token renewals, seconds waited."""
        return self._telemetry.summary()

    # -- signing in --------------------------------------------------------------------------------------------------

    def discover_ingest_host(self) -> str:
        """Ask the account for the host that takes rows, and return it.

        The answer is the name as text, or JSON with a ``hostname``. Underscores become dashes, as Snowflake asks for;
        where the account's own address names a port, the host has the same one.

        Raises AuthError, RequestError, and BadAnswer for an answer without a host name.
        """
        answer = self._control.session.fetch("GET", _HOSTNAME_PATH, operation="ingest host", accept="*/*", expect="any")
        host = read_text_or_json(answer.body, "hostname")
        if not _HOST.fullmatch(host) or ".." in host:
            raise BadAnswer(
                f"Snowflake named no ingest host, but {one_line(host, 60)!r}.",
                hint="Look at SNOWFLAKE_ACCOUNT and SNOWFLAKE_URL: do they lead to Snowflake itself, or to a proxy?",
            )
        return host.replace("_", "-")

    def get_scoped_token(self) -> TokenEnvelope:
        """Return a token for the ingest host that is valid now; only its ``value.reveal()`` shows it.

        Raises AuthError and RequestError.
        """
        return self._for_rows().guard.ensure().token

    def _for_rows(self) -> DispatchContext:
        """Return the engine for the ingest host."""
        with self._lock:
            if self._ingest is None:
                host = self.discover_ingest_host()
                source = ScopedToken(self._control, host.partition(":")[0])
                self._ingest = self._engine(self._ingest_url(host), source, "OAUTH")
            return self._ingest

    def _ingest_url(self, host: str) -> str:
        control = urlsplit(self._settings.url)
        port = "" if ":" in host or control.port is None else f":{control.port}"
        url = f"{control.scheme}://{host}{port}"
        if Origin.of(url) is None:
            raise BadAnswer(f"Snowflake named the ingest host {host!r}, which is no address.")
        return url

    # -- channels ----------------------------------------------------------------------------------------------------

    def open_channel(
        self,
        table: str,
        channel: str,
        *,
        database: str | None = None,
        schema: str | None = None,
        pipe: str | None = None,
        **options: Any,
    ) -> Channel:
        """Open a channel to write rows of *table*, and read how many of its rows are committed.

        Whoever had the channel open cannot write to it any more, and rows of theirs that are not committed are
        discarded: ``committed`` of the channel says after which row to go on. The table's pipe
        ``<TABLE>-STREAMING`` is made by Snowflake on first use; *pipe* names another one. ``options`` are those of
        ``Channel``.

        Raises AuthError, RequestError, and ChannelError where another program's offsets are in the channel.
        """
        from sacnb.snowflake.channel import Channel

        name = required_text("channel", channel)
        return Channel(self, self.pipe(table, database=database, schema=schema, pipe=pipe), name, **options)

    def get_channel_status(
        self,
        table: str,
        channel: str,
        *,
        database: str | None = None,
        schema: str | None = None,
        pipe: str | None = None,
    ) -> ChannelStatus | None:
        """Return the status of a channel, ``None`` where there is none. Names of channels are case-sensitive here.

        Raises AuthError and RequestError.
        """
        name = required_text("channel", channel)
        return self.get_channel_statuses(table, [name], database=database, schema=schema, pipe=pipe).get(name)

    def get_channel_statuses(
        self,
        table: str,
        channels: Iterable[str],
        *,
        database: str | None = None,
        schema: str | None = None,
        pipe: str | None = None,
    ) -> dict[str, ChannelStatus]:
        """Return the status of several channels by their names; those that do not exist are absent.

        Raises AuthError and RequestError.
        """
        wanted = checked_names("channels", channels) or ()
        return self.statuses_of(self.pipe(table, database=database, schema=schema, pipe=pipe), wanted)

    def pipe(
        self, table: str, *, database: str | None = None, schema: str | None = None, pipe: str | None = None
    ) -> Pipe:
        """Return the pipe of *table*, which may be ``DATABASE.SCHEMA.NAME``, or the one that is named.

        Raises QueryError where a name is missing, or given twice.
        """
        if pipe is None:
            table, database, schema = split_table(table, database, schema)
        database, schema = database or self._settings.database, schema or self._settings.schema
        if not database or not schema:
            raise QueryError(
                "The database or the schema of the table is missing.",
                hint="Pass database= and schema=, or set SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA.",
            )
        names = identifier("database", database), identifier("schema", schema)
        if pipe is not None:
            return Pipe(*names, identifier("pipe", pipe))
        return Pipe.of_table(*names, identifier("table", table))

    # -- requests, for channels --------------------------------------------------------------------------------------

    def statuses_of(self, pipe: Pipe, names: Iterable[str]) -> dict[str, ChannelStatus]:
        """Ask for the status of channels, in as many requests as it takes."""
        wanted, found = list(dict.fromkeys(names)), {}
        for start in range(0, len(wanted), _MAX_STATUSES):
            part = wanted[start : start + _MAX_STATUSES]
            # It reads only, whatever its method says.
            answer = self.send(
                "POST",
                f"{pipe.path()}:bulk-channel-status",
                operation="channel status",
                json={"channel_names": part},
                idempotent=True,
            )
            statuses = read_object(answer.body, "the request for a channel's status").get("channel_statuses")
            if not isinstance(statuses, Mapping):  # no channel at all would be an empty one
                raise BadAnswer("Snowflake's answer to the request for a channel's status holds none.", truncated=True)
            found.update({name: ChannelStatus.read(statuses[name], name) for name in part if name in statuses})
        return found

    def open_on(self, pipe: Pipe, name: str) -> tuple[str, ChannelStatus]:
        """Open a channel; return its first continuation token and its status."""
        for attempt in range(1, _OPEN_ATTEMPTS + 1):
            with contextlib.suppress(_InProgress):
                answer = self._open_once(pipe, name, is_last=attempt == _OPEN_ATTEMPTS)
                break
            self.sleep(attempt * (0.25 + 0.5 * self._clocks["random"]()))
        fields = read_object(answer.body, "opening a channel")
        token = fields.get("next_continuation_token")
        if not isinstance(token, str) or not token:
            raise BadAnswer(f"Snowflake opened the channel {name!r} without a continuation token.")
        return token, ChannelStatus.read(fields.get("channel_status"), name)

    def _open_once(self, pipe: Pipe, name: str, *, is_last: bool) -> Answer:
        try:
            return self.send(
                "PUT",
                pipe.channel_path(name),
                operation="open channel",
                json={"fail_on_uncommitted_rows": False},
            )
        except RequestError as error:
            if error.code != _OPEN_IN_PROGRESS or is_last:
                raise
        raise _InProgress

    def send(self, method: str, path: str, *, operation: str, query: str = "", **options: Any) -> Answer:
        """Send a request to the ingest host, with an id by which Snowflake's support finds it."""
        path = f"{path}?requestId={uuid.uuid4()}&retryCount=0{query}"
        options.setdefault("expect", "json")
        return self._for_rows().session.fetch(method, path, operation=operation, **options)

    def clock(self) -> float:
        """Return monotonic seconds."""
        seconds: float = self._clocks["clock"]()
        return seconds

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._clocks["sleep"](seconds)

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections that are kept open. Channels stay as they are."""
        self._control.close()
        if self._ingest is not None:
            self._ingest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _InProgress(Exception):
    """Another request to open the channel is under way."""
