"""What the simulator refuses, asked by plain HTTP: the facts that no client of ours runs into."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from sacnb.sandbox import snowflake as sandbox
from sacnb.sandbox.snowflake.lines import Loaded, load_lines
from sacnb.snowflake.keys import PrivateKey
from sacnb.snowflake.tokens import KeyPairJwt

PIPE = "databases/DB/schemas/PUBLIC/pipes/SALES-STREAMING"
NDJSON = "application/x-ndjson"


@pytest.fixture(scope="module")
def running() -> Iterator[sandbox.Simulator]:
    with sandbox.start(requests_per_s=3) as simulator:
        yield simulator


class Http:
    """Requests as anybody may write them."""

    def __init__(self, simulator: sandbox.Simulator, key: PrivateKey, account: str = "SANDBOX-ACCOUNT") -> None:
        self.session = requests.Session()
        self.session.trust_env, self.session.verify = False, str(simulator.ca_file)
        self.url = simulator.url
        self.jwt = KeyPairJwt(account, "SVC_SAC", key).fetch(datetime.now(UTC)).value.reveal()

    def exchange(self, scope: str = "127.0.0.1", grant: str = "urn:ietf:params:oauth:grant-type:jwt-bearer") -> Any:
        headers = {"Authorization": f"Bearer {self.jwt}", "X-Snowflake-Authorization-Token-Type": "KEYPAIR_JWT"}
        return self.session.post(f"{self.url}/oauth/token", {"grant_type": grant, "scope": scope}, headers=headers)

    def open(self, channel: str) -> str:
        self.session.headers["Authorization"] = f"Bearer {self.exchange().text}"
        answer = self.session.put(f"{self.url}/v2/streaming/{PIPE}/channels/{channel}", data=b"{}")
        token: str = answer.json()["next_continuation_token"]
        return token

    def append(self, channel: str, body: bytes, kind: str = NDJSON, encoding: str | None = None, **query: Any) -> Any:
        headers = {"Content-Type": kind} | ({"Content-Encoding": encoding} if encoding else {})
        url = f"{self.url}/v2/streaming/data/{PIPE}/channels/{channel}/rows"
        return self.session.post(url, body, params=query, headers=headers)


@pytest.fixture
def http(running: sandbox.Simulator) -> Iterator[Http]:
    one = Http(running, PrivateKey(running.private_key or b""))
    with one.session:
        yield one
    running.reset()


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_append_of_more_than_four_megabytes_is_refused(http: Http, running: sandbox.Simulator) -> None:
    token = http.open("A")
    line = b'{"ID":1}\n'
    large = line * (4 * 1024 * 1024 // len(line))
    assert code(http.append("A", large + line, continuationToken=token)) == (413, "REQUEST_ENTITY_TOO_LARGE")
    assert http.append("A", large, continuationToken=token, offsetToken="1").ok
    assert running.counts["status_413"] == 1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"kind": "application/json"}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        ({"encoding": "br"}, (415, "UNSUPPORTED_MEDIA_TYPE")),
        ({"encoding": "gzip"}, (400, "INVALID_REQUEST")),
        ({"encoding": "zstd"}, (400, "INVALID_REQUEST")),
        ({"continuationToken": "0_9"}, (400, "STALE_CONTINUATION_TOKEN_SEQUENCER")),
        ({"continuationToken": None}, (400, "INVALID_REQUEST")),
    ],
)
def test_malformed_appends_are_refused(changed: dict[str, Any], expected: tuple[int, str], http: Http) -> None:
    options = {"continuationToken": http.open("B"), **changed}
    assert code(http.append("B", b'{"ID":1}\n', **options)) == expected


def test_more_requests_than_a_channel_takes_are_throttled(http: Http) -> None:
    token = http.open("C")
    answers = [http.append("C", b"{}\n", continuationToken=token) for _ in range(4)]
    assert code(answers[-1]) == (429, "RATE_LIMIT")


def test_tokens_are_checked(http: Http, running: sandbox.Simulator, key: PrivateKey) -> None:
    assert code(Http(running, key).exchange()) == (401, "390144"), "signed with another key"
    mine = PrivateKey(running.private_key or b"")
    assert code(Http(running, mine, account="OTHER-ACCOUNT").exchange()) == (401, "390144")
    assert code(http.exchange(grant="password")) == (400, "390304")
    assert code(http.exchange(scope="other.example")) == (400, "390305")


@pytest.mark.parametrize(
    ("lines", "rows", "errors"),
    [
        (b'{"a":1}\n{"a":2}\n', 2, 0),
        (b'{"a":1}\n\n  \n{"a":2}', 2, 0),
        (b"", 0, 0),
        (b"\n", 0, 0),
        (b"{}\n{}\n", 2, 0),
        (b'{"a":1}\n{"a":"x"}\n{"a":[1]}\n', 3, 0),
        (b'{"a":NaN}\n{"a":1}\n', 1, 1),
        (b'[1]\n{"a":1}\n', 1, 1),
        (b'{"a":1} {"a":2}\n{"a":3}\n', 1, 1),
        (b'{"a":1\n,"b":2}\n', 0, 2),
        (b'{"a":1},\n{"a":2}\n', 1, 1),
        (b'{"a":"\xff"}\n{"a":"b"}\n', 1, 1),
        (b'{"a":1}\r\n{"a":2}\r\n', 2, 0),
    ],
)
def test_lines_are_taken_one_by_one(lines: bytes, rows: int, errors: int) -> None:
    loaded = load_lines(lines)
    assert (loaded.rows, loaded.errors, bool(loaded.message)) == (rows, errors, errors > 0)
    assert isinstance(loaded, Loaded)
