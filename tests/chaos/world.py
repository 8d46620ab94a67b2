"""The world of a chaos run: SAC and Snowflake behind a proxy, clocks that jump, names that do not resolve."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

from sales import sales

import sacnb.sandbox
from sacnb._settings import Settings
from sacnb._tenant import Tenant
from sacnb._tenant.connector import connect_with
from sacnb.sandbox import MISBEHAVIOURS
from sacnb.sandbox import snowflake as simulators
from sacnb.snowflake import SnowflakeClient
from sacnb.snowflake.engine import engine
from sacnb.snowflake.settings import resolve

# What the sandbox does wrong in a run: a name and options. A run is right with any mixture of them, since either the
# rows come or an error does. Left out are the misbehaviours that change what a row holds, and `count_left_out` beside
# those that lose rows: without a count, a page that says of itself to be whole is all that can be known.
_LOSING: Final = (
    ("page_skipped", {}), ("page_swapped", {}), ("page_repeated", {}), ("rows_repeated", {}), ("rows_missing", {}),
    ("rows_lost", {}), ("unstable_order", {}), ("page_cap", {"rows": 30}), ("page_cap", {"rows": 30, "links": True}),
)  # fmt: skip
# Only a count over all pages shows these, and SAC is not asked for that of the members of a dimension.
_OF_COUNTS: Final = frozenset({"rows_repeated", "rows_missing"})
_KEEPING: Final = (
    ("unauthorized", {}), ("revoke_tokens", {"times": None}), ("dead_token_status", {"status": 403}),
    ("throttle_seconds", {}), ("throttle_seconds", {"retry_after_s": 0}), ("throttle_seconds", {"retry_after_s": 90}),
    ("throttle_date", {"retry_after_s": -5}), ("throttle_date", {"retry_after_s": 3}), ("throttle_bare", {}),
    *(("throttle_text", {"text": text}) for text in
      ("", "soon", "1.5", "-1", "1e9", "inf", "120, 60", "99999999999999999999", "Sunday, 06-Nov-94 08:49:37 GMT",
       "Fri, 31 Dec 9999 23:59:59 GMT")),
    ("forbidden", {}), ("error_404", {}), ("error_408", {}), ("error_425", {}), ("error_500", {}), ("error_502", {}),
    ("error_503", {"retry_after_s": 2}), ("error_503", {}), ("error_504", {}), ("html_login", {}), ("redirect", {}),
    ("redirect", {"body_kib": 64}),
    ("interim_answers", {"pause_s": 0}), ("reset_before_body", {}), ("answer_lost", {}), ("reset_mid_body", {}),
    ("slow_headers", {"chunks": 4, "pause_s": 0.002}), ("slow_bytes", {"chunks": 4, "pause_s": 0.002}),
    ("two_lengths", {}), ("wrong_length", {}), ("wrong_length", {"off_by_bytes": -10}), ("truncated_json", {}),
    ("truncated_gzip", {}), ("gzip_tail", {}), ("gzip_bomb", {"mib": 2}),
    ("skewed_date", {"seconds": 7200}), ("skewed_date", {"seconds": -7200}), ("stream_error", {}),
    ("stream_error", {"where": "inside"}), ("endless_pages", {}), ("empty_last_page", {}),
    ("empty_last_page", {"form": "204"}), ("next_link_service_relative", {}), ("next_link_root_relative", {}),
    ("next_link_cross_origin", {}), ("next_link_looping", {}), ("next_link_looping", {"to": "first"}),
    ("next_link_expired", {}), ("next_link_first", {}), ("next_link_empty", {"text": None}),
    ("numeric_strings", {}), ("nulls_left_out", {}), ("error_message_object", {}), ("session_forced", {}),
    ("expires_in", {"value": 1}), ("expires_in", {"value": None}), ("same_token", {}), ("token_down", {}),
    ("token_429", {}), ("token_500", {}), ("token_slow", {"delay_s": 0.01}), ("token_lifetime", {"seconds": 1}),
    *(("page_shape", {"shape": shape}) for shape in ("json_dumps", "pretty", "escaped", "exponents")),
)  # fmt: skip
_OF_IMPORTS: Final = (
    ("import_limit", {}), ("upload_limit", {"kib": 1}), ("upload_drops_rows", {}),
    ("upload_drops_rows", {"said": False}), ("run_writes_nothing", {}), ("run_fails", {}),
    ("import_is_slow", {}), ("rejected_rows_flat", {}),
    *((name, {"on": "import"}) for name in
      ("answer_lost", "reset_before_body", "reset_mid_body", "error_500", "error_503", "throttle_seconds",
       "unauthorized", "truncated_json", "html_login")),
)  # fmt: skip
# All that an append survives, by this program or the one that goes on. Left out: rows that Snowflake cannot load, a
# channel that is dropped with its history, and a missing right.
_OF_SNOWFLAKE: Final = (
    *((name, {"on": "append"}) for name in
      ("lost_answer", "lost_request", "error_after", "error_500", "error_503", "stale_token", "second_writer",
       "invalid_channel", "throttle", "expired_token", "delayed_commit", "never_commit")),
    *((name, {}) for name in
      ("lost_answer", "lost_request", "error_500", "error_503", "throttle", "throttle_seconds", "throttle_date",
       "open_in_progress", "documented_answers")),
    ("slow", {"seconds": 0.01}), ("throttle_seconds", {"seconds": 0}), ("throttle_seconds", {"seconds": 1e9}),
    ("throttle_date", {"seconds": -60}),
)  # fmt: skip
_MOST_SLEEP_S: Final = 0.005


class Time:
    """A clock on which waits take next to no time, and whose wall time can jump."""

    def __init__(self) -> None:
        self._skipped_s = 0.0
        self.jump_s = 0.0
        self.longest_wait_s = 0.0

    def clock(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic() + self._skipped_s

    def now(self) -> datetime:
        """Return the wall time with its jumps."""
        return datetime.now(UTC) + timedelta(seconds=self._skipped_s + self.jump_s)

    def sleep(self, seconds: float) -> None:
        """Wait a moment, and count it as *seconds*."""
        self.longest_wait_s = max(self.longest_wait_s, seconds)
        real_s = min(seconds, _MOST_SLEEP_S)
        self._skipped_s += seconds - real_s
        time.sleep(real_s)


class World:
    """SAC and Snowflake behind a proxy. ``disturbed`` spoils them, names and clocks, as the random numbers say."""

    def __init__(self, seed: int) -> None:
        self._client = {"client_id": f"chaos-{seed}", "client_secret": "canary-secret-of-the-chaos-runs"}
        self.time = Time()
        self.faults: Counter[str] = Counter()
        self._snowflake_counts: Counter[str] = Counter()
        self._start(0)
        # A client of Snowflake has no setting for it; a minute of silence would be a minute of the run.
        self._timeouts = mock.patch.dict(engine.__kwdefaults__ or {}, timeout=(1.0, 1.0))
        self._timeouts.start()
        self.snowflake = simulators.start()
        self._snowflake_port = _port_of(self.snowflake.url)
        script = Path(__file__).with_name("proxy.py")
        self._proxy = subprocess.Popen(
            [sys.executable, str(script), str(seed), str(self._port), str(self._snowflake_port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._proxy_ports: list[int] = json.loads(self._line())

    @property
    def secret(self) -> str:
        """The client's secret, which may stand nowhere."""
        return self._client["client_secret"]

    def close(self) -> None:
        """End the sandbox and the proxy."""
        self.sandbox.close()
        self.snowflake.close()
        self._timeouts.stop()
        assert self._proxy.stdin is not None
        assert self._proxy.stdout is not None
        self._proxy.stdin.close()
        self._proxy.wait()
        self._proxy.stdout.close()

    def restart(self) -> None:
        """End the sandbox and start it anew on its port: connections break, and its tokens are forgotten."""
        self.faults["restart"] += 1
        self.sandbox.close()
        self._start(self._port)

    def connect(self, cache: Path, numbers: random.Random | None = None) -> Tenant:
        """Connect through the proxy; with ``None`` past it, to see what is there."""
        port = self._port if numbers is None else self._proxy_ports[0]
        url = f"http://127.0.0.1:{port}"
        settings = Settings.resolve(
            environ={},
            tenant_url=url,
            token_url=f"{url}/oauth/token",
            **self._client,
            cache_dir=str(cache),
            log="error",
            read_timeout_s=1,
            connect_timeout_s=1,
            deadline_s=600,
        )
        engine = {"clock": self.time.clock, "now": self.time.now, "sleep": self.time.sleep}
        return connect_with(settings, **engine, random=(numbers or random.Random(0)).random)

    def connect_snowflake(self, numbers: random.Random | None = None) -> SnowflakeClient:
        """Connect to Snowflake through the proxy; with ``None`` past it."""
        port = self._snowflake_port if numbers is None else self._proxy_ports[1]
        settings = resolve(
            {
                "account": self.snowflake.account,
                "user": self.snowflake.user,
                "private_key": self.snowflake.private_key,
                "url": f"https://127.0.0.1:{port}",
                "ca_bundle": self.snowflake.ca_file,
                "database": "DB",
                "schema": "PUBLIC",
            },
            {},
        )
        # The simulator has no clock of its own, so waits do not move this client's wall time.
        now = lambda: datetime.now(UTC) + timedelta(seconds=self.time.jump_s)  # noqa: E731
        chance = (numbers or random.Random(0)).random
        return SnowflakeClient(settings, now=now, clock=self.time.clock, sleep=self.time.sleep, random=chance)

    @contextmanager
    def disturbed(
        self, numbers: random.Random, *, writes: bool = False, appends: bool = False, counted: bool = True
    ) -> Iterator[None]:
        """Spoil a share of 1 to 30 percent of everything within the block."""
        percent = numbers.choice([1, 3, 10, 30, 30])
        several = [*_KEEPING, *(_OF_IMPORTS if writes else _LOSING)]
        if not counted:
            several = [one for one in several if one[0] not in _OF_COUNTS]
        for name, options in numbers.sample(several, numbers.randint(1, 6)):
            every = max(1, round(100 / percent * numbers.uniform(0.5, 1)))
            when = {"every": every, "after": numbers.randrange(every)}
            if MISBEHAVIOURS[name].on == "token":  # a run asks for one token or two
                when = {"times": numbers.randint(1, 5)}
            self.sandbox.misbehave(name, **{**when, **options})
        for name, options in numbers.sample(_OF_SNOWFLAKE, numbers.randint(1, 5)) if appends else ():
            self.snowflake.misbehave(name, **{"every": max(2, round(100 / percent)), **options})
        self._set_proxy(percent if numbers.random() < 0.5 else 0)
        self.time.jump_s = numbers.choice([0, 0, 0, -86_400, -120, 120, 86_400])
        real = socket.getaddrinfo

        def resolve(*args: Any, **kwargs: Any) -> Any:
            if args[1] in self._proxy_ports and numbers.uniform(0, 300) < percent:
                self.faults["name not resolved"] += 1
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return real(*args, **kwargs)

        with mock.patch.object(socket, "getaddrinfo", resolve):
            try:
                yield
            finally:
                for rule in self.sandbox._rules.describe():
                    self.faults[rule["name"]] += rule["struck"]
                self.sandbox.behave()
                for name, count in (self.snowflake.counts - self._snowflake_counts).items():
                    if name.startswith("misbehaved_"):
                        self.faults[name.replace("misbehaved_", "snowflake ")] += count
                self._snowflake_counts = self.snowflake.counts
                self.snowflake.behave()
                if self.time.jump_s:
                    self.faults["clock jumped"] += 1
                self.time.jump_s = 0
                self._set_proxy(0)

    def _start(self, port: int) -> None:
        self.sandbox = sacnb.sandbox.start(
            port=port, scale_rows=3000, models=[sales()], clock=self.time.clock, now=self.time.now, **self._client
        )
        self._port = _port_of(self.sandbox.tenant_url)

    def _set_proxy(self, percent: float) -> None:
        assert self._proxy.stdin is not None
        self._proxy.stdin.write(json.dumps({"percent": percent}) + "\n")
        self._proxy.stdin.flush()
        for name, count in json.loads(self._line()).items():
            self.faults[name] = count

    def _line(self) -> str:
        assert self._proxy.stdout is not None
        return self._proxy.stdout.readline()


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2])
