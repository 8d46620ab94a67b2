"""Secrets go, wherever and however they stand; everything else stays."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import time
from decimal import Decimal
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacnb._redact import (
    MASK,
    RedactingFilter,
    one_line,
    redact_body,
    redact_data,
    redact_headers,
    redact_json,
    redact_text,
    redact_url,
)
from sacnb._settings import Secret
from sacnb._wire.failures import read_problem
from sacnb.replay.scan import scan_text

CANARY = "canary"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-_canary"

# Secrets as they occur: SAC's own have "$", "!", "|", "=", "-", "_"; base64 has "+" and "/".
secrets = st.text("abcXYZ019-_$!|=+/.~", min_size=4, max_size=40).map(lambda text: f"{CANARY}{text}")
any_secret = st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=40).map(lambda t: f"{CANARY}{t}")
NAMES = ["access_token", "refresh_token", "id_token", "client_secret", "password", "assertion", "client_assertion"]
names = st.sampled_from([*NAMES, "jti", "Access-Token", "CLIENT_SECRET", "x-csrf-token", "apiKey", "token"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer canary.x", "Authorization: Bearer ***"),
        ("authorization: Basic Y2FuYXJ5", "authorization: Basic ***"),
        ("Proxy-Authorization: canary canary", "Proxy-Authorization: ***"),
        ("{'Authorization': 'Bearer canary', 'Accept': 'x'}", "{'Authorization': 'Bearer ***', 'Accept': 'x'}"),
        ('{"Authorization": "Bearer canary"}', '{"Authorization": "Bearer ***"}'),
        (
            "send: b'GET / HTTP/1.1\\r\\nAuthorization: Bearer canary",
            "send: b'GET / HTTP/1.1\\r\\nAuthorization: Bearer ***",
        ),
        ("Cookie: a=canary; b=canary\nHost: x", "Cookie: ***\nHost: x"),
        ("Set-Cookie: JSESSIONID=canary; Path=/", "Set-Cookie: ***"),
        ("x-csrf-token: canary", "x-csrf-token: ***"),
        ("client_secret=canary&grant_type=x", "client_secret=***&grant_type=x"),
        ("SAC_CLIENT_SECRET='canary$a b'", "SAC_CLIENT_SECRET='***'"),
        ("SAC_TOKEN=canary rest", "SAC_TOKEN=*** rest"),
        ("password: canary, user: x", "password: *** user: x"),
        ("{'access_token': 'canary', 'expires_in': 3599}", "{'access_token': '***', 'expires_in': 3599}"),
        ("{'jti': b'can\\'ary'}", "{'jti': b'***'}"),
        ('"access_token":"can\\"ary","x":1', '"access_token":"***","x":1'),
        ('{"refresh_token": "canary', '{"refresh_token": "***"'),
        ("id_token => canary", "id_token => ***"),
        ("https://user:canary@host/x", "https://***@host/x"),
        ("proxy http://canary@proxy:3128 is down", "proxy http://***@proxy:3128 is down"),
        (f"the token {JWT} is bad", "the token *** is bad"),
        ("Bearer canary-0paque-token", "Bearer ***"),
        ("(Basic Y2FuYXJ5OmNhbmFyeQ==)", "(Basic ***)"),
        # What stays, because it tells something and is no secret.
        ("Token reused; 12 s remain.", "Token reused; 12 s remain."),
        ("Look at SAC_CLIENT_SECRET (System)", "Look at SAC_CLIENT_SECRET (System)"),
        ("the bearer of bad news", "the bearer of bad news"),
        ("no member Basic Materials.", "no member Basic Materials."),
        ("token_type: bearer", "token_type: bearer"),
        ("The token: reused", "The token: reused"),
        ("error code=1402 [1402]", "error code=1402 [1402]"),
        ("a@b.example and https://host/a@b", "a@b.example and https://host/a@b"),
        ("cookies: none", "cookies: none"),
        ("", ""),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert redact_text(text) == expected
    assert redact_text(expected) == expected


@given(any_secret, st.text(), st.text())
@example("canary'\"\\\n", "a", "b")
@example("canary%41+ &", "", "")
def test_a_known_secret_is_found_however_it_is_written(secret: str, before: str, after: str) -> None:
    forms = [
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
    ]
    known = Secret(secret)
    for form in forms:
        assert form not in redact_text(f"{before} {form} {after}".replace(CANARY * 2, ""))
    assert known.reveal() == secret


def test_a_secret_is_known_as_long_as_anybody_holds_it() -> None:
    first, second = Secret("planted-value"), Secret("planted-value")
    assert redact_text("a planted-value b") == "a *** b"
    del first
    assert redact_text("a planted-value b") == "a *** b"
    del second
    assert redact_text("a planted-value b") == "a planted-value b"


@pytest.mark.parametrize("short", ["", "replay", "1234567"])
def test_a_short_secret_masks_nothing_by_chance(short: str) -> None:
    known = Secret(short)
    assert redact_text("replay 1234567") == "replay 1234567"
    assert known.reveal() == short


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\x1b[31mb\x9b2Jc", "a [31mb 2Jc"),
        ("one\r\ntwo\t\x00three\u202e", "one two three"),
        ("x" * 600, "x" * 499 + "\u2026"),
        ("", ""),
    ],
)
def test_text_of_a_server_is_one_line_that_no_terminal_obeys(text: str, line: str) -> None:
    assert one_line(text) == line


@given(
    names,
    secrets,
    st.sampled_from(
        [
            "{name}={secret}",
            "{name}: {secret}",
            "'{name}': '{secret}'",
            '"{name}": "{secret}"',
            '"{name}":"{secret}"',
            "{name} = '{secret}'",
            "https://h/p?{name}={secret}",
            "https://h/p#{name}={secret}&x=1",
            "Authorization: Bearer {secret}",
            "Authorization: Basic {secret}",
            "'Authorization': 'Bearer {secret}'",
            "Cookie: {name}={secret}",
            "https://u:{secret}@h/",
        ]
    ),
    st.sampled_from(["", "before ", "x; ", "{"]),
    st.sampled_from(["", " after", "\nafter"]),
)
def test_named_secrets_never_survive_in_a_text(name: str, secret: str, form: str, before: str, after: str) -> None:
    if "u:" in form:
        secret = quote(secret, safe="")
    if name.lower() == "token" and form == "{name}: {secret}":
        return  # prose: "the token: reused"
    if name == "apiKey":
        name = "api_key"
    text = before + form.format(name=name, secret=secret) + after
    shown = redact_text(text)
    assert CANARY not in shown, shown
    assert shown.startswith(before.strip())
    if not form.startswith(("Auth", "Cookie")) or after.startswith("\n"):  # of a header the whole line goes
        assert shown.endswith(after)
    assert redact_text(shown) == shown


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://t.example/a?$filter=A eq 'b'&pagesize=5", "https://t.example/a?$filter=A eq 'b'&pagesize=5"),
        ("https://u:canary@t.example/a", "https://***@t.example/a"),
        ("https://canary@t.example/a?x=1", "https://***@t.example/a?x=1"),
        ("https://t.example/a?code=canary&state=1", "https://t.example/a?code=***&state=1"),
        ("https://t.example/a#access_token=canary&x=1", "https://t.example/a#access_token=***&x=1"),
        ("https://t.example/a?x=1;client_secret=canary", "https://t.example/a?x=1;client_secret=***"),
        ("https://t.example/a?X-Amz-Signature=1&sig=canary", "https://t.example/a?X-Amz-Signature=1&sig=***"),
        (f"https://t.example/{JWT}/x", "https://t.example/***/x"),
        ("/api/v1/x?password=canary", "/api/v1/x?password=***"),
        ("no address at all", "no address at all"),
        ("", ""),
        ("http://[::1", "http://[::1"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert redact_url(url) == expected


@given(names, any_secret, st.dictionaries(st.sampled_from(["$filter", "x", "a b"]), st.text(), max_size=3))
def test_a_secret_parameter_never_survives(name: str, secret: str, others: dict[str, str]) -> None:
    query = urlencode({**others, name: secret, "last": "1"}, quote_via=quote)
    shown = redact_url(f"https://h.example/p?{query}")
    assert quote(secret) not in shown
    assert CANARY not in shown.replace(quote("".join(others.values())), "") or CANARY in "".join(others.values())
    assert shown.endswith("&last=1")


# -- headers ---------------------------------------------------------------------------------------------------------


def test_headers() -> None:
    headers = {
        "Authorization": "Bearer canary",
        "AUTHORIZATION": "canary",
        "Proxy-Authorization": "Basic canary",
        "Cookie": "a=canary",
        "Set-Cookie": "a=canary",
        "X-CSRF-Token": "canary",
        "x-csrf-token": "Required",
        "X-Api-Key": "canary",
        "X-Access-Token": "token=canary",
        "Location": "https://u:canary@h/?code=canary&x=1",
        "Content-Type": "application/json",
        "X-Debug": f"seen {JWT}",
    }
    shown = redact_headers(headers)
    assert CANARY not in repr(shown)
    assert JWT not in repr(shown)
    assert shown["Authorization"] == "Bearer ***"
    assert shown["Proxy-Authorization"] == "Basic ***"
    assert shown["x-csrf-token"] == "Required"
    assert shown["Location"] == "https://***@h/?code=***&x=1"
    assert shown["Content-Type"] == "application/json"
    assert list(shown) == list(headers)


# -- bodies ----------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


def planted(depth: int, name: str, value: Any) -> Any:
    return {name: value, "kept": 1} if depth == 0 else {"level": [planted(depth - 1, name, value)]}


@given(
    st.integers(0, 3),
    names,
    any_secret,
    st.sampled_from([lambda s: s, lambda s: [s], lambda s: {"a": {"b": [1, s]}}]),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_a_secret_in_json_never_survives_and_the_rest_does(  # noqa: PLR0917 - what hypothesis varies
    depth: int, name: str, secret: str, wrap: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(planted(depth, name, wrap(secret)), ensure_ascii=ascii_only, indent=indent)
    for content_type in (None, "application/json", "text/plain"):
        shown = redact_body(text, content_type)
        assert CANARY not in shown
        assert json.loads(shown) == planted(depth, name, MASK)
        assert redact_body(text.encode(), content_type) == shown.encode()
    assert redact_json(json.loads(text)) == planted(depth, name, MASK)


@given(names, any_secret, st.integers(1, 400))
def test_json_that_is_cut_short_gives_nothing_away(name: str, secret: str, length: int) -> None:
    text = json.dumps({"a": [1, {"b": "c"}], name: {"x": [secret, secret]}, "z": 1})
    assert CANARY not in redact_body(text[:length], "application/json")


def test_escaped_names_are_the_same_names() -> None:
    assert redact_body('{"access\\u005ftoken": "canary"}') == '{"access\\u005ftoken": "***"}'
    assert redact_body('{"bad\\uZZ": "x"}') == '{"bad\\uZZ": "x"}'


@given(values)
def test_json_without_secret_names_is_left_alone_to_the_byte(value: Any) -> None:
    text = json.dumps({"value": [{"Amount": 1, "x": "y"}]})
    assert redact_body(text, "application/json") == text
    assert redact_json([{"Amount": value}]) is not None


def test_numbers_keep_every_digit() -> None:
    text = '{"value":[{"Amount":12345678901234567.12345670, "e":1e400}],"jti":"canary"}'
    shown = redact_body(text)
    assert shown == '{"value":[{"Amount":12345678901234567.12345670, "e":1e400}],"jti":"***"}'
    assert json.loads(shown, parse_float=Decimal)["value"][0]["Amount"] == Decimal("12345678901234567.12345670")


def test_json_within_a_text_of_json_is_redacted_and_stays_json() -> None:
    inner = {
        "client_secret": f'{CANARY}"x',
        "name": "Retail",
        "Cookie": f"JSESSIONID={CANARY}; path=/",
        "n": 1,
    }  # planted
    for depth in range(1, 4):
        text = json.dumps(inner)
        for _ in range(depth):
            text = json.dumps({"detail": text})
        redacted = redact_body(text)
        assert CANARY not in redacted
        for _ in range(depth):
            redacted = json.loads(redacted)["detail"]
        assert json.loads(redacted) == {"client_secret": MASK, "name": "Retail", "Cookie": MASK, "n": 1}


@pytest.mark.parametrize("text", [f"password='{CANARY} {CANARY}\\", f'{{"password": "{CANARY} {CANARY}\\'])
def test_a_value_that_is_cut_within_an_escape_gives_nothing_away(text: str) -> None:
    assert CANARY not in redact_text(text)
    assert CANARY not in redact_body(text)
    assert CANARY not in redact_data(text) or "=" in text


PARTS = [
    "_", "é", '\\"', '"\\', "-eyJa", "eyJabcd-", "client_", "://a", "cookie ", "basic a", "'", '"', "secret ", "?a",
    "<", "<a ", "<h1>", "a.", "sapanalytics.cloud", "Bearer ", "https://a:",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_twice_the_text_takes_no_more_than_about_twice_the_time(part: str) -> None:
    def seconds(chars: int) -> float:
        text = part * (chars // len(part))
        began = time.thread_time()
        for redact in (redact_text, redact_url, redact_body, redact_data):
            redact(text)
        read_problem(b"<" + text.encode(), "text/html")
        list(scan_text(text))
        return time.thread_time() - began

    # The square would take 64 times as long for eight times the text.
    assert min(seconds(32_000) for _ in range(2)) < 24 * max(min(seconds(4_000) for _ in range(3)), 0.002)


def test_the_code_of_an_error_is_not_a_one_time_code() -> None:
    text = '{"error":{"code":"c0ffee","message":"x [1402]"}}'
    assert redact_body(text) == text
    assert redact_body("grant_type=authorization_code&code=canary") == "grant_type=authorization_code&code=***"


@given(names, any_secret)
def test_a_secret_in_a_form_never_survives(name: str, secret: str) -> None:
    form = urlencode({"grant_type": "client_credentials", name: secret, "client_id": "sb-1!b2|c"})
    for content_type in (None, "application/x-www-form-urlencoded;charset=UTF-8"):
        shown = redact_body(form, content_type)
        assert quote_plus(secret) not in shown
        assert shown == f"grant_type=client_credentials&{name}=***&client_id=sb-1%21b2%7Cc"


@given(st.binary())
def test_any_bytes_come_back(body: bytes) -> None:
    marked = b"\xff\xfe" + body
    assert isinstance(redact_body(marked), bytes)


@pytest.mark.parametrize("body", [b"\xff\x00\xfe", b"A,B\r\n1,2\r\n", b"", b"PK\x03\x04\x80"])
def test_bytes_without_secrets_come_back_unchanged(body: bytes) -> None:
    assert redact_body(body) == body


def test_data_is_searched_for_tokens_and_not_for_words() -> None:
    data = '{"value":[{"ID":"Basic Materials123","Note":"password: none","access_token":"canary"}]}'
    assert redact_data(data) == data.replace("canary", "***")
    assert redact_data(f"A,B\n{JWT},Bearer {'0aF' * 12}\n") == "A,B\n***,Bearer ***\n"


def test_a_multipart_body_or_a_text_is_read_as_text() -> None:
    assert redact_body("Authorization: Bearer canary", "text/plain") == "Authorization: Bearer ***"


@given(values)
def test_redacting_json_keeps_its_shape(value: Any) -> None:
    shown = redact_json(value)
    json.dumps(shown)
    assert type(shown) is type(value) or isinstance(value, tuple)


# -- logs ------------------------------------------------------------------------------------------------------------


def test_the_filter_redacts_messages_arguments_and_tracebacks() -> None:
    lines: list[str] = []

    class Listing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Listing()
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")  # noqa: LOG001 - one that nobody else has
    logger.addHandler(handler)
    logger.warning("Supplying headers %s", {"Authorization": "Bearer canary"})
    logger.warning("100% client_secret=canary")
    try:
        raise ValueError("password=canary")
    except ValueError:
        logger.exception("it failed")
    assert CANARY not in "".join(lines)
    assert "ValueError: password=***" in lines[2]
    assert lines[1] == "100% client_secret=***"


def test_a_record_that_logging_cannot_format_is_left_to_logging() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%d and %d", ("a",), None)
    assert RedactingFilter().filter(record)
    assert record.args == ("a",)


def test_nothing_here_keeps_a_secret() -> None:
    pickle.dumps(RedactingFilter())
