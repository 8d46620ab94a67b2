"""Tokens that are signed, and tokens that they are exchanged for, kept by the one guard."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from loopback import LoopbackServer, Reply, Seen, next_of

from sacnb._auth import RefreshPolicy, TokenGuard
from sacnb._auth.token import WarnOnce
from sacnb._wire import DispatchContext
from sacnb.errors import RefreshError
from sacnb.snowflake.keys import PrivateKey
from sacnb.snowflake.tokens import KeyPairJwt, ScopedToken


@pytest.fixture
def source(key: PrivateKey, warn_once: WarnOnce) -> Callable[..., KeyPairJwt]:
    return lambda **options: KeyPairJwt("myorg.acc", "svc", key, warn_once=warn_once, **options)


def test_the_claims_are_those_that_snowflake_asks_for(source: Any, key: PrivateKey, rsa_key: Any, clock: Any) -> None:
    token = source(lifetime_s=600).fetch(clock.now())
    claims = jwt.decode(token.value.reveal(), rsa_key.public_key(), algorithms=["RS256"], options={"verify_exp": False})
    now_s = int(clock.now().timestamp())
    assert claims == {
        "iss": f"MYORG-ACC.SVC.{key.fingerprint}",
        "sub": "MYORG-ACC.SVC",
        "iat": now_s,
        "exp": now_s + 600,
    }
    assert (token.issued_at, token.expires_at) == (clock.now(), clock.now() + timedelta(seconds=600))


def test_iat_increases_within_a_second_and_when_the_clock_is_set_back(source: Any, clock: Any) -> None:
    signs = source()
    moments = [clock.now(), clock.now(), clock.now() - timedelta(seconds=90), clock.now() + timedelta(seconds=5)]
    iats = [jwt.decode(signs.fetch(now).value.reveal(), options={"verify_signature": False})["iat"] for now in moments]
    start = int(clock.now().timestamp())
    assert iats == [start, start + 1, start + 2, start + 5]


@pytest.mark.parametrize(("given", "used"), [(5, 30), (30, 30), (3600, 3600), (86_400, 3600), (float("nan"), 3600)])
def test_the_lifetime_is_clamped_with_one_warning(
    given: float, used: float, source: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tokens = [source(lifetime_s=given).fetch(clock.now()) for _ in range(2)]
    assert [token.lifetime_s for token in tokens] == [used, used]
    assert tokens[0].was_clamped is (given != used)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == (
        [f"SNOWFLAKE_JWT_LIFETIME_S is {given:g} seconds"] if given != used else []
    )
    assert all(f"{used:g} is used" in record.getMessage() for record in caplog.records)


def test_the_guard_signs_anew_at_the_margin_and_says_so(
    source: Any, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    guard = TokenGuard(source(lifetime_s=10_000), RefreshPolicy(margin_s=30), now=clock.now)
    with caplog.at_level(logging.DEBUG, "sacnb.auth"):
        first = guard.ensure().token
        clock.seconds = 3600 - 31
        assert guard.ensure().token is first
        clock.seconds = 3600 - 30
        assert guard.ensure().token is not first
    told = [(r.levelname, r.__dict__.get("was_clamped"), r.__dict__.get("margin_s")) for r in caplog.records]
    assert told == [("WARNING", None, None), ("INFO", True, 30), ("DEBUG", True, 30), ("INFO", True, 30)]


def test_a_token_shows_neither_itself_nor_its_key(source: Any, clock: Any, rsa_key: Any) -> None:
    signs = source()
    token = signs.fetch(clock.now())
    assert repr(signs) == f"KeyPairJwt('MYORG-ACC.SVC', {signs._key.fingerprint})"
    assert token.value.reveal() not in f"{token!r}{token}{signs!r}"


# -- scoped tokens ---------------------------------------------------------------------------------------------------


class Control(LoopbackServer):
    """The account's host: ``replies`` to the requests for a token, the last one repeated."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [Reply("scoped-1", content_type="text/plain")]
        self.seen: list[Seen] = []
        super().__init__()

    def reply_to(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        return next_of(self.replies)


@pytest.fixture
def control() -> Iterator[Control]:
    server = Control()
    yield server
    server.close()


@pytest.fixture
def scoped(control: Control, source: Any, clock: Any, contexts: Any) -> ScopedToken:
    context: DispatchContext = contexts(control.url, source())
    return ScopedToken(context, "ingest.example")


@pytest.mark.parametrize("body", ["scoped-1", " scoped-1\n", '"scoped-1"', '{"token": "scoped-1"}'])
def test_the_exchange_understands_text_and_json(body: str, control: Control, scoped: ScopedToken, clock: Any) -> None:
    control.replies = [Reply(body)]
    token = scoped.fetch(clock.now())
    assert token.value.reveal() == "scoped-1"
    assert token.lifetime_s == 3600
    (seen,) = control.seen
    assert (seen.method, seen.path) == ("POST", "/oauth/token")
    assert seen.headers["X-Snowflake-Authorization-Token-Type"] == "KEYPAIR_JWT"
    assert seen.body == (b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&scope=ingest.example")
    assert jwt.decode(seen.bearer, options={"verify_signature": False})["sub"] == "MYORG-ACC.SVC"


def test_the_end_of_a_scoped_token_is_read_from_it(control: Control, scoped: ScopedToken, clock: Any) -> None:
    ends = clock.now() + timedelta(seconds=90)
    control.replies = [Reply(jwt.encode({"exp": int(ends.timestamp())}, "k" * 32))]
    assert scoped.fetch(clock.now()).expires_at == ends


def test_a_401_signs_a_new_jwt_once(
    control: Control, scoped: ScopedToken, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    control.replies = [Reply(status=401), Reply("scoped-1")]
    assert scoped.fetch(clock.now()).value.reveal() == "scoped-1"
    assert len({seen.bearer for seen in control.seen}) == 2
    (warned,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "Snowflake answered 401" in warned

    control.seen.clear()
    control.replies = [Reply(status=401)]
    with pytest.raises(RefreshError, match="also to a fresh token") as caught:
        scoped.fetch(clock.now())
    assert caught.value.error_code == "non_retriable"
    assert len(control.seen) == 2
    assert "RSA_PUBLIC_KEY" in str(caught.value)


def test_a_429_is_waited_out_once(control: Control, scoped: ScopedToken, clock: Any) -> None:
    control.replies = [Reply(status=429), Reply("scoped-1")]
    scoped.fetch(clock.now())
    assert [1 <= slept <= 3 for slept in clock.slept] == [True]

    control.seen.clear()
    control.replies = [Reply(status=429)]
    with pytest.raises(RefreshError, match="429") as caught:
        scoped.fetch(clock.now())
    assert caught.value.error_code == "refresh_failed"
    assert len(control.seen) == 2


@pytest.mark.parametrize("body", ["", "two words", "{}", "<html>Sign in</html>", '{"token": 3}', '{"tok'])
def test_what_is_no_token_is_refused(body: str, control: Control, scoped: ScopedToken, clock: Any) -> None:
    control.replies = [Reply(body)]
    with pytest.raises(RefreshError) as caught:
        scoped.fetch(clock.now())
    assert caught.value.error_code == "non_retriable"


def test_a_wrong_grant_is_final(control: Control, scoped: ScopedToken, clock: Any) -> None:
    control.replies = [Reply(json.dumps({"code": "390304", "message": "Invalid grant"}), 400)]
    with pytest.raises(RefreshError, match="Invalid grant") as caught:
        scoped.fetch(clock.now())
    assert caught.value.error_code == "non_retriable"
