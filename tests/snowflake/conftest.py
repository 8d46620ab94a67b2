"""A key that is made once, a clock that a test moves, and engines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sacnb._auth import TokenSource
from sacnb._auth.token import WarnOnce
from sacnb._settings import Secret
from sacnb._wire import DispatchContext
from sacnb.sandbox.snowflake import signing
from sacnb.snowflake import SnowflakeClient, keys
from sacnb.snowflake.engine import engine
from sacnb.snowflake.keys import PrivateKey
from sacnb.snowflake.settings import resolve

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Wall clock and monotonic clock in one; sleeping moves both on, and is remembered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture(scope="session")
def rsa_key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


_pair = functools.cache(signing.new_key_pair)


@pytest.fixture(autouse=True)
def _one_key_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make a pair takes longer than most tests do, and none of them asks for two."""
    monkeypatch.setattr(signing, "new_key_pair", _pair)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def warn_once() -> WarnOnce:
    return WarnOnce()


@pytest.fixture(scope="session")
def key(rsa_key: Any) -> PrivateKey:
    return PrivateKey(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def contexts(clock: Clock) -> Iterator[Callable[..., DispatchContext]]:
    """Make the engine for an address, with time that passes only when slept."""
    made: list[DispatchContext] = []

    def make(url: str, source: TokenSource, token_type: str = "KEYPAIR_JWT") -> DispatchContext:
        made.append(
            engine(
                url,
                source,
                token_type=token_type,
                verify=True,
                now=clock.now,
                clock=clock.clock,
                sleep=clock.sleep,
                random=lambda: 0.5,
            )
        )
        return made[-1]

    yield make
    for context in made:
        context.close()


@functools.cache
def _loaded(load: Callable[..., Any], content: str, word: str | None) -> Any:
    return load(Secret(content), Secret(word) if word else None)


@pytest.fixture
def connect(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SnowflakeClient]]:
    """Connect to a simulator, with time that passes only when slept."""
    load = keys._load  # 60 ms, to prove that the numbers are primes
    monkeypatch.setattr(keys, "_load", lambda key, word: _loaded(load, key.reveal(), word and word.reveal()))
    made: list[SnowflakeClient] = []

    def make(simulator: Any, **options: Any) -> SnowflakeClient:
        settings = resolve(
            {
                "account": simulator.account,
                "user": simulator.user,
                "private_key": simulator.private_key,
                "url": simulator.url,
                "ca_bundle": simulator.ca_file,
                "database": "DB",
                "schema": "PUBLIC",
                **options,
            },
            {},
        )
        # Tokens are checked against the real time.
        made.append(SnowflakeClient(settings, clock=clock.clock, sleep=clock.sleep, random=lambda: 0.5))
        return made[-1]

    yield make
    for client in made:
        client.close()
