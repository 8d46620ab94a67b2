"""The world of a chaos run: a sandbox behind a proxy, clocks that jump, names that do not resolve; all by a seed."""

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

# What the sandbox does wrong in a run: a name and options. A run is right with any mixture of them, since either the
# rows come or an error does. Left out are the misbehaviours that change what a row holds, and `count_left_out` beside
# those that lose rows: without a count, a page that says of itself to be whole is all that can be known.
_LOSING: Final = (
    ("page_skipped", {}), ("page_repeated", {}), ("rows_repeated", {}), ("rows_missing", {}), ("rows_lost", {}),
    ("unstable_order", {}), ("page_cap", {"rows": 30}), ("page_cap", {"rows": 30, "links": True}),
)  # fmt: skip
_KEEPING: Final = (
    ("unauthorized", {}), ("revoke_tokens", {"times": None}), ("dead_token_status", {"status": 403}),
    ("throttle_seconds", {}), ("throttle_seconds", {"retry_after_s": 0}), ("throttle_seconds", {"retry_after_s": 90}),
    ("throttle_date", {"retry_after_s": -5}), ("throttle_date", {"retry_after_s": 3}), ("throttle_bare", {}),
    ("error_404", {}), ("error_425", {}), ("error_500", {}), ("error_502", {}), ("error_503", {"retry_after_s": 2}),
    ("error_503", {}), ("error_504", {}), ("html_login", {}), ("redirect", {}), ("redirect", {"body_kib": 64}),
    ("interim_answers", {"pause_s": 0}), ("reset_before_body", {}), ("answer_lost", {}), ("reset_mid_body", {}),
    ("slow_headers", {"chunks": 4, "pause_s": 0.002}), ("slow_bytes", {"chunks": 4, "pause_s": 0.002}),
    ("two_lengths", {}), ("truncated_json", {}), ("truncated_gzip", {}), ("gzip_tail", {}), ("gzip_bomb", {"mib": 2}),
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
_MOST_SLEEP_S: Final = 0.005


class Time:
    """A clock on which waits take next to no time, and whose wall time can jump."""

    def __init__(self) -> None:
        self._skipped_s = 0.0
        self.jump_s = 0.0

    def clock(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic() + self._skipped_s

    def now(self) -> datetime:
        """Return the wall time with its jumps."""
        return datetime.now(UTC) + timedelta(seconds=self._skipped_s + self.jump_s)

    def sleep(self, seconds: float) -> None:
        """Wait a moment, and count it as *seconds*."""
        real_s = min(seconds, _MOST_SLEEP_S)
        self._skipped_s += seconds - real_s
        time.sleep(real_s)


class World:
    """A sandbox behind a proxy. ``disturb`` spoils both, and names and clocks, as the random numbers say."""

    def __init__(self, seed: int) -> None:
        self._client = {"client_id": f"chaos-{seed}", "client_secret": "canary-secret-of-the-chaos-runs"}
        self.time = Time()
        self.faults: Counter[str] = Counter()
        self._start(0)
        script = Path(__file__).with_name("proxy.py")
        self._proxy = subprocess.Popen(
            [sys.executable, str(script), str(self._port), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.proxy_port = int(self._line())

    @property
    def secret(self) -> str:
        """The client's secret, which may stand nowhere."""
        return self._client["client_secret"]

    def close(self) -> None:
        """End the sandbox and the proxy."""
        self.sandbox.close()
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
        port = self._port if numbers is None else self.proxy_port
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

    @contextmanager
    def disturbed(self, numbers: random.Random, *, writes: bool = False) -> Iterator[None]:
        """Spoil a share of 1 to 30 percent of everything within the block."""
        percent = numbers.choice([1, 3, 10, 30, 30])
        several = [*_KEEPING, *(_OF_IMPORTS if writes else _LOSING)]
        for name, options in numbers.sample(several, numbers.randint(1, 6)):
            every = max(1, round(100 / percent * numbers.uniform(0.5, 1)))
            when = {"every": every, "after": numbers.randrange(every)}
            if MISBEHAVIOURS[name].on == "token":  # a run asks for one token or two
                when = {"times": numbers.randint(1, 5)}
            self.sandbox.misbehave(name, **{**when, **options})
        self._set_proxy(percent if numbers.random() < 0.5 else 0)
        self.time.jump_s = numbers.choice([0, 0, 0, -86_400, -120, 120, 86_400])
        real = socket.getaddrinfo

        def resolve(*args: Any, **kwargs: Any) -> Any:
            if args[1] == self.proxy_port and numbers.uniform(0, 300) < percent:
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
                if self.time.jump_s:
                    self.faults["clock jumped"] += 1
                self.time.jump_s = 0
                self._set_proxy(0)

    def _start(self, port: int) -> None:
        self.sandbox = sacnb.sandbox.start(
            port=port, scale_rows=3000, models=[sales()], clock=self.time.clock, now=self.time.now, **self._client
        )
        self._port = int(self.sandbox.tenant_url.rpartition(":")[2])

    def _set_proxy(self, percent: float) -> None:
        assert self._proxy.stdin is not None
        self._proxy.stdin.write(json.dumps({"percent": percent}) + "\n")
        self._proxy.stdin.flush()
        for name, count in json.loads(self._line()).items():
            self.faults[name] = count

    def _line(self) -> str:
        assert self._proxy.stdout is not None
        return self._proxy.stdout.readline()
