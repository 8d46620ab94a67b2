"""Keep unfinished pulls on the disk, so that a pull that ended early resumes where it stopped.

<cache>/.pulls/<id>.lock               held while the pull runs; a killed process loses it
<cache>/.pulls/<id>/pull.json          the question, the start time and the plan
<cache>/.pulls/<id>/segment-0000.json  progress of a segment: its parts, the pages after them, the next link
<cache>/.pulls/<id>/rows/              the rows, unless they are exported: then they lie beside the target folder

Each file is replaced in one step and carries a digest over all of it; what a digest contradicts counts as missing and
is pulled again. So pages need no fsync. A part file and the state that names it are synced before the pages that they
replace are removed. Nothing secret is in here: links, names and rows, readable by the owner only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.ipc
from filelock import FileLock, Timeout

from sacnb._cache.state import MAX_AGE, PageFile, PartFile, SegmentState, is_recent, remove_area, segment_state, time_of
from sacnb._files import dump_with_digest, make_private_folder, read_with_digest, write_file
from sacnb._fork import is_forked_since

__all__ = ["StagedPull", "StagingArea", "clean_staging", "has_area", "list_staging", "staging_id", "staging_root"]

# Bump on every format change. Pulls staged in another format start over.
_FORMAT: Final = 2
_PULL_FILE: Final = "pull.json"
_ID_FORM: Final = re.compile(r"[0-9a-f]{32}")


def staging_root(cache_directory: Path) -> Path:
    """Return the folder of all staging areas of a cache."""
    return cache_directory / ".pulls"


def staging_id(identity: Mapping[str, str]) -> str:
    """Return 32 hex digits that differ if anything in *identity* does."""
    return hashlib.sha256(json.dumps(sorted(identity.items())).encode()).hexdigest()[:32]


def has_area(root: Path, identity: Mapping[str, str]) -> bool:
    """Return whether there is a staging area for this pull, in whatever state; false where that cannot be seen."""
    try:
        return (root / staging_id(identity)).exists()
    except OSError:  # a folder of another user, or a name that is too long
        return False


class StagingArea:
    """The files of one pull, locked by this process: made by ``open``, and closed or discarded at the end.

    ``write_page`` may be called by several threads; everything else by one.
    """

    def __init__(
        self, directory: Path, rows: Path, lock: FileLock, identity: Mapping[str, str], now: Callable[[], datetime]
    ) -> None:
        self.directory = directory
        self.rows = rows
        self.now = now
        self._lock = lock
        self._pid = os.getpid()
        self._identity = dict(identity)
        self._head = read_with_digest(directory / _PULL_FILE) or {}
        self._segments: dict[int, SegmentState] = {}

    @classmethod
    def open(
        cls,
        root: Path,
        identity: Mapping[str, str],
        *,
        rows: Path | None = None,
        resume: bool = True,
        max_age: timedelta = MAX_AGE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self | None:
        """Open the area of a pull, with the files of an earlier run; return ``None`` if another process holds it.

        Args:
            root: The folder of all areas; see ``staging_root``.
            identity: The question; nothing of another one is ever resumed.
            rows: The folder for the rows; by default one in the area.
            resume: Resume from what is there; otherwise it is removed.
            max_age: Pulls begun longer ago are removed: rows of today and of yesterday do not fit together.
            now: The clock, in UTC.

        Raises:
            OSError: The folder cannot be written to.
        """
        digest = staging_id(identity)
        make_private_folder(root.parent)
        make_private_folder(root, may_be_link=False)
        # Not local to a thread: a decode thread takes the lock, and the pull's thread releases it.
        lock = FileLock(root / f"{digest}.lock", thread_local=False, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        try:
            directory = root / digest
            if directory.is_symlink():
                directory.unlink()
            area = cls(directory, directory / "rows" if rows is None else rows.absolute(), lock, identity, now)
            if not (resume and area._is_usable(max_age)):
                area.begin_anew()
            make_private_folder(area.rows, may_be_link=False)
        except BaseException:
            lock.release()
            raise
        return area

    def __str__(self) -> str:
        return str(self.directory)

    def _is_usable(self, max_age: timedelta) -> bool:
        fits = (self._head.get("format"), self._head.get("identity")) == (_FORMAT, self._identity)
        return fits and is_recent(self._head.get("started_at"), self.now(), max_age)

    def begin_anew(self) -> None:
        """Discard everything that was pulled, and begin now."""
        remove_area(self.directory, self.rows)
        self._segments.clear()
        self._head = {
            "format": _FORMAT,
            "identity": self._identity,
            "run": secrets.token_hex(8),
            "started_at": self.now().astimezone(UTC).isoformat(),
            "rows": str(self.rows),
            "plan": None,
        }
        make_private_folder(self.directory, may_be_link=False)
        make_private_folder(self.rows, may_be_link=False)
        self._write_head()

    @property
    def started_at(self) -> datetime:
        """The time at which the pull was begun, by whichever process, in UTC."""
        return datetime.fromisoformat(self._head["started_at"])

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan the pull was begun with; ``None`` if it has none yet."""
        plan: dict[str, Any] | None = self._head["plan"]
        return plan

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Write the plan down, by which the segments are numbered."""
        self._head["plan"] = plan
        self._write_head()

    def segment(self, number: int) -> SegmentState:
        """Return the progress of a segment: files that are missing, or contradict their digest, do not count."""
        if number not in self._segments:
            self._segments[number] = self._checked(self._read(number))
        return self._segments[number]

    def write_page(self, segment: int, index: int, table: pa.Table) -> tuple[str, str]:
        """Write the rows of a page; return the name of its file and its hash. It counts once ``add_page`` has it."""
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        name = f"page-{segment:04d}-{index:05d}.arrow"
        write_file(self.rows / name, data)
        return name, hashlib.sha256(data).hexdigest()

    def read_page(self, page: PageFile) -> pa.Table:
        """Return the rows of a page, as they were written."""
        with pa.ipc.open_file(pa.py_buffer((self.rows / page.file).read_bytes())) as reader:
            return reader.read_all()

    def add_page(self, number: int, page: PageFile, *, announced: int | None) -> None:
        """Add the next page of a segment. A page without rows moves the segment on, and needs no file."""
        state = self.segment(number)
        self._write(
            number,
            replace(
                state,
                announced=announced,
                pages=(*state.pages, page) if page.rows else state.pages,
                next_index=page.index + 1,
                next_row=page.first_row + page.rows,
                next_link=page.next_link,
                is_complete=page.next_link is None,
                failed_link=None,
            ),
        )

    def write_part(self, segment: int, data: pa.Buffer, rows: int) -> PartFile:
        """Write the next part file of a segment, and remove the pages whose rows are all in parts now."""
        state = self.segment(segment)
        name = f"part-{segment:04d}-{len(state.parts):05d}.parquet"
        write_file(self.rows / name, data, durable=True)
        part = PartFile(name, rows, len(data), hashlib.sha256(data).hexdigest())
        done = state.part_rows + rows
        kept = tuple(page for page in state.pages if page.first_row + page.rows > done)
        self._write(segment, replace(state, parts=(*state.parts, part), pages=kept), durable=True)
        for page in state.pages:
            if page not in kept:
                (self.rows / page.file).unlink(missing_ok=True)
        return part

    def replace_part(self, segment: int, index: int, data: pa.Buffer) -> None:
        """Write a part file again, with the same rows in wider types."""
        state = self.segment(segment)
        old = state.parts[index]
        part = replace(old, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        write_file(self.rows / old.file, data, durable=True)
        parts = (*state.parts[:index], part, *state.parts[index + 1 :])
        self._write(segment, replace(state, parts=parts), durable=True)

    def note_failure(self, number: int, link: str) -> None:
        """Note for the next process that a link could not be fetched."""
        self._write(number, replace(self.segment(number), failed_link=link))

    def restart(self, number: int) -> None:
        """Discard the rows of a segment."""
        state = self.segment(number)
        self._write(number, SegmentState(), durable=True)
        for name in state.files:
            (self.rows / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the area; its files stay for the next process."""
        if not is_forked_since(self._pid):  # the lock is the parent's, which may be at work
            self._lock.release()

    def discard(self) -> None:
        """Remove the area, and release it."""
        if is_forked_since(self._pid):
            return
        try:
            remove_area(self.directory, self.rows)
        finally:
            self.close()

    def _segment_file(self, number: int) -> Path:
        return self.directory / f"segment-{number:04d}.json"

    def _write_head(self) -> None:
        write_file(self.directory / _PULL_FILE, dump_with_digest(self._head), durable=True)

    def _read(self, number: int) -> SegmentState:
        values = read_with_digest(self._segment_file(number)) or {}
        # A file that was copied from another segment or another run is whole, and still the wrong one.
        if (values.pop("run", None), values.pop("segment", None)) != (self._head.get("run"), number):
            return SegmentState()
        return segment_state(values)

    def _write(self, number: int, state: SegmentState, *, durable: bool = False) -> None:
        self._segments[number] = state
        values = {"run": self._head["run"], "segment": number, **asdict(state)}
        write_file(self._segment_file(number), dump_with_digest(values), durable=durable)

    def _checked(self, state: SegmentState) -> SegmentState:
        if not all(self._is_whole(part) for part in state.parts):
            return SegmentState()
        for count, page in enumerate(state.pages):
            if not self._is_whole(page):
                return state.up_to(count)
        return state

    def _is_whole(self, file: PartFile | PageFile) -> bool:
        path = self.rows / file.file
        with contextlib.suppress(OSError):
            return not path.is_symlink() and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        return False


