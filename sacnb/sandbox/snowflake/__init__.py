"""A local Snowflake for trials and tests: key-pair sign-in, channels, appends and commits of Snowpipe Streaming.

    with sacnb.sandbox.snowflake.start() as simulator:
        simulator.url, simulator.ca_file, simulator.private_key   # for a client
        simulator.misbehave("lost_answer", times=1, on="append")
        simulator.rows("DB", "PUBLIC", "SALES")

It speaks https with an authority made for the run, checks tokens against the public key, and follows what Snowflake
documents; where that is silent, the requests of Snowflake's own SDK, which can be pointed at it. It imports nothing of
sacnb outside of its sandbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sacnb.sandbox.snowflake.misbehaviours import MISBEHAVIOURS, Rules

if TYPE_CHECKING:
    from pathlib import Path

    from sacnb.sandbox.snowflake.app import Seen

__all__ = ["MISBEHAVIOURS", "Simulator", "start"]


def start(
    *,
    account: str = "SANDBOX-ACCOUNT",
    user: str = "SVC_SAC",
    public_key: bytes | None = None,
    port: int = 0,
    polls: int = 1,
    scoped_lifetime_s: float = 3600,
    requests_per_s: float | None = None,
) -> Simulator:
    """Start a simulator in a thread of this process.

    Args:
        account: the account, as it stands in tokens.
        user: the user whose tokens are accepted.
        public_key: the user's public key in PEM; without one a pair is made, and ``private_key`` is its other half.
        port: the port on 127.0.0.1; 0 takes a free one.
        polls: how many requests for a channel's status it takes until an append is committed; 0 commits at once.
        scoped_lifetime_s: seconds until a scoped token expires.
        requests_per_s: appends that a channel takes in a second before it answers 429; documented are 10.

    Raises:
        ImportError: the extras ``sandbox`` and ``snowflake`` are not installed.
        OSError: the port is in use.
    """
    return Simulator(
        account=account,
        user=user,
        public_key=public_key,
        port=port,
        polls=polls,
        scoped_lifetime_s=scoped_lifetime_s,
        requests_per_s=requests_per_s,
    )


class Simulator:
    """A running simulator. Close it, or use it as a context manager. Made by ``start``."""

    def __init__(
        self,
        *,
        account: str,
        user: str,
        public_key: bytes | None,
        port: int,
        polls: int,
        scoped_lifetime_s: float,
        requests_per_s: float | None,
    ) -> None:
        from sacnb.sandbox.server import HttpThread
        from sacnb.sandbox.snowflake.app import App
        from sacnb.sandbox.snowflake.authority import Authority
        from sacnb.sandbox.snowflake.signing import Signatures, new_key_pair
        from sacnb.sandbox.snowflake.store import Store

        self.account = account
        self.user = user
        self.private_key: bytes | None = None
        if public_key is None:
            self.private_key, public_key = new_key_pair()
        self._store = Store(polls=polls, requests_per_s=requests_per_s)
        self._rules = Rules()
        self._signatures = Signatures(account, user, public_key, scoped_lifetime_s=scoped_lifetime_s)
        self._app = App(self._store, self._signatures, self._rules, host="127.0.0.1")
        self._authority = Authority("127.0.0.1")
        try:
            self._http = HttpThread(self._app.handle, host="127.0.0.1", port=port, tls=self._authority.context)
        except BaseException:
            self._authority.close()
            raise

    @property
    def url(self) -> str:
        """The address of the control host, which is also the ingest host."""
        return f"https://127.0.0.1:{self._http.port}"

    @property
    def ca_file(self) -> Path:
        """The PEM file of the authority; it goes with the simulator."""
        return self._authority.ca_file

    @property
    def counts(self) -> Counter[str]:
        """A snapshot of the counters: ``<kind>_requests``, ``status_<status>``, ``misbehaved_<name>``, ``bytes``."""
        return self._app.counts.copy()

    @property
    def seen(self) -> tuple[Seen, ...]:
        """The requests, oldest first, without bodies and tokens."""
        return tuple(self._app.seen)

    def misbehave(self, name: str, **options: Any) -> None:
        """Switch a misbehaviour on: ``times``, ``on`` (kinds of requests), ``every``, and its own options.

        Raises:
            ValueError: the misbehaviour or an option does not exist.
        """
        self._rules.switch_on(name, options)

    def behave(self, name: str | None = None) -> None:
        """Switch one misbehaviour off, or all of them."""
        self._rules.switch_off(name)

    def expire_tokens(self) -> None:
        """Let every scoped token given so far count as expired."""
        self._signatures.revoke()

    def settle(self) -> None:
        """Commit what waits, as time would."""
        self._store.settle()

    def lines(self, database: str, schema: str, table: str, channel: str | None = None) -> Iterator[bytes]:
        """Yield the committed rows of a table's default pipe as NDJSON, in the order of their commit."""
        return self._store.lines(_pipe(database, schema, table), channel)

    def rows(self, database: str, schema: str, table: str, channel: str | None = None) -> list[dict[str, Any]]:
        """Return the committed rows of a table's default pipe; numbers with a point are texts, to keep their digits."""
        return self._store.rows(_pipe(database, schema, table), channel)

    def status(self, database: str, schema: str, table: str, channel: str) -> Mapping[str, Any] | None:
        """Return the status of a channel without counting as a request for it; ``None`` where there is none."""
        return self._store.peek(_pipe(database, schema, table), channel)

    def set_offset(self, database: str, schema: str, table: str, channel: str, token: str) -> None:
        """Open a channel as another program would, with an offset of its own."""
        self._store.open(_pipe(database, schema, table), channel, {"offset_token": token})

    def reset(self) -> None:
        """Forget all channels, rows, counts and misbehaviours; tokens stay valid."""
        self._rules.switch_off()
        self._store.clear()
        self._app.forget()

    def close(self) -> None:
        """Stop the server and remove its files; closing twice does nothing."""
        self._http.close()
        self._authority.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Simulator {self.url}>"


def _pipe(database: str, schema: str, table: str) -> str:
    return f"{database}/{schema}/{table}-STREAMING"
