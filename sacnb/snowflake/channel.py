"""A channel: rows go in, in order, and each is committed once, whatever happens on the way.

Rows become chunks here, and ``Delivery`` brings each chunk to Snowflake and keeps it until it is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Self

from sacnb._arguments import one_of, seconds, whole_number
from sacnb._wire.telemetry import room_logger
from sacnb.errors import NotCommittedError, QueryError, RejectedRowsError
from sacnb.snowflake.delivery import Delivery, Sender, polling_pauses_s
from sacnb.snowflake.status import ChannelStatus

if TYPE_CHECKING:
    from sacnb.snowflake.chunks import Chunk, Compression
    from sacnb.snowflake.names import Pipe
    from sacnb.snowflake.rows import NotFinite

__all__ = ["Channel"]

log: Final = room_logger("snowflake")

_MAX_UNCOMMITTED_BYTES: Final = 32_000_000
_WARN_EVERY_S: Final = 60.0


class Channel:
    """An open channel, for one thread at a time. Made by ``SnowflakeClient.open_channel``.

    ``compression`` is ``"zstd"`` or ``"gzip"``. ``not_finite`` says what becomes of NaN and infinities, which JSON
    cannot say: ``"error"`` or ``"null"``. ``row_errors`` says what becomes of rows that Snowflake cannot load and
    leaves out: ``"error"`` raises RejectedRowsError once the others are committed, ``"warn"`` logs.
    ``commit_timeout_s`` is how long to wait for room where much is not committed yet, and in ``close``.

    ``committed`` and ``appended`` are numbers of rows since the channel was created. A program that starts again goes
    on after ``committed`` rows.
    """

    __module__ = "sacnb.snowflake"

    def __init__(
        self,
        client: Sender,
        pipe: Pipe,
        name: str,
        *,
        compression: Compression = "zstd",
        not_finite: NotFinite = "error",
        row_errors: str = "error",
        commit_timeout_s: float = 300.0,
        max_uncommitted_bytes: int = _MAX_UNCOMMITTED_BYTES,
    ) -> None:
        from sacnb.snowflake.chunks import Chunker

        one_of("compression", compression, ("zstd", "gzip"))
        one_of("not_finite", not_finite, ("error", "null"))
        self._raises_row_errors = one_of("row_errors", row_errors, ("error", "warn")) == "error"
        self._commit_timeout_s = seconds("commit_timeout_s", commit_timeout_s) or 0.0
        self._max_uncommitted = whole_number("max_uncommitted_bytes", max_uncommitted_bytes) or 0
        self.name = name
        self.pipe = pipe
        self._client = client
        self._lock = threading.RLock()
        self._is_closed = False
        self._delivery = Delivery(client, pipe, name)
        self._errors_before = self._errors_raised = self._delivery.rows_errors
        self._chunker = Chunker(self.committed, compression=compression, not_finite=not_finite)

    @property
    def committed(self) -> int:
        """The number of rows that Snowflake has committed, as far as it was asked."""
        return self._delivery.committed

    @property
    def appended(self) -> int:
        """The number of rows handed over, those of earlier programs included."""
        return self._chunker.rows

    @property
    def rejected(self) -> int:
        """The number of rows that Snowflake could not load since the channel was opened here."""
        return self._delivery.rows_errors - self._errors_before

    def __repr__(self) -> str:
        return f"<Channel {self.name} of {self.pipe}: {self.committed:,} of {self.appended:,} rows committed>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A channel is not pickled: one program at a time writes to it. Open it where it is needed.")

    # -- appending ---------------------------------------------------------------------------------------------------

    def append_rows(self, rows: object) -> int:
        """Append the rows of a frame, an Arrow table or a stream of batches; return ``appended``.

        Rows are collected until an append is worth its request. ``flush`` sends what is left, as ``wait_for_commit``
        and ``close`` do. A thread compresses the next rows while an append is under way; when this returns or raises,
        it has ended.

        Raises QueryError for rows that cannot be written; what sending raises; NotCommittedError where Snowflake
        commits nothing for ``commit_timeout_s`` while too much waits for it. After an error of the network or of
        Snowflake the rows are kept, as many as ``appended`` says: ``flush`` sends them.
        """
        from sacnb.snowflake.ahead import Ahead
        from sacnb.snowflake.rows import batches

        with self._lock:
            self._refuse_closed()
            ahead = Ahead(self._chunker)
            try:
                for chunk in ahead.chunks(batches(rows)):
                    self._enqueue(chunk)
            finally:
                for chunk in ahead.stop():
                    self._delivery.keep(chunk)
            return self.appended

    def flush(self) -> None:
        """Send all rows that were handed over. Raises what sending raises."""
        with self._lock:
            self._refuse_closed()
            for chunk in self._chunker.finish():
                self._enqueue(chunk)
            self._delivery.drain()

    def _enqueue(self, chunk: Chunk) -> None:
        delivery, most = self._delivery, self._max_uncommitted
        delivery.keep(chunk)
        delivery.drain()
        if delivery.waiting_bytes > most:
            self._wait(lambda: delivery.waiting_bytes <= most // 2, self._commit_timeout_s)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def status(self) -> ChannelStatus:
        """Ask for the status. Raises ChannelError where the channel is gone."""
        return self._delivery.status()

    def wait_for_commit(self, timeout_s: float = 300.0) -> ChannelStatus:
        """Send what is left, and wait until all rows are committed; return the last status.

        A warning is logged every minute. Raises NotCommittedError after ``timeout_s`` seconds; RejectedRowsError where
        Snowflake could not load rows and left them out; ChannelError; AuthError and RequestError.
        """
        timeout_s = seconds("timeout_s", timeout_s) or 0.0
        with self._lock:
            self.flush()
            status = self._wait(lambda: self._delivery.is_done, timeout_s)
            errors = self._delivery.rows_errors
            rejected, self._errors_raised = errors - self._errors_raised, errors
            if rejected and self._raises_row_errors:
                raise RejectedRowsError(
                    f"Snowflake could not load {rejected:,} rows, and left them out; the others are committed. The "
                    f"last message: {status.last_error or 'none'} (in the append that ends at row "
                    f"{status.last_error_offset or 'unknown'}).",
                    rows=rejected,
                    last_message=status.last_error or "",
                    hint="Compare the types of the table with the frame's; create_table() prints a fitting one.",
                )
            return status

    def _wait(self, is_done: Callable[[], bool], timeout_s: float) -> ChannelStatus:
        client, delivery = self._client, self._delivery
        started = warned_at = client.clock()
        pauses_s = polling_pauses_s()
        while True:
            status = delivery.refresh()
            if is_done():
                return status
            now = client.clock()
            if now - started >= timeout_s:
                raise NotCommittedError(
                    f"After {now - started:.0f} s, {self.committed:,} of {delivery.last_row:,} rows of channel "
                    f"{self.name!r} are committed.",
                    committed=self.committed,
                    appended=delivery.last_row,
                    hint="The rows are not lost: wait_for_commit() waits on, and opening the channel again tells after "
                    "which row to go on.",
                )
            if now - warned_at >= _WARN_EVERY_S:
                warned_at = now
                log.warning(
                    "Channel %s: waiting for %.0f s; %d of %d rows are committed.",
                    self.name,
                    now - started,
                    self.committed,
                    delivery.last_row,
                )
            client.sleep(min(next(pauses_s), max(timeout_s - (now - started), 0.01)))

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float | None = None) -> None:
        """Wait until all rows are committed, and take no more. The channel and its offset stay: nothing is dropped.

        ``timeout_s`` is ``commit_timeout_s`` where it is not given. Raises what ``wait_for_commit`` raises; the channel
        is then still open here, unless rows were left out.
        """
        with self._lock:
            if self._is_closed:
                return
            try:
                self.wait_for_commit(self._commit_timeout_s if timeout_s is None else timeout_s)
            except RejectedRowsError:
                self._is_closed = True
                raise
            self._is_closed = True

    def drop(self) -> None:
        """Remove the channel from Snowflake, and with it the memory of what is committed. Committed rows stay.

        Raises RequestError, also where rows are not committed yet.
        """
        with self._lock:
            self._is_closed = True
            self._client.send(
                "DELETE",
                self.pipe.channel_path(self.name),
                query="&fail_on_uncommitted_rows=true",
                operation="drop channel",
                expect="any",
            )

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise QueryError(f"The channel {self.name!r} is closed.", hint="Open it again: client.open_channel(...).")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channel; after an error of the block, leave it as it is."""
        if kind is None:
            self.close()
