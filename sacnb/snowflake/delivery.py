"""Send the appends of a channel in order, and keep each until it is committed.

The offset of an append is the number of the channel's last row in it. Snowflake keeps the offset of what it has
committed, and takes an append only with the token of the one before, so that none comes twice or out of order. Where it
is not certain what became of one (no answer, a refused token, an invalidated channel), nothing is sent again blindly:
the channel is opened anew, which discards what is not committed and tells the last committed offset, and the appends
after that offset are sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from sacnb._wire.telemetry import room_logger
from sacnb.errors import BadAnswer, ChannelError, NoAnswerError, RequestError, ServerError
from sacnb.snowflake.status import ChannelStatus, read_object, row_number

if TYPE_CHECKING:
    from sacnb._wire.message import Answer
    from sacnb.snowflake.chunks import Chunk
    from sacnb.snowflake.names import Pipe

__all__ = ["Delivery", "Sender", "polling_pauses_s"]

log: Final = room_logger("snowflake")

_SESSION_HEADER: Final = "x-snowflake-session"
# Of a named channel, by the page about limits: uncompressed, and appends.
_BYTES_PER_S: Final = 20_000_000
_APPENDS_PER_S: Final = 10
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


def polling_pauses_s() -> Iterator[float]:
    """Yield the seconds between two requests for a status, longer and longer."""
    yield from _POLLS_S
    yield from repeat(_POLLS_S[-1])


class Delivery:
    """An open channel and the appends that it has not committed. For one thread at a time.

    ``committed`` is the number of rows committed since the channel was created, ``rows_errors`` of those that could not
    be loaded.
    """

    def __init__(self, client: Sender, pipe: Pipe, name: str) -> None:
        self.pipe = pipe
        self.name = name
        self._client = client
        self._pending: deque[Chunk] = deque()  # not committed
        self._sent = 0  # of those, from the left
        self._reopened = 0  # without an append that went through
        self._is_cautious = False  # wait for each commit, since the channel was opened again
        self._session: str | None = None
        self._next_append_at = 0.0
        self._continuation, status = client.open_on(pipe, name)
        self.committed = self._rows_of(status)
        self._possible = self.committed  # the last row that may be committed: of the appends that were not refused
        self.rows_errors = status.rows_errors
        log.info("Channel %s of %s is open; %d rows are committed.", name, pipe, self.committed)

    @property
    def is_done(self) -> bool:
        """True when all appends are committed."""
        return not self._pending

    @property
    def last_row(self) -> int:
        """The number of the last row that was handed over in an append."""
        return self._pending[-1].last if self._pending else self.committed

    @property
    def waiting_bytes(self) -> int:
        """The size of the appends that are not committed, as they go over the wire."""
        return sum(len(chunk.body) for chunk in self._pending)

    def keep(self, chunk: Chunk) -> None:
        """Take an append in, to be sent by the next ``drain``."""
        self._pending.append(chunk)

    # -- sending -----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Send what has not been sent, opening the channel again where it is not certain what became of an append."""
        while self._sent < len(self._pending):
            chunk = self._pending[self._sent]
            try:
                self._send(chunk)
            except (RequestError, BadAnswer) as error:
                if getattr(error, "code", None) == _GONE:
                    raise self.broken("It does not exist any more: it was dropped", error) from error
                if not _is_uncertain(error):
                    raise
                if not _was_refused(error):
                    self._possible = max(self._possible, chunk.last)
                failure = error
            else:
                self._sent += 1
                self._possible = max(self._possible, chunk.last)
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
        ends_at = client.clock() + limit_s
        for pause_s in polling_pauses_s():
            if not self._sent:
                return
            status = client.statuses_of(self.pipe, [self.name]).get(self.name)
            if status is None or not status.is_healthy:
                return  # whatever it is, opening the channel or the next append tells
            self._take_in(status)
            if not self._sent or client.clock() >= ends_at:
                return
            client.sleep(pause_s)

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
        self._continuation, status = self._client.open_on(self.pipe, self.name)
        self._session, self._sent, self._is_cautious = None, 0, True
        committed = self._rows_of(status)
        if committed < self.committed:
            raise self.broken(
                f"Its history is gone: {self.committed:,} rows were committed, and now it knows of {committed:,}. "
                "It was dropped, or its table was replaced",
                failure,
            )
        if committed > self._possible:
            raise self.broken(f"Another program writes to it: {committed:,} rows are committed", failure)
        self._settle(committed)
        self._note_errors(status)
        if self._pending and self._pending[0].first <= committed:
            raise self.broken(f"{committed:,} rows are committed, which is no end of an append of ours", failure)

    # -- what is committed -------------------------------------------------------------------------------------------

    def status(self) -> ChannelStatus:
        """Ask for the status. Raises ChannelError where the channel is gone."""
        found = self._client.statuses_of(self.pipe, [self.name]).get(self.name)
        if found is None:
            raise self.broken("It does not exist any more: it was dropped")
        return found

    def refresh(self) -> ChannelStatus:
        """Ask for the status, and forget what is committed; open an invalidated channel again, and send the rest."""
        status = self.status()
        if status.is_healthy:
            self._take_in(status)
        else:
            self._reopen(self.broken(f"Its status is {status.code}"))
            self.drain()
        return status

    def _take_in(self, status: ChannelStatus) -> None:
        committed = self._rows_of(status)
        if self._pending and committed > self._possible:
            raise self.broken(f"Another program writes to it: {committed:,} rows are committed")
        self._settle(max(self.committed, committed))
        self._note_errors(status)

    def _settle(self, committed: int) -> None:
        """Forget the appends that are committed."""
        self.committed = committed
        while self._pending and self._pending[0].last <= committed:
            self._pending.popleft()
            self._sent = max(0, self._sent - 1)

    def _rows_of(self, status: ChannelStatus) -> int:
        rows = row_number(status.committed_token)
        if rows is None:
            raise self.broken(
                f"Its offset is {status.committed_token!r}, which is no number of rows: another program writes to it"
            )
        return rows

    def _note_errors(self, status: ChannelStatus) -> None:
        new, self.rows_errors = status.rows_errors - self.rows_errors, max(status.rows_errors, self.rows_errors)
        if new > 0:
            log.warning(
                "Channel %s: Snowflake could not load %d rows, and left them out. %s", self.name, new, status.last_error
            )

    def broken(self, what: str, cause: RequestError | BadAnswer | None = None) -> ChannelError:
        """Return the error for a channel that cannot be written to."""
        return ChannelError(
            f"The channel {self.name!r} of {self.pipe} cannot be written to. {what}.",
            code=getattr(cause, "code", None),
            status=getattr(cause, "status", None),
            hint="Give each program a channel of its own. After a drop, compare the table with its source before you "
            "write again.",
        )


def _was_refused(error: RequestError | BadAnswer) -> bool:
    """Return whether an append was certainly not taken: it was sent once, and its token was stale."""
    is_refusal = isinstance(error, RequestError) and (error.code in _REOPEN_CODES or error.status == 409)
    return is_refusal and (error.outcome is None or len(error.outcome.attempts) == 1)


def _is_uncertain(error: RequestError | BadAnswer) -> bool:
    """Return whether an append may or may not have been taken, or the channel has to be opened again."""
    if isinstance(error, ChannelError):
        return False
    if isinstance(error, BadAnswer):
        return error.truncated
    return isinstance(error, NoAnswerError | ServerError) or error.code in _REOPEN_CODES or error.status == 409
