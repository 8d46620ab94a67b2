"""What a tenant answered is answered again: order, refusals, tokens, bodies; by any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

import sacnb
import sacnb.replay
from sacnb.errors import (
    AuthError,
    BadAnswer,
    RefreshError,
    ServerError,
    ThrottledError,
)

WHEN = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)


def fetch(context: Any, path: str, **arguments: Any) -> bytes:
    body: bytes = context.session.fetch(arguments.pop("method", "GET"), path, operation="read", **arguments).body
    return body


class TestTheEngine:
    """With a tenant that answers what it is told to."""

    def test_answers_come_in_the_order_recorded_and_then_the_last_one_again(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        path = "/api/v1/job"
        leaky.answers[path] = [canned(f'{{"status": "{word}"}}') for word in ("new", "running", "running", "done")]
        with sacnb.replay.cassette("job", "record"):
            session = ask()
            recorded = [fetch(session, path) for _ in range(6)]
        with sacnb.replay.cassette("job") as cassette:
            session = ask()
            assert [fetch(session, path) for _ in range(8)] == [*recorded, recorded[-1], recorded[-1]]
        assert cassette is not None
        assert cassette.summary().interactions == 5  # one token; of three "done" at the end one is enough

    def test_refusals_are_replayed_without_their_waits(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/a"] = [
            canned("busy", status=429, headers={"Retry-After": "59"}),
            canned("down", status=503, content_type="text/plain"),
            canned('{"n": 1}'),
        ]
        with sacnb.replay.cassette("busy", "record"):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("busy", "replay"):
            tenant = sacnb.connect()
            answer = tenant._connection.context.session.fetch("GET", "/api/v1/a", operation="read")
        assert [attempt.status for attempt in answer.outcome.attempts] == [429, 503, 200]
        assert answer.outcome.attempts[0].delay_s == 59.0
        assert answer.outcome.elapsed_s == 59.0

    def test_a_deadline_passes_in_a_replay_too(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/a"] = [canned("busy", status=429, headers={"Retry-After": "59"}), canned("{}")]
        with sacnb.replay.cassette("busy", "record"):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("busy"), pytest.raises(ThrottledError, match="Another attempt would end"):
            sacnb.connect(deadline_s=30).read("/api/v1/a")

    def test_a_401_and_its_new_token_are_replayed(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        """Tokens are all masked alike; handed out alike, the second would be taken for the rejected one."""
        leaky.answers["/api/v1/a"] = [canned("{}", status=401), canned('{"n": 1}')]
        with sacnb.replay.cassette("401", "record"):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("401"):
            assert fetch(ask(), "/api/v1/a") == b'{"n": 1}'

    def test_a_refused_client_is_replayed(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky._token = lambda: canned('{"error":"invalid_client","error_description":"Bad credentials"}', status=401)
        with sacnb.replay.cassette("refused", "record"), pytest.raises(RefreshError):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("refused"), pytest.raises(RefreshError, match=r"401 invalid_client \(Bad cred"):
            sacnb.connect().authenticate()

    def test_an_error_at_the_end_is_replayed_as_that_error(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned('{"error": {"message": "no [1402]"}}', status=500)]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("500", mode), pytest.raises(ServerError) as caught:
                fetch(ask(), "/api/v1/a")
            assert (caught.value.status, caught.value.sac_number) == (500, 1402)

    def test_a_login_page_is_replayed_as_one(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/a"] = [canned("<html><title>Log On</title></html>", content_type="text/html")]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("login", mode), pytest.raises(AuthError, match="login page"):
                fetch(ask(), "/api/v1/a")

    def test_a_token_that_was_there_before_the_recording_is_made_up(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
    ) -> None:
        context = ask()
        context.guard.ensure()
        with sacnb.replay.cassette("later", "record"):
            fetch(context, "/api/v1/a")
        assert "access_token" not in text_of("later")
        with sacnb.replay.cassette("later"):
            assert sacnb.connect().read("/api/v1/a") == b"{}"

    def test_links_lead_to_the_host_that_is_asked(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        """A tenant that is connected already can be replayed too: paging checks that a link stays on its host."""
        leaky.answers["/api/v1/a"] = [canned(f'{{"next": "{leaky.url}/api/v1/b"}}')]
        context = ask()
        with sacnb.replay.cassette("links", "record"):
            assert leaky.url.encode() in fetch(context, "/api/v1/a")
        with sacnb.replay.cassette("links"):
            assert fetch(context, "/api/v1/a") == f'{{"next": "{leaky.url}/api/v1/b"}}'.encode()
            assert sacnb.connect().read("/api/v1/a") == b'{"next": "https://tenant.replay.invalid/api/v1/b"}'

    def test_csrf_tokens_are_fetched_and_sent_in_both(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/job"] = [
            canned("csrf", status=403, headers={"x-csrf-token": "required"}),
            canned('{"job": 1}'),
        ]
        leaky.answers["/api/v1/csrf"] = [canned("{}", headers={"x-csrf-token": "canary-csrf-token"})]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("csrf", mode):
                assert fetch(ask(), "/api/v1/job", method="POST", json={"a": [1, 2]}) == b'{"job": 1}'

    @pytest.mark.parametrize(
        ("zipped", "body"),
        [(False, '{"n": "ü\u2028"}'), (True, '{"n": "ü\u2028"}'), (True, "{}"), (False, '{"n": 1}\r\n')],
    )
    def test_a_body_comes_back_to_the_byte_zipped_or_not(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], zipped: bool, body: str
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned(body, zipped=zipped)]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("body", mode):
                assert fetch(ask(), "/api/v1/a") == body.encode()

    def test_a_body_is_readable_in_the_file(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned('{"value":[{"a":1},{"a":2}]}', zipped=True)]
        with sacnb.replay.cassette("body", "record"):
            fetch(ask(), "/api/v1/a")
        lines = [line.strip() for line in text_of("body").splitlines()]
        assert r'"{\"a\":1},",' in lines
        assert "Content-Encoding" not in text_of("body")

    def test_an_answer_that_breaks_off_is_asked_for_again_and_only_the_whole_one_kept(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned('{"n": 1234567890}', cut=True), canned('{"n": 1}')]
        with sacnb.replay.cassette("cut", "record"):
            assert fetch(ask(), "/api/v1/a") == b'{"n": 1}'
        assert leaky.seen == ["/api/v1/a"] * 2
        with sacnb.replay.cassette("cut"):
            assert fetch(ask(), "/api/v1/a") == b'{"n": 1}'

    @pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
    def test_an_answer_that_cannot_be_decoded_is_handed_on_and_not_kept(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], text_of: Callable[[str], str], encoding: str
    ) -> None:
        """What is wrong with it is said by the same error as without a cassette."""
        leaky.answers["/api/v1/a"] = [canned(b"\x1f\x8b\xff", headers={"Content-Encoding": encoding})]
        raised = []
        for mode in ("off", "record"):
            with sacnb.replay.cassette("coded", mode), pytest.raises(BadAnswer, match="is incomplete") as caught:
                fetch(ask(), "/api/v1/a")
            raised.append(str(caught.value))
        assert raised[0] == raised[1]
        assert "/api/v1/a" not in text_of("coded")

    def test_order_and_number_of_threads_do_not_show_in_the_file(
        self, leaky: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
    ) -> None:
        paths = [f"/api/v1/{number}" for number in range(20)]
        for name, threads, order in (("one", 1, paths), ("eight", 8, paths[::-1])):
            with sacnb.replay.cassette(name, "record", now=lambda: WHEN), ThreadPoolExecutor(threads) as pool:
                context = ask()
                list(pool.map(lambda path, context=context: fetch(context, path), order))
        assert text_of("one") == text_of("eight")


class TestThreads:
    def test_a_recording_asks_one_at_a_time_and_keeps_everything(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        paths = [f"/api/v1/{number}" for number in range(64)]
        for path in paths:
            leaky.answers[path] = [canned(f'{{"is": "{path}"}}', zipped=True)]
        with sacnb.replay.cassette("many", "record") as session, ThreadPoolExecutor(8) as pool:
            context = ask()
            list(pool.map(lambda path: fetch(context, path), paths))
        assert leaky.most_at_once == 1
        assert session is not None
        assert session.summary().interactions == 65

    def test_eight_threads_replay_without_a_miss_a_mix_up_or_a_call_to_the_network(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        """With vcrpy's own patches 27 of 30 such runs reached the network."""
        paths = [f"/api/v1/{number}" for number in range(16)]
        for path in paths:
            leaky.answers[path] = [canned(f'{{"is": "{path}"}}')]
        with sacnb.replay.cassette("many", "record"):
            context = ask()
            for path in paths:
                fetch(context, path)
        leaky.seen.clear()
        for _ in range(4):
            together = threading.Barrier(8)

            def read(share: int, together: threading.Barrier = together) -> list[bool]:
                together.wait()
                # A session and connections of each thread's own: new connections are where the race was.
                return [
                    requests.get(f"{leaky.url}{path}", timeout=5).json() == {"is": path} for path in paths[share::2] * 2
                ]

            with sacnb.replay.cassette("many"), ThreadPoolExecutor(8) as pool:
                assert all(all(right) for right in pool.map(read, [0, 1] * 4))
        assert leaky.seen == []
