"""What pulls left behind: found, shown and removed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sacnb._cache.staging import FORMAT, PULL_FILE, remove_area, time_of
from sacnb._cache.state import lane_state, read_object

__all__ = ["StagedPull", "clean_staging", "list_staging"]

_ID_FORM: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StagedPull:
    """A pull on its way, or left behind on it.

    ``target`` is the folder it was to end up in, empty for the cache. ``is_running`` says that a process is at it.
    ``problem`` says why it cannot be resumed.
    """

    id: str
    provider_id: str
    entity_set: str
    query: str
    target: str
    started_at: datetime | None
    rows: int
    size_bytes: int
    is_running: bool
    problem: str | None = None
    directories: tuple[Path, ...] = field(default=(), repr=False)


def list_staging(root: Path) -> tuple[StagedPull, ...]:
    """All pulls that are on their way or were left behind, the oldest first.

    Raises:
        OSError: The folder cannot be read.
    """
    ids = [child.name for child in root.iterdir() if _ID_FORM.fullmatch(child.name)] if root.is_dir() else []
    found = [_staged(root, one) for one in ids]
    return tuple(sorted(found, key=lambda one: (one.started_at or datetime.min.replace(tzinfo=UTC), one.id)))


def clean_staging(
    root: Path,
    id: str | None = None,  # noqa: A002 - it is the field of that name
    *,
    older_than: timedelta | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[StagedPull, ...]:
    """Remove what dead processes left behind: one pull, those begun longer ago, or all; returns what is gone.

    What a process is at is let alone. Raises OSError where something cannot be removed.
    """
    gone = []
    for pull in list_staging(root):
        if id not in {None, pull.id}:
            continue
        is_young = older_than is not None and pull.started_at is not None and now() - pull.started_at < older_than
        if pull.is_running or is_young:
            continue
        with _held(root, pull.id) as is_held:
            if is_held:
                remove_area(*pull.directories)
                gone.append(pull)
    return tuple(gone)


def _staged(root: Path, name: str) -> StagedPull:
    directory = root / name
    head = read_object(directory / PULL_FILE)
    identity = head.get("identity")
    identity = identity if isinstance(identity, dict) else {}
    rows = Path(head["rows"]) if isinstance(head.get("rows"), str) else directory / "rows"
    lanes = [lane_state(read_object(path)) for path in sorted(directory.glob("lane-*.json"))]
    files = [path for folder in (directory, rows) if folder.is_dir() for path in folder.iterdir() if path.is_file()]
    with _held(root, name) as is_held:
        is_running = not is_held
    return StagedPull(
        id=name,
        provider_id=identity.get("provider_id", ""),
        entity_set=identity.get("entity_set", ""),
        query=identity.get("query", ""),
        target=identity.get("target", ""),
        started_at=time_of(head.get("started_at")),
        rows=sum(lane.rows for lane in lanes),
        size_bytes=sum(path.stat().st_size for path in files),
        is_running=is_running,
        problem=None if head.get("format") == FORMAT else "It was written by another version, or is damaged.",
        directories=(directory, rows),
    )


@contextlib.contextmanager
def _held(root: Path, name: str) -> Iterator[bool]:
    """Whether the lock of an area could be taken, and hold it if so."""
    lock = FileLock(root / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
