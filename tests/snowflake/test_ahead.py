"""Chunks that are made ahead come in order, and none is lost where sending or making fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from sacnb.errors import QueryError
from sacnb.snowflake import ahead as room
from sacnb.snowflake.ahead import Ahead
from sacnb.snowflake.chunks import Chunk, Chunker


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PIECE_ROWS", 10)
    monkeypatch.setattr(room, "_FEW_ROWS", 3)


@pytest.fixture
def chunker() -> Chunker:
    return Chunker(0, target_bytes=0)  # a chunk for each piece


def batch(first: int, last: int) -> pa.RecordBatch:
    return pa.record_batch({"ID": list(range(first, last + 1))})


def spans(chunks: list[Chunk]) -> list[tuple[int, int]]:
    return [(chunk.first, chunk.last) for chunk in chunks]


@pytest.mark.parametrize("most_bytes", [0, 200, 10**6])
def test_chunks_come_in_order(most_bytes: int, chunker: Chunker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MAX_WAITING_BYTES", most_bytes)
    ahead = Ahead(chunker)
    made = list(ahead.chunks([batch(1, 2), batch(3, 35), batch(36, 37)]))
    assert spans(made) == [(1, 2), (3, 12), (13, 22), (23, 32), (33, 35), (36, 37)]
    assert (ahead.stop(), chunker.rows) == ([], 37)


def test_few_rows_need_no_thread(chunker: Chunker) -> None:
    before = set(threading.enumerate())
    ahead = Ahead(chunker)
    assert spans(list(ahead.chunks([batch(1, 3)]))) == [(1, 3)]
    assert set(threading.enumerate()) <= before


def test_what_is_made_is_handed_over_when_sending_fails(chunker: Chunker) -> None:
    ahead = Ahead(chunker)
    chunks = ahead.chunks(iter([batch(1, 35)]))
    sent = [next(chunks)]  # and it fails
    rest = ahead.stop()
    assert spans(sent + rest)[0] == (1, 10)
    assert [chunk.first for chunk in (sent + rest)[1:]] == [chunk.last + 1 for chunk in (sent + rest)[:-1]]
    assert (sent + rest)[-1].last == chunker.rows


def test_an_error_of_the_source_comes_behind_its_rows(chunker: Chunker) -> None:
    def source() -> Iterator[pa.RecordBatch]:
        yield batch(1, 25)
        raise OSError("gone")

    ahead, made = Ahead(chunker), []
    with pytest.raises(OSError, match="gone"):
        made.extend(ahead.chunks(source()))
    made += ahead.stop()
    assert (spans(made)[-1][1], chunker.rows) == (25, 25)


def test_no_row_of_a_batch_with_a_nan_is_taken(chunker: Chunker) -> None:
    ahead, made = Ahead(chunker), []
    bad = pa.record_batch({"x": [1.0] * 33 + [float("nan")]})
    with pytest.raises(QueryError, match="row 54"):
        made.extend(ahead.chunks([pa.record_batch({"x": [1.0] * 20}), bad]))
    assert (spans(made + ahead.stop()), chunker.rows) == ([(1, 10), (11, 20)], 20)


def test_rows_behind_one_that_cannot_be_made_are_not_taken(chunker: Chunker, monkeypatch: pytest.MonkeyPatch) -> None:
    real, pieces = Chunker.add, 0

    def add(self: Chunker, piece: pa.RecordBatch) -> Iterator[Chunk]:
        nonlocal pieces
        pieces += 1
        if pieces == 3:
            raise QueryError("too long")
        return real(self, piece)

    monkeypatch.setattr(Chunker, "add", add)
    ahead, made = Ahead(chunker), []
    with pytest.raises(QueryError, match="too long"):
        made.extend(ahead.chunks([batch(1, 60)]))
    assert (spans(made + ahead.stop()), chunker.rows) == ([(1, 10), (11, 20)], 20)


def test_a_piece_is_measured_whatever_its_columns(chunker: Chunker) -> None:
    kinds: list[Any] = [pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    columns = {str(kind): pa.array(["a"] * 30).cast(kind) for kind in kinds}
    ahead = Ahead(chunker)
    assert spans(list(ahead.chunks([pa.record_batch(columns)]))) == [(1, 10), (11, 20), (21, 30)]
    ahead.stop()
