"""Compress lines into chunks, each the body of one append, cut by the size that goes over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import pyarrow as pa

from sacnb.errors import QueryError
from sacnb.snowflake.rows import NotFinite, ndjson, refuse_bad_text, refuse_not_finite, writable

__all__ = ["MAX_APPEND_BYTES", "Chunk", "Chunker", "Compression"]

# Snowflake refuses more on the wire. A chunk is closed well before, since the codec holds back what it has not written.
MAX_APPEND_BYTES: Final = 4_000_000
_TARGET_BYTES: Final = 3_000_000
# Before compression. An older limit of Snowflake's documentation, and enough to be worth a request: smaller ones would
# let the time on the way decide, larger ones would have the network wait for the compression of the first.
_MAX_RAW_BYTES: Final = 16_000_000
# The size is looked at after each piece, and a piece of noise does not shrink.
_PIECE_BYTES: Final = 400_000
_SLICE_BYTES: Final = 2_000_000
_FIRST_SLICE_ROWS: Final = 1_000
_MAX_SLICE_ROWS: Final = 20_000

Compression = Literal["zstd", "gzip"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The body of one append: ``first`` and ``last`` are the numbers of its rows in the channel, from 1."""

    body: bytes = field(repr=False)
    encoding: Compression
    raw_bytes: int
    first: int
    last: int


class Chunker:
    """Cuts batches into chunks; ``rows`` is the number of rows so far, those before the first batch included."""

    def __init__(
        self,
        rows: int,
        *,
        compression: Compression = "zstd",
        not_finite: NotFinite = "error",
        target_bytes: int = _TARGET_BYTES,
    ) -> None:
        self.rows = rows
        self._compression: Compression = compression
        self._refuses = not_finite == "error"
        self._target = target_bytes
        self._slice_rows = _FIRST_SLICE_ROWS
        self._begin()

    def _begin(self) -> None:
        self._first = self.rows + 1
        self._raw = 0
        self._sink = pa.BufferOutputStream()
        self._stream = pa.CompressedOutputStream(self._sink, self._compression)

    def add(self, batch: pa.RecordBatch) -> Iterator[Chunk]:
        """Take a batch in, and yield the chunks that it fills. Raises QueryError for what no JSON can hold."""
        self.check(batch, self.rows)
        batch = writable(batch)
        start = 0
        while start < len(batch):
            part = batch.slice(start, self._slice_rows)
            start += len(part)
            text = ndjson(part)
            self._slice_rows = max(1, min(_MAX_SLICE_ROWS, _SLICE_BYTES * len(part) // max(len(text), 1)))
            yield from self._put_all(text)

    def check(self, batch: pa.RecordBatch, rows_before: int) -> None:
        """Raise QueryError for a value that no JSON can hold; *rows_before* is for its row number."""
        refuse_bad_text(batch)
        if self._refuses:
            refuse_not_finite(batch, rows_before)

    def _put_all(self, text: bytes) -> Iterator[Chunk]:
        """Write lines, in pieces of whole lines that are small or one line."""
        start, whole = 0, memoryview(text)
        while start < len(text):
            end = text.rfind(b"\n", start, start + _PIECE_BYTES) + 1 or text.index(b"\n", start) + 1
            yield from self._put(whole[start:end], text.count(b"\n", start, end))
            start = end

    def _put(self, lines: memoryview, rows: int) -> Iterator[Chunk]:
        is_large = len(lines) > _PIECE_BYTES  # one row that may fill an append by itself
        if is_large and self._raw:
            yield self._end()
        self._stream.write(lines)
        self._raw += len(lines)
        self.rows += rows
        if is_large or self._sink.tell() >= self._target or self._raw >= _MAX_RAW_BYTES:
            yield self._end()

    def finish(self) -> Iterator[Chunk]:
        """Yield what is left, if anything is."""
        if self._raw:
            yield self._end()

    def _end(self) -> Chunk:
        self._stream.close()
        body = self._sink.getvalue().to_pybytes()
        chunk = Chunk(body, self._compression, self._raw, self._first, self.rows)
        if len(body) > MAX_APPEND_BYTES:
            self.rows = chunk.first - 1  # not taken
            self._begin()
            raise QueryError(
                f"Row {chunk.last:,} has {len(body):,} bytes after compression; Snowflake takes at most "
                f"{MAX_APPEND_BYTES:,} in one append.",
                hint="Leave its longest column out, or put that into a stage.",
            )
        self._begin()
        return chunk
