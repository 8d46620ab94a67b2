"""Two hundred threads on one connection, and an hour of pulling on a clock that is handed in: ``make soak``.

The crowd counts at the server what a token request was for. One is needed where the last token is revoked, has expired
or is about to; every other one is one too many.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import random
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sacnb.sandbox
from sacnb._auth.token import RefreshPolicy
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb._wire import build_context
from sacnb.sandbox import Sandbox

from .run import left_over, open_things

THREADS: Final = 200
LIFETIME_S: Final = 300
CLIENT: Final = {"client_id": "soak", "client_secret": "canary-secret-of-the-soak"}
LIGHT: Final = "/api/v1/dataexport/administration/Namespaces"
_LIMIT_S: Final = 120.0


class Time:
    """A clock that moves when it is told to, and by waits, which take next to no time."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._began = datetime.now(UTC)

    def clock(self) -> float:
        """Return monotonic seconds."""
        return self.passed_s

    def now(self) -> datetime:
        """Return the wall time."""
        return self._began + timedelta(seconds=self.passed_s)

    def sleep(self, seconds: float) -> None:
        """Move on, and let others run."""
        self.passed_s += seconds
        time.sleep(min(seconds, 0.001))


def start(times: Time, *, port: int = 0) -> Sandbox:
    return sacnb.sandbox.start(
        port=port, scale_rows=3_000, token_lifetime_s=LIFETIME_S, clock=times.clock, now=times.now, **CLIENT
    )  # fmt: skip


def settings(sandbox: Sandbox, **arguments: Any) -> Settings:
    return Settings.resolve(
        environ={}, tenant_url=sandbox.tenant_url, token_url=sandbox.token_url, **CLIENT, log="error", **arguments
    )


# -- the crowd --------------------------------------------------------------------------------------------------------


@dataclass
class CrowdReport:
    """Requests of the threads, token requests counted at the server, and how many of these were needed."""

    seed: int
    threads: int
    each: int
    rounds: int = 0
    requests: int = 0
    events: Counter[str] = field(default_factory=Counter)
    token_requests: int = 0
    needed: int = 0
    wrong: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)


