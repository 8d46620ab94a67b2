"""Make chunks in a thread of their own while those before are sent.

Sending waits for the network and for Snowflake, compressing for the processor. Requests stay in the caller's thread,
where they can be cancelled, and so does the source of the rows, which may belong to that thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from sacnb.snowflake.chunks import Chunk, Chunker

__all__ = ["Ahead"]

_PIECE_ROWS: Final = 20_000
# So few rows are lines sooner than a thread has started.
_FEW_ROWS: Final = 2_000
# Rows that wait for the thread, as Arrow columns.
_MAX_WAITING_BYTES: Final = 32_000_000


class Ahead:
    """Feeds batches to *chunker*, for one call of ``chunks``. ``stop`` ends the thread, and must be called."""

    def __init__(self, chunker: Chunker) -> None:
        self._chunker = chunker
        self._worker: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[int, Future[_Made]]] = deque()
        self._made: deque[Chunk] = deque()
        self._has_failed = False

    def chunks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Chunk]:
        """Yield the chunks that *batches* fill, in order. Raises what the source and the chunker raise.

        A batch with a value that cannot be written is refused before any of its rows is taken.
        """
        rows = self._chunker.rows
        for batch in batches:
            self._chunker.check(batch, rows)
            rows += len(batch)
            for start in range(0, len(batch), _PIECE_ROWS):
                self._take(batch.slice(start, _PIECE_ROWS))
                while self._made or (self._waiting and (self._is_full() or self._waiting[0][1].done())):
                    yield from self._next()
        while self._made or self._waiting:
            yield from self._next()

    def _take(self, piece: pa.RecordBatch) -> None:
        if self._worker is None:
            if len(piece) <= _FEW_ROWS:
                self._made.extend(self._chunker.add(piece))
                return
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="sacnb-snowflake-rows")
        self._waiting.append((piece.nbytes, self._worker.submit(self._make, piece)))

    def _is_full(self) -> bool:
        return sum(size for size, _ in self._waiting) > _MAX_WAITING_BYTES

    def _make(self, piece: pa.RecordBatch) -> _Made:
        """Run in the thread. Behind a failure no rows are taken in: they would get the numbers of the failed ones."""
        made = _Made()
        if not self._has_failed:
            try:
                made.chunks.extend(self._chunker.add(piece))
            except BaseException as error:  # noqa: BLE001 - raised by _next, in its turn
                made.error, self._has_failed = error, True
        return made

    def _next(self) -> Iterator[Chunk]:
        error = None
        if not self._made:
            made = self._waiting.popleft()[1].result()
            error = made.error
            self._made.extend(made.chunks)
        while self._made:
            yield self._made.popleft()
        if error is not None:
            raise error

    def stop(self) -> list[Chunk]:
        """End the thread when it is through, and return the chunks that were not yielded; their rows are counted."""
        if self._worker is not None:
            self._worker.shutdown()
        rest = [*self._made, *(chunk for _, future in self._waiting for chunk in future.result().chunks)]
        self._made.clear()
        self._waiting.clear()
        return rest


class _Made:
    """The chunks of a piece, and what went wrong behind them."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.error: BaseException | None = None