@dataclass(frozen=True, slots=True)
class StagedPull:
    """An unfinished pull, running or left behind.

    ``target`` is the folder to export to, empty for the cache. ``is_running`` says that a process is at it.
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
    """Return all unfinished pulls, the oldest first.

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
    """Remove the pulls that dead processes left behind: one, those begun longer ago, or all; return the removed ones.

    Running pulls are left alone.

    Raises:
        OSError: Something cannot be removed.
    """
    gone = []
    for pull in list_staging(root):
        if id not in {None, pull.id}:
            continue
        is_young = older_than is not None and is_recent(pull.started_at, now(), older_than)
        if pull.is_running or is_young:
            continue
        with _held(root, pull.id) as is_held:
            if is_held:
                remove_area(*pull.directories)
                gone.append(pull)
    return tuple(gone)


def _staged(root: Path, name: str) -> StagedPull:
    directory = root / name
    head = read_with_digest(directory / _PULL_FILE) or {}
    identity = head.get("identity") or {}
    rows = Path(head["rows"]) if "rows" in head else directory / "rows"
    states = [read_with_digest(path) or {} for path in sorted(directory.glob("segment-*.json"))]
    for values in states:
        values.pop("run", None)
        values.pop("segment", None)
    with _held(root, name) as is_held:
        is_running = not is_held
    return StagedPull(
        id=name,
        provider_id=identity.get("provider_id", ""),
        entity_set=identity.get("entity_set", ""),
        query=identity.get("query", ""),
        target=identity.get("target", ""),
        started_at=time_of(head.get("started_at")),
        rows=sum(segment_state(values).rows for values in states),
        size_bytes=_size_of(directory) + _size_of(rows),
        is_running=is_running,
        problem=None if head.get("format") == _FORMAT else "It was written by another version, or is damaged.",
        directories=(directory, rows),
    )


def _size_of(folder: Path) -> int:
    """Return the size of the files in a folder; one that a running pull removes meanwhile does not count."""
    total = 0
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                total += path.stat().st_size if path.is_file() else 0
    return total


@contextlib.contextmanager
def _held(root: Path, name: str) -> Iterator[bool]:
    """Give whether the lock of an area could be taken, and hold it if so."""
    lock = FileLock(root / f"{name}.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