class TokenCount:
    """Counts the tokens that a sandbox issues, and whether the one before was still good."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.issued = self.needed = 0
        self._tokens = sandbox._tokens
        self._issue = sandbox._tokens.issue
        sandbox._tokens.issue = self._count  # type: ignore[method-assign]

    def _count(self, **options: Any) -> dict[str, Any]:
        tokens, last = self._tokens, self._tokens._last
        self.issued += 1
        is_good = last is not None and last.token in tokens._live
        margin_s = RefreshPolicy().threshold_s(LIFETIME_S)
        if not (is_good and last is not None and last.expires_at - tokens._clock() > margin_s):
            self.needed += 1
        return self._issue(**options)


def crowd(seed: int, rounds: int, threads: int = THREADS, requests: int = 3) -> CrowdReport:
    """Let threads send requests, and in each round end the token once: before the requests or among them."""
    report = CrowdReport(seed, threads, requests)
    numbers = random.Random(seed)
    times = Time()
    before = open_things()
    faulthandler.dump_traceback_later(_LIMIT_S, repeat=True)
    try:
        with start(times) as sandbox:
            count = TokenCount(sandbox)
            engine = {"clock": times.clock, "now": times.now, "sleep": times.sleep, "random": numbers.random}
            with build_context(settings(sandbox, read_timeout_s=60), **engine) as context:
                get = lambda: context.session.fetch("GET", LIGHT, operation="namespaces")  # noqa: E731
                strikes: dict[str, Callable[[], None]] = {
                    "revoke": sandbox.revoke_tokens,
                    "expire": lambda: _advance(times, LIFETIME_S + 1),
                    "age": lambda: _advance(times, LIFETIME_S * 0.9),
                    "nothing": lambda: None,
                }
                for _ in range(rounds):
                    event = numbers.choice([*strikes, "revoke", "expire"])
                    after = numbers.choice([0, numbers.randrange(1, threads * requests)])
                    _round(report, event, strikes[event], get, 0 if event == "age" else after)
            report.token_requests, report.needed = sandbox.counts["token_requests"], count.needed
            if count.issued != report.token_requests:
                report.wrong.append(f"{count.issued} tokens were issued for {report.token_requests} requests")
    finally:
        faulthandler.cancel_dump_traceback_later()
    report.left_over = left_over(before)
    return report


def _round(report: CrowdReport, event: str, strike: Callable[[], None], get: Callable[[], Any], after: int) -> None:
    """Let all threads send their requests; the event strikes *after* so many of them, 0 for before the first."""
    report.events[event] += 1
    report.rounds += 1
    left = [after]
    if not after:
        strike()
    ready, lock = threading.Barrier(report.threads), threading.Lock()

    def work() -> None:
        try:
            ready.wait()
            for _ in range(report.each):
                get()
                with lock:
                    report.requests += 1
                    left[0] -= 1
                    if left[0] == 0:
                        strike()
        except Exception:  # noqa: BLE001 - each failure is a finding
            with lock:
                report.wrong.append(f"round {report.rounds}, {event}: {traceback.format_exc()}")

    crew = [threading.Thread(target=work, name=f"crowd-{number}", daemon=True) for number in range(report.threads)]
    for thread in crew:
        thread.start()
    deadline = time.monotonic() + _LIMIT_S
    for thread in crew:
        thread.join(max(deadline - time.monotonic(), 0))
    if any(thread.is_alive() for thread in crew):
        faulthandler.dump_traceback(all_threads=True)
        raise TimeoutError(f"round {report.rounds} ({event}) did not end within {_LIMIT_S:.0f} s; the stacks are above")


def _advance(times: Time, seconds: float) -> None:
    times.passed_s += seconds


# -- an hour ----------------------------------------------------------------------------------------------------------


@dataclass
class SoakReport:
    """An hour of pulling: memory and descriptors after each lifetime of a token."""

    seed: int
    hours: float = 1.0
    pulls: int = 0
    rows: int = 0
    lifetimes: int = 0
    revocations: int = 0
    restarts: int = 0
    token_requests: int = 0
    memory_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """How much more memory the last third of the hour has than the middle one, at its least in each."""
        third = len(self.memory_mb) // 3
        return min(self.memory_mb[-third:]) - min(self.memory_mb[third : 2 * third])


def soak(seed: int, pulls: int) -> SoakReport:
    """Pull for an hour of 12 lifetimes of a token, *pulls* times in each; revoke three tokens, restart the tenant."""
    report = SoakReport(seed)
    numbers = random.Random(seed)
    times = Time()
    lifetimes = round(report.hours * 3600 / LIFETIME_S)
    trouble = dict.fromkeys(numbers.sample(range(1, lifetimes * pulls), 3), "revoke")
    trouble[numbers.choice([one for one in range(1, lifetimes * pulls) if one not in trouble])] = "restart"
    folder = Path(tempfile.mkdtemp(prefix="sacnb-soak-"))
    sandbox = start(times)
    engine = {"clock": times.clock, "now": times.now, "sleep": times.sleep, "random": numbers.random}
    try:
        with connect_with(settings(sandbox, cache_dir=str(folder)), **engine) as tenant:
            facts = tenant.model("SCALE").facts(page_size=1_000)
            right = facts.fetch(progress=None).arrow()
            for number in range(lifetimes * pulls):
                match trouble.get(number):
                    case "revoke":
                        sandbox.revoke_tokens()
                        report.revocations += 1
                    case "restart":
                        report.token_requests += sandbox.counts["token_requests"]
                        sandbox.close()
                        sandbox = start(times, port=int(sandbox.tenant_url.rpartition(":")[2]))
                        report.restarts += 1
                how = facts.refresh if number % 3 == 0 else facts.fetch
                rows = how(progress=None).arrow()
                if not rows.equals(right):
                    report.wrong.append(f"pull {number}: {rows.num_rows} rows are not those of SAC")
                report.pulls += 1
                report.rows += rows.num_rows
                del rows
                _advance(times, LIFETIME_S / pulls)
                if (number + 1) % pulls == 0:
                    _measure(report, sandbox)
    finally:
        report.token_requests += sandbox.counts["token_requests"]
        sandbox.close()
        shutil.rmtree(folder)
    return report


def _measure(report: SoakReport, sandbox: Sandbox) -> None:
    sandbox._journal._log.clear()  # the log of the pretend tenant grows with its requests
    gc.collect()
    report.lifetimes += 1
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    report.memory_mb.append(round(pages * 4096 / 1e6, 1))
    report.descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
    report.threads.append(threading.active_count())


def main() -> int:
    """Read the arguments, run both, print the reports; return 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="of the crowd")
    parser.add_argument("--pulls", type=int, default=60, help="in each lifetime of a token")
    parser.add_argument("--seed", type=int, default=None, help="by default another one each time")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    hour = soak(seed, given.pulls)
    print(json.dumps({**vars(hour), "growth_mb": hour.growth_mb}), flush=True)
    many = crowd(seed, given.rounds)
    print(json.dumps(vars(many), indent=2))
    wrong = [*hour.wrong, *many.wrong, *many.left_over]
    if hour.growth_mb > 5 or hour.descriptors[-1] > hour.descriptors[3]:
        wrong.append("memory or descriptors grow")
    if many.token_requests != many.needed:
        wrong.append("a token was asked for without need")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
