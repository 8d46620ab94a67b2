"""A channel: rows go in, in order, and each is committed once, whatever happens on the way.

The offset of an append is the number of the channel's last row in it. Snowflake keeps the offset of what it has
committed, and takes an append only with the token of the one before, so that none comes twice or out of order. Appends
are kept here until they are committed. Where it is not certain what became of one (no answer, a refused token, an
invalidated channel), nothing is sent again blindly: the channel is opened anew, which discards what is not committed
and tells the last committed offset, and the appends after that offset are sent.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, Self
from urllib.parse import quote

from sacnb._arguments import one_of, seconds, whole_number
from sacnb._wire.telemetry import room_logger
from sacnb.errors import (
    BadAnswer,
    ChannelError,
    NoAnswerError,
    NotCommittedError,
    QueryError,
    RejectedRowsError,
    RequestError,
    ServerError,
)
from sacnb.snowflake.status import ChannelStatus, read_object, row_number

if TYPE_CHECKING:
    from sacnb._wire.message import Answer
    from sacnb.snowflake.names import Pipe
    from sacnb.snowflake.rows import Chunk, Compression, NotFinite

__all__ = ["Channel"]

log: Final = room_logger("snowflake")

_SESSION_HEADER: Final = "x-snowflake-session"
# Of a named channel, by the page about limits: uncompressed, and appends.
_BYTES_PER_S: Final = 20_000_000
_APPENDS_PER_S: Final = 10
_MAX_UNCOMMITTED_BYTES: Final = 32_000_000
_WARN_EVERY_S: Final = 60.0
_POLLS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_MAX_REOPENED: Final = 5
# How long to wait for commits before a channel is opened again, and after each append behind that.
_GRACE_S: Final = 2.0
_CAUTION_S: Final = 5.0
_GONE: Final = "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED"
# After these a channel has to be opened again.
_REOPEN_CODES: Final = frozenset(
    {
        "STALE_CONTINUATION_TOKEN_SEQUENCER",
        "STALE_PIPE_CACHE",
        "ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER",
        "ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER",
        "ERR_CHANNEL_MUST_BE_REOPENED",
        "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP",
    }
)


class Sender(Protocol):
    """The part of a client that a channel needs."""

    def open_on(self, pipe: Pipe, name: str) -> tuple[str, ChannelStatus]:
        """Open a channel; return its first continuation token and its status."""
        ...

    def statuses_of(self, pipe: Pipe, names: Iterable[str]) -> dict[str, ChannelStatus]:
        """Return the status of channels by their names."""
        ...

    def send(self, method: str, path: str, *, operation: str, query: str = "", **options: Any) -> Answer:
        """Send a request to the ingest host."""
        ...

    def clock(self) -> float:
        """Return monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Channel:
    """An open channel, for one thread at a time. Made by ``SnowflakeClient.open_channel``.

    ``compression`` is ``"zstd"`` or ``"gzip"``. ``not_finite`` says what becomes of NaN and infinities, which JSON
    cannot say: ``"error"`` or ``"null"``. ``row_errors`` says what becomes of rows that Snowflake cannot load and
    leaves out: ``"error"`` raises RejectedRowsError once the others are committed, ``"warn"`` logs.
    ``commit_timeout_s`` is how long to wait for room where much is not committed yet.

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
        from sacnb.snowflake.rows import Chunker

        one_of("compression", compression, ("zstd", "gzip"))
        one_of("not_finite", not_finite, ("error", "null"))
        self._raises_row_errors = one_of("row_errors", row_errors, ("error", "warn")) == "error"
        self._commit_timeout_s = seconds("commit_timeout_s", commit_timeout_s) or 0.0
        self._max_uncommitted = whole_number("max_uncommitted_bytes", max_uncommitted_bytes) or 0
        self.name = name
        self.pipe = pipe
        self._client = client
        self._lock = threading.RLock()
        self._pending: deque[Chunk] = deque()  # not committed
        self._sent = 0  # of those, from the left
        self._reopened = 0  # without an append that went through
        self._is_cautious = False  # wait for each commit, since the channel was opened again
        self._session: str | None = None
        self._next_append_at = 0.0
        self._is_closed = False
        self._continuation, status = client.open_on(pipe, name)
        self.committed = self._rows_of(status)
        self._errors_before = self._errors_seen = self._errors_raised = status.rows_errors
        self._chunker = Chunker(self.committed, compression=compression, not_finite=not_finite)
        log.info("Channel %s of %s is open; %d rows are committed.", name, pipe, self.committed)

    @property
    def appended(self) -> int:
        """The number of rows handed over, those of earlier programs included."""
        return self._chunker.rows

    @property
    def rejected(self) -> int:
        """The number of rows that Snowflake could not load since the channel was opened here."""
        return self._errors_seen - self._errors_before

    def __repr__(self) -> str:
        return f"<Channel {self.name} of {self.pipe}: {self.committed:,} of {self.appended:,} rows committed>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A channel is not pickled: one program at a time writes to it. Open it where it is needed.")

    # -- appending ---------------------------------------------------------------------------------------------------

    def append_rows(self, rows: object) -> int:
        """Append the rows of a frame, an Arrow table or a stream of batches; return ``appended``.

        Rows are collected until an append is worth its request. ``flush`` sends what is left, as ``wait_for_commit``
        and ``close`` do.

        Raises QueryError for rows that cannot be written; what sending raises; NotCommittedError where Snowflake
        commits nothing for ``commit_timeout_s`` while too much waits for it. After an error of the network or of
        Snowflake the rows are kept: ``flush`` sends them.
        """
        from sacnb.snowflake.rows import batches

        with self._lock:
            self._refuse_closed()
            for batch in batches(rows):
                for chunk in self._chunker.add(batch):
                    self._enqueue(chunk)
            return self.appended

    def flush(self) -> None:
        """Send all rows that were handed over. Raises what sending raises."""
        with self._lock:
            self._refuse_closed()
            for chunk in self._chunker.finish():
                self._enqueue(chunk)
            self._drain()

    def _enqueue(self, chunk: Chunk) -> None:
        self._pending.append(chunk)
        self._drain()
        if self._waiting_bytes() > self._max_uncommitted:
            self._wait(lambda: self._waiting_bytes() <= self._max_uncommitted // 2, self._commit_timeout_s)

    def _waiting_bytes(self) -> int:
        return sum(len(chunk.body) for chunk in self._pending)

    def _drain(self) -> None:
        """Send what has not been sent, opening the channel again where it is not certain what became of an append."""
        while self._sent < len(self._pending):
            chunk = self._pending[self._sent]
            try:
                self._send(chunk)
            except (RequestError, BadAnswer) as error:
                if getattr(error, "code", None) == _GONE:
                    raise self._broken("It does not exist any more: it was dropped", error) from error
                if not _is_uncertain(error):
                    raise
                failure = error
            else:
                self._sent += 1
                self._reopened = 0
                if self._is_cautious:
                    self._let_commit(_CAUTION_S)
                    self._is_cautious = self._sent > 0
                continue
            self._let_commit(_GRACE_S)
            self._reopen(failure)

    def _let_commit(self, limit_s: float) -> None:
        """Give Snowflake a moment to commit what was sent, since opening the channel anew discards the rest.

        Where appends fail again and again, no row would ever be committed without it.
        """
        client = self._client
        ends_at, polls = client.clock() + limit_s, 0
        while self._sent:
            status = client.statuses_of(self.pipe, [self.name]).get(self.name)
            if status is None or not status.is_healthy:
                return  # whatever it is, opening the channel or the next append tells
            self._settle(max(self.committed, self._checked(status)))
            self._note_errors(status)
            if not self._sent or client.clock() >= ends_at:
                return
            client.sleep(_POLLS_S[min(polls, len(_POLLS_S) - 1)])
            polls += 1

    def _send(self, chunk: Chunk) -> None:
        self._keep_pace(chunk)
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": chunk.encoding,
            "x-snowflake-uncompressed-content-length": str(chunk.raw_bytes),
        }
        if self._session is not None:  # the next append goes to the machine that took the last one
            headers[_SESSION_HEADER] = self._session
        answer = self._client.send(
            "POST",
            f"{self.pipe.channel_path(self.name, data=True)}/rows",
            query=f"&continuationToken={quote(self._continuation, safe='')}"
            f"&startOffsetToken={chunk.first}&endOffsetToken={chunk.last}",
            operation="append rows",
            data=chunk.body,
            headers=headers,
            idempotent=False,
        )
        token = read_object(answer.body, "an append").get("next_continuation_token")
        if not isinstance(token, str) or not token:
            raise BadAnswer("Snowflake answered an append without a continuation token.", truncated=True)
        self._continuation = token
        self._session = answer.headers.get(_SESSION_HEADER)

    def _keep_pace(self, chunk: Chunk) -> None:
        now = self._client.clock()
        if now < self._next_append_at:
            self._client.sleep(self._next_append_at - now)
        start = max(now, self._next_append_at)
        self._next_append_at = start + max(1 / _APPENDS_PER_S, chunk.raw_bytes / _BYTES_PER_S)

    def _reopen(self, failure: RequestError | BadAnswer) -> None:
        """Open the channel anew, and go on after the rows that are committed."""
        self._reopened += 1
        if self._reopened > _MAX_REOPENED:
            self._reopened = 0  # whoever calls again means it
            failure.add_note(f"The channel was opened again {_MAX_REOPENED} times, and no append went through.")
            raise failure
        log.warning("Channel %s: %s Opening it again to read what is committed.", self.name, failure.message)
        last_sent = self._pending[-1].last if self._pending else self.committed
        self._continuation, status = self._client.open_on(self.pipe, self.name)
        self._session, self._sent, self._is_cautious = None, 0, True
        committed = self._rows_of(status)
        if committed < self.committed:
            raise self._broken(
                f"Its history is gone: {self.committed:,} rows were committed, and now it knows of {committed:,}. "
                "It was dropped, or its table was replaced",
                failure,
            )
        if committed > last_sent:
            raise self._broken(f"Another program writes to it: {committed:,} rows are committed", failure)
        self._settle(committed)
        self._note_errors(status)
        if self._pending and self._pending[0].first <= committed:
            raise self._broken(f"{committed:,} rows are committed, which is no end of an append of ours", failure)

    def _settle(self, committed: int) -> None:
        """Forget the appends that are committed."""
        self.committed = committed
        while self._pending and self._pending[0].last <= committed:
            self._pending.popleft()
            self._sent = max(0, self._sent - 1)

    def _rows_of(self, status: ChannelStatus) -> int:
        rows = row_number(status.committed_token)
        if rows is None:
            raise self._broken(
                f"Its offset is {status.committed_token!r}, which is no number of rows: another program writes to it"
            )
        return rows

    def _broken(self, what: str, cause: RequestError | BadAnswer | None = None) -> ChannelError:
        return ChannelError(
            f"The channel {self.name!r} of {self.pipe} cannot be written to. {what}.",
            code=getattr(cause, "code", None),
            status=getattr(cause, "status", None),
            hint="Give each program a channel of its own. After a drop, compare the table with its source before you "
            "write again.",
        )

    # -- waiting -----------------------------------------------------------------------------------------------------

    def status(self) -> ChannelStatus:
        """Ask for the status. Raises ChannelError where the channel is gone."""
        found = self._client.statuses_of(self.pipe, [self.name]).get(self.name)
        if found is None:
            raise self._broken("It does not exist any more: it was dropped")
        return found

    def wait_for_commit(self, timeout_s: float = 300.0) -> ChannelStatus:
        """Send what is left, and wait until all rows are committed; return the last status.

        A warning is logged every minute. Raises NotCommittedError after ``timeout_s`` seconds; RejectedRowsError where
        Snowflake could not load rows and left them out; ChannelError; AuthError and RequestError.
        """
        timeout_s = seconds("timeout_s", timeout_s) or 0.0
        with self._lock:
            self.flush()
            status = self._wait(lambda: not self._pending, timeout_s)
            rejected, self._errors_raised = self._errors_seen - self._errors_raised, self._errors_seen
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
        client = self._client
        started = warned_at = client.clock()
        polls = 0
        while True:
            status = self.status()
            if status.is_healthy:
                self._settle(max(self.committed, self._checked(status)))
                self._note_errors(status)
            else:
                self._reopen(self._broken(f"Its status is {status.code}"))
                self._drain()
            if is_done():
                return status
            now = client.clock()
            if now - started >= timeout_s:
                raise NotCommittedError(
                    f"After {now - started:.0f} s, {self.committed:,} of {self._pending[-1].last:,} rows of channel "
                    f"{self.name!r} are committed.",
                    committed=self.committed,
                    appended=self._pending[-1].last,
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
                    self._pending[-1].last,
                )
            client.sleep(min(_POLLS_S[min(polls, len(_POLLS_S) - 1)], max(timeout_s - (now - started), 0.01)))
            polls += 1

    def _checked(self, status: ChannelStatus) -> int:
        committed = self._rows_of(status)
        if self._pending and committed > self._pending[-1].last:
            raise self._broken(f"Another program writes to it: {committed:,} rows are committed")
        return committed

    def _note_errors(self, status: ChannelStatus) -> None:
        new, self._errors_seen = status.rows_errors - self._errors_seen, max(status.rows_errors, self._errors_seen)
        if new > 0:
            log.warning(
                "Channel %s: Snowflake could not load %d rows, and left them out. %s", self.name, new, status.last_error
            )

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float = 300.0) -> None:
        """Wait until all rows are committed, and take no more. The channel and its offset stay: nothing is dropped.

        Raises what ``wait_for_commit`` raises; the channel is then still open here, unless rows were left out.
        """
        with self._lock:
            if self._is_closed:
                return
            try:
                self.wait_for_commit(timeout_s)
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


def _is_uncertain(error: RequestError | BadAnswer) -> bool:
    """Return whether an append may or may not have been taken, or the channel has to be opened again."""
    if isinstance(error, ChannelError):
        return False
    if isinstance(error, BadAnswer):
        return error.truncated
    return isinstance(error, NoAnswerError | ServerError) or error.code in _REOPEN_CODES or error.status == 409
