"""Two modules unpack bodies: isal's where it has a wheel, and zlib elsewhere. Nobody can tell them apart."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._wire import message

isal_zlib = pytest.importorskip("isal.isal_zlib")

BODY = b'{"value":[' + b",".join(b'{"Date":"2024%02d","Amount":%d}' % (n % 12 + 1, n * n) for n in range(900)) + b"]}"


class Packets:
    """A response that arrives in packets of these sizes."""

    def __init__(self, body: bytes, sizes: list[int]) -> None:
        self._body, self._sizes = body, iter(sizes)

    def read1(self, most: int) -> bytes:
        size = next(self._sizes, most)
        data, self._body = self._body[:size], self._body[size:]
        return data


def unpack(module: object, body: bytes, encoding: str, sizes: list[int], max_bytes: int | None = None) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message, "_inflate", module)
        try:
            return message.read_body(Packets(body, sizes), encoding, max_bytes=max_bytes)
        except message.UndecodableBody as error:
            return type(error), error.may_retry


def packed(encoding: str) -> st.SearchStrategy[bytes]:
    ways: dict[str, list[Callable[[bytes], bytes]]] = {
        "gzip": [
            gzip.compress,
            lambda body: gzip.compress(body, 0),
            lambda body: gzip.compress(body[:99]) + gzip.compress(b"") + gzip.compress(body[99:]) + b"\0\0rest",
        ],
        "deflate": [
            zlib.compress,
            lambda body: zlib.compress(body, 1) + b"rest",
            lambda body: zlib.compress(body)[2:-4],
        ],
    }
    bodies = st.sampled_from([BODY, b"", b"{}", bytes(range(256)) * 40])
    return st.tuples(st.sampled_from(ways[encoding]), bodies).map(lambda pair: pair[0](pair[1]))


@given(st.data(), st.sampled_from(["gzip", "deflate"]), st.lists(st.integers(1, 2_000), max_size=8))
def test_both_modules_unpack_the_same_and_refuse_the_same(data: st.DataObject, encoding: str, sizes: list[int]) -> None:
    body = bytearray(data.draw(packed(encoding)))
    damage = data.draw(st.sampled_from(["none", "none", "cut", "flip"]))
    if damage == "cut":
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    if damage == "flip":
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    answers = [unpack(module, bytes(body), encoding, sizes) for module in (isal_zlib, zlib)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("module", [isal_zlib, zlib])
def test_a_bomb_is_stopped_at_the_bound(module: object) -> None:
    assert unpack(module, gzip.compress(bytes(40_000_000)), "gzip", [], 1_000_000) == (message.TooLong, False)


def test_the_faster_module_is_used_where_it_is() -> None:
    assert message._inflate is isal_zlib
