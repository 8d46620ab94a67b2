"""A cassette's file: exact, readable, in an order that does not depend on threads, and refused where it is broken."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacnb.errors import ReplayError
from sacnb.replay.document import About, from_text, keep, read, to_text, write
from sacnb.replay.library import make_request

WHEN = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ABOUT = About("sandbox", WHEN)


def interaction(path: str = "/a", body: bytes = b"{}", sent: bytes | None = None, **headers: list[str]) -> Any:
    request = make_request("POST" if sent else "GET", f"https://tenant.replay.invalid{path}", sent, {"Accept": "x"})
    return request, {"status": {"code": 200, "message": "OK"}, "headers": headers, "body": {"string": body}}


def plain(interactions: list[Any]) -> list[Any]:
    return [(r.method, r.uri, dict(r.headers), r.body, response) for r, response in interactions]


@given(st.binary() | st.text().map(str.encode), st.binary(min_size=1) | st.text(min_size=1).map(str.encode))
def test_every_body_comes_back_to_the_byte(body: bytes, sent: bytes) -> None:
    interactions = [interaction(body=body, sent=sent)]
    about, back = from_text(to_text(ABOUT, interactions), Path("x"))
    assert about == ABOUT
    assert plain(back) == plain(interactions)


def test_a_changed_digit_is_noticed_and_a_cassette_without_a_digest_is_read() -> None:
    text = to_text(ABOUT, [interaction(body=b'{"value":[{"Amount":1250}]}')])
    with pytest.raises(ReplayError, match="was changed after it was recorded") as caught:
        from_text(text.replace("1250", "7250"), Path("x"))
    assert 'remove the line "digest"' in caught.value.hint
    value = json.loads(text)
    assert from_text(json.dumps(value, indent=7).replace("\n", "\r\n"), Path("x"))[0] == ABOUT
    del value["metadata"]["digest"]
    changed = from_text(json.dumps(value).replace("1250", "7250"), Path("x"))[1]
    assert b"7250" in changed[0][1]["body"]["string"]


def test_headers_that_come_twice_stay_two() -> None:
    _, ((_, response),) = from_text(to_text(ABOUT, [interaction(A=["1"], B=["1", "2"])]), Path("x"))
    assert response["headers"] == {"A": ["1"], "B": ["1", "2"]}


def test_rows_stand_on_lines_of_their_own() -> None:
    body = '{"value":[{"a":"},{"},{"a":2}, {"a":"ü"}],"n":1}\n<x/>\n'
    value = json.loads(to_text(ABOUT, [interaction(body=body.encode())]))
    lines = value["interactions"][0]["response"]["body"]
    assert lines == ['{"value":[', '{"a":"},', '{"},', '{"a":2},', ' {"a":"ü"}],"n":1}\n', "<x/>\n", ""]
    assert "".join(lines) == body


def test_the_order_is_that_of_the_requests_and_of_one_request_that_of_time() -> None:
    asked = [interaction("/b"), interaction("/a", b"1"), interaction("/a?x=1"), interaction("/a", b"2")]
    text = to_text(ABOUT, asked)
    assert [(r.uri[-4:], a["body"]["string"]) for r, a in from_text(text, Path("x"))[1]] == [
        ("id/a", b"1"),
        ("id/a", b"2"),
        ("?x=1"[-4:], b"{}"),
        ("id/b", b"{}"),
    ]
    assert to_text(ABOUT, [asked[2], asked[1], asked[0], asked[3]]) == text


@pytest.mark.parametrize(
    ("answers", "kept"), [("A", "A"), ("AA", "A"), ("AABB", "AAB"), ("ABAA", "ABA"), ("AAAB", "AAAB"), ("ABB", "AB")]
)
def test_an_answer_that_only_repeats_the_last_one_is_left_out(answers: str, kept: str) -> None:
    text = to_text(ABOUT, [interaction(body=letter.encode()) for letter in answers])
    assert "".join(a["body"]["string"].decode() for _, a in from_text(text, Path("x"))[1]) == kept


def test_times_are_in_utc_and_whole_seconds() -> None:
    elsewhere = About("sac", WHEN.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert elsewhere.to_json()["recorded_at"] == "2026-11-20T08:00:00Z"
    assert About.from_json(elsewhere.to_json()).recorded_at == WHEN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("interactions: []", "Expecting value"),
        ("[]", "list indices"),
        ('{"interactions": [], "version": 1}', "'metadata' is missing"),
        ('{"metadata": {"format": "other", "source": "sac"}, "interactions": []}', "its format is 'other'"),
        ('{"metadata": {"format": "sacnb cassette 1", "source": "moon"}, "interactions": []}', "its format is"),
        (json.dumps({"metadata": ABOUT.to_json(), "interactions": [{"request": {}}]}), "'response' is missing"),
        (
            to_text(ABOUT, [interaction(body=b"\xff")]).replace('"base64": "/w=="', '"base64": "*"'),
            "not a cassette of sacnb",
        ),
        (to_text(ABOUT, [interaction()]).replace('"headers": {}', '"headers": 1'), "not a cassette of sacnb"),
        ("[" * 100_000, "nested too deeply"),
        (to_text(ABOUT, [interaction()]).replace('"code": 200', '"code": 1e999'), "not a cassette of sacnb"),
        (to_text(ABOUT, [interaction()]).replace('"code": 200', '"code": 7'), "there is no status 7"),
        (to_text(ABOUT, [interaction()]).replace("https://", "https://["), "not a cassette of sacnb"),
    ],
)
def test_what_is_no_cassette_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.cassette.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReplayError, match=message) as caught:
        read(path)
    assert "x.cassette.json" in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*at, key))


@given(foreign=_JSON, data=st.data())
@settings(max_examples=max(50, settings.default.max_examples))
def test_foreign_json_anywhere_in_a_cassette_is_read_or_refused(foreign: Any, data: st.DataObject) -> None:
    whole = {"whole": json.loads(to_text(ABOUT, [interaction(body=b"\xff"), interaction(body=b"{}")]))}
    *way, last = data.draw(st.sampled_from([place for place in _places(whole) if place]))
    inner: Any = whole
    for key in way:
        inner = inner[key]
    inner[last] = foreign
    with suppress(ReplayError):
        _, found = from_text(json.dumps(whole["whole"]), Path("x.cassette.json"))
        to_text(ABOUT, found)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_a_cassette_that_an_editor_saved_in_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.cassette.json"
    path.write_bytes(to_text(ABOUT, [interaction(body="ü".encode())]).encode(encoding))
    assert [response["body"]["string"] for _, response in read(path)[1]] == ["ü".encode()]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")
    for path in (tmp_path / "x", tmp_path / "nowhere"):
        with pytest.raises(ReplayError, match=r"Record it again: sacnb replay record NOTEBOOK\.ipynb --cassette "):
            read(path)


def test_the_same_answers_leave_the_file_and_its_time_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.cassette.json"
    later = About("sandbox", WHEN + timedelta(days=1))
    assert write(path, to_text(ABOUT, [interaction()])) is True
    assert write(path, to_text(later, [interaction()])) is False
    assert read(path)[0] == ABOUT
    assert write(path, to_text(later, [interaction(body=b"other")])) is True
    assert read(path)[0] == later
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_is_utf8_with_lf_on_every_platform_and_may_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "x.cassette.json"
    write(path, to_text(ABOUT, [interaction(body="ü".encode())]))
    assert b"\r" not in path.read_bytes()
    assert "ü".encode() in path.read_bytes()
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.cassette.json"
    write(path, to_text(ABOUT, [interaction()]))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReplayError, match="No space left"):
        write(path, to_text(ABOUT, [interaction(body=b"other")]))
    assert read(path)[1][0][1]["body"]["string"] == b"{}"
    assert list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*")) == []


def test_only_what_was_used_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.cassette.json"
    write(path, to_text(ABOUT, [interaction("/a"), interaction("/b"), interaction("/c")]))
    assert keep(path, [2, 0]) == (2, 1)
    about, left = read(path)
    assert about == ABOUT
    assert [request.uri[-2:] for request, _ in left] == ["/a", "/c"]
    before = path.stat()
    assert keep(path, [0, 1]) == (2, 0)
    assert path.stat() == before
