"""Which requests are the same one, and what is said of those that are not."""

from __future__ import annotations

import pytest

from sacnb.replay.keys import TOKEN_KEY, key_of, nearest, shown_request

HOST = "https://acme.example"
JSON = "application/json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("GET", f"{HOST}/a", None, b""), ("get", "http://127.0.0.1:8080/a", None, b"")),
        (("GET", f"{HOST}/a(b='c')", None, b""), ("GET", f"{HOST}/a(b=%27c%27)", None, b"")),
        (("GET", f"{HOST}/a?x=1&y=2", None, b""), ("GET", f"{HOST}/a?y=2&x=1", None, b"")),
        (("GET", f"{HOST}/a?$filter=a%20eq%20%271%27", None, b""), ("GET", f"{HOST}/a?%24filter=a+eq+'1'", None, b"")),
        (("GET", f"{HOST}/a?code=1", None, b""), ("GET", f"{HOST}/a?code=***", None, b"")),
        (("GET", HOST, None, b""), ("GET", f"{HOST}/", None, b"")),
        (("POST", f"{HOST}/a", JSON, b'{"a": 1, "b": 2}'), ("POST", f"{HOST}/a", "application/json", b'{"b":2,"a":1}')),
        (("POST", f"{HOST}/a", JSON, b'{"password":"x"}'), ("POST", f"{HOST}/a", JSON, b'{"password":"***"}')),
        (("POST", f"{HOST}/a", FORM, b"a=1&b=2"), ("POST", f"{HOST}/a", FORM, b"b=2&a=1")),
        (
            ("POST", f"{HOST}/oauth/token", FORM, b"grant_type=client_credentials"),
            ("POST", "https://elsewhere.example/t", FORM, b"client_id=x&client_secret=y&grant_type=client_credentials"),
        ),
    ],
)
def test_the_same_request(one: tuple[str, str, str | None, bytes], other: tuple[str, str, str | None, bytes]) -> None:
    assert key_of(*one) == key_of(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("GET", f"{HOST}/a", None, b""), ("HEAD", f"{HOST}/a", None, b"")),
        (("GET", f"{HOST}/a", None, b""), ("GET", f"{HOST}/a/", None, b"")),
        (("GET", f"{HOST}/a%2Fb", None, b""), ("GET", f"{HOST}/a/b", None, b"")),
        (("GET", f"{HOST}/a?x=1", None, b""), ("GET", f"{HOST}/a?x=1&x=1", None, b"")),
        (("GET", f"{HOST}/a?x=", None, b""), ("GET", f"{HOST}/a", None, b"")),
        (("POST", f"{HOST}/a", JSON, b'{"a": [1, 2]}'), ("POST", f"{HOST}/a", JSON, b'{"a": [2, 1]}')),
        (("POST", f"{HOST}/a", JSON, b'{"a"'), ("POST", f"{HOST}/a", JSON, b'{"b"')),
        (("PUT", f"{HOST}/a", "text/csv", b"a\n"), ("PUT", f"{HOST}/a", "text/csv", b"a\r\n")),
        (("PUT", f"{HOST}/a", None, b"\xff"), ("PUT", f"{HOST}/a", None, b"\xfe")),
        (("GET", f"{HOST}/t", FORM, b"grant_type=x"), ("POST", f"{HOST}/t", FORM, b"grant_type=x")),
    ],
)
def test_another_request(one: tuple[str, str, str | None, bytes], other: tuple[str, str, str | None, bytes]) -> None:
    assert key_of(*one) != key_of(*other)


def test_every_request_for_a_token_is_the_same() -> None:
    assert key_of("POST", f"{HOST}/any/where?x=1", FORM, b"grant_type=password&username=a") is TOKEN_KEY


def _get(path: str, body: bytes = b"", method: str = "GET") -> tuple[str, str, str | None, bytes]:
    return method, f"{HOST}{path}", None, body


@pytest.mark.parametrize(
    ("asked", "recorded", "expected"),
    [
        (_get("/a?x=1"), [_get("/a?x=2")], ["GET /a?x=2: x is '1', recorded was '2'"]),
        (_get("/a?x=1"), [_get("/a")], ["GET /a: x='1' was not recorded"]),
        (_get("/a"), [_get("/a?x=2&y=3")], ["GET /a?x=2&y=3: x='2' is missing; y='3' is missing"]),
        (_get("/a", method="POST"), [_get("/a")], ["GET /a: the method is POST, recorded was GET"]),
        (_get("/a", b"one"), [_get("/a", b"two")], ["GET /a: the body is 'one', recorded was 'two'"]),
        (_get("/a/FactData?x=1"), [_get("/b/FactData?x=1")], ["GET /b/FactData?x=1: the path differs"]),
        (_get("/completely"), [_get("/xyz")], []),
        (_get("/a"), [], []),
        # Of the same path, where there are any; the closest first; three at the most; each once.
        (
            _get("/a?x=1&y=1&z=1"),
            [_get("/b?x=1&y=1&z=1"), _get("/a?x=2"), *[_get("/a?x=1&y=1")] * 2, _get("/a?x=3"), _get("/a?x=4")],
            [
                "GET /a?x=1&y=1: z='1' was not recorded",
                "GET /a?x=2: x is '1', recorded was '2'; y='1' was not recorded; z='1' was not recorded",
                "GET /a?x=3: x is '1', recorded was '3'; y='1' was not recorded; z='1' was not recorded",
            ],
        ),
    ],
)
def test_what_comes_close_is_told_with_its_differences(asked, recorded, expected) -> None:
    assert list(nearest(key_of(*asked), [key_of(*each) for each in recorded])) == expected


def test_long_values_are_cut() -> None:
    (line,) = nearest(key_of(*_get(f"/a?x={'1' * 500}")), [key_of(*_get(f"/a?x={'2' * 500}"))])
    assert len(line) < 500
    assert line.count("…") == 3


def test_a_request_is_shown_decoded_and_without_host_or_secrets() -> None:
    assert shown_request("GET", f"{HOST}/a%20b?$filter=x%20eq%201&token=canary") == "GET /a b?$filter=x eq 1&token=***"
    assert shown_request("GET", HOST) == "GET /"
