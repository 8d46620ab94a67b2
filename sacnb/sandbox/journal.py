"""Counters, and a log of requests without secrets."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Journal", "SeenRequest"]

_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request: its time, kind and address, the status of its answer (0: no answer), the misbehaviours that struck.

    ``query`` is empty for the token endpoint, where a client may have put its secret.
    """

    __module__ = "sacnb.sandbox"

    at: datetime
    kind: str
    method: str
    path: str
    query: str
    status: int
    rows: int
    misbehaviours: tuple[str, ...]


class Journal:
    """Counters and log, safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._log: deque[SeenRequest] = deque(maxlen=_KEPT)

    def count(self, name: str, by: int = 1) -> None:
        """Increase a counter."""
        with self._lock:
            self._counts[name] += by

    def enter(self, seen: SeenRequest) -> None:
        """Log an answered request, and count it by kind and status."""
        names = ["requests", f"{seen.kind}_requests", f"status_{seen.status}" if seen.status else "no_answer"]
        names += [f"misbehaved_{name}" for name in seen.misbehaviours]
        self._count_all(names, seen)

    def _count_all(self, names: Iterable[str], seen: SeenRequest) -> None:
        with self._lock:
            self._counts.update(names)
            self._counts["rows"] += seen.rows
            self._log.append(seen)

    def counts(self) -> Counter[str]:
        """Return a snapshot of the counters; an unknown counter reads 0."""
        with self._lock:
            return Counter(self._counts)

    def log(self) -> tuple[SeenRequest, ...]:
        """Return the last 100,000 requests, oldest first."""
        with self._lock:
            return tuple(self._log)
