"""Pulls on their way: every finished page is on the disk, so that a pull that died goes on where it stopped.

<cache>/.pulls/<id>.lock      held while the pull runs; a killed process loses it
<cache>/.pulls/<id>/pull.json what is pulled, since when, and by which plan
<cache>/.pulls/<id>/lane-0000.json   how far a run of pages is: its parts, the pages after them, and the next link
<cache>/.pulls/<id>/rows/     the rows, unless they are to end up in a folder of the user's: then they lie beside it

Each of these files is replaced in one step. A page's rows need no fsync: they carry a hash, and what a power cut tore
apart is pulled again. What stands for pages that are gone (a part, and the note of it) is synced before they go.
Nothing secret is in here: links, names and rows, for the owner alone.

What pulls left behind: found, shown and removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.ipc
from filelock import FileLock, Timeout

from sacnb._cache.state import ROWS_FORM, LaneState, PageFile, PartFile, lane_state, put, read_object, to_json

__all__ = [
    "FORMAT",
    "PULL_FILE",
    "StagedPull",
    "StagingArea",
    "clean_staging",
    "has_area",
    "list_staging",
    "remove_area",
    "staging_id",
    "staging_root",
    "time_of",
]

# Another number for every change of these files; a pull staged in another format begins anew.
FORMAT: Final = 1
PULL_FILE: Final = "pull.json"


def staging_root(cache_directory: Path) -> Path:
    """The folder of all areas of a cache."""
    return cache_directory / ".pulls"


def staging_id(identity: Mapping[str, str]) -> str:
    """32 hex digits that differ if anything of what makes two pulls the same does."""
    return hashlib.sha256(json.dumps(sorted(identity.items())).encode()).hexdigest()[:32]


def has_area(root: Path, identity: Mapping[str, str]) -> bool:
    """Whether there is an area for this pull, in whatever state."""
    return (root / staging_id(identity)).exists()


class StagingArea:
    """The files of one pull, in the hands of this process: made by ``open``, and closed or discarded at the end.

    ``write_page`` may be called by several threads; everything else by one.
    """

    def __init__(
        self, directory: Path, rows: Path, lock: FileLock, identity: Mapping[str, str], now: Callable[[], datetime]
    ) -> None:
        self.directory = directory
        self.rows = rows
        self.now = now
        self._lock = lock
        self._identity = dict(identity)
        self._head = read_object(directory / PULL_FILE)
        self._lanes: dict[int, LaneState] = {}

    @classmethod
    def open(
        cls,
        root: Path,
        identity: Mapping[str, str],
        *,
        rows: Path | None = None,
        resume: bool = True,
        max_age: timedelta = timedelta(hours=12),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self | None:
        """The area of a pull, with what an earlier process left in it; ``None`` if another one is at it.

        Args:
            root: The folder of all areas; see ``staging_root``.
            identity: What makes two pulls the same; nothing of another one is ever resumed.
            rows: Where the rows are to lie; by default in the area.
            resume: Whether to go on with what is there; else it is removed.
            max_age: What was begun longer ago is removed: rows of today and of yesterday are no result.
            now: The clock, in UTC.

        Raises:
            OSError: The folder cannot be written to.
        """
        digest = staging_id(identity)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not local to a thread: it is taken in one that decodes, and let go of by the one that pulls.
        lock = FileLock(root / f"{digest}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        try:
            directory = root / digest
            area = cls(directory, directory / "rows" if rows is None else rows.absolute(), lock, identity, now)
            if not (resume and area._is_usable(max_age)):
                area.begin_anew()
            area.rows.mkdir(parents=True, exist_ok=True)
        except BaseException:
            lock.release()
            raise
        return area

    def __str__(self) -> str:
        return str(self.directory)

    def _is_usable(self, max_age: timedelta) -> bool:
        began = time_of(self._head.get("started_at"))
        fits = self._head.get("format") == FORMAT and self._head.get("identity") == self._identity
        return fits and began is not None and self.now() - began <= max_age

    def begin_anew(self) -> None:
        """Forget everything that was pulled, and begin now."""
        remove_area(self.directory, self.rows)
        self._lanes.clear()
        self._head = {
            "format": FORMAT,
            "identity": self._identity,
            "started_at": self.now().astimezone(UTC).isoformat(),
            "rows": str(self.rows),
            "plan": None,
        }
        self.directory.mkdir(mode=0o700)
        self.rows.mkdir(parents=True, exist_ok=True)
        self._keep_head()

    @property
    def started_at(self) -> datetime:
        """When the pull was begun, by whichever process, in UTC."""
        return datetime.fromisoformat(self._head["started_at"])

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan the pull was begun with; ``None`` if it has none yet."""
        plan: dict[str, Any] | None = self._head["plan"]
        return plan

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Note the plan, by which the lanes are numbered."""
        self._head["plan"] = plan
        self._keep_head()

    def lane(self, number: int) -> LaneState:
        """How far a lane is, by its files: what cannot be read, or has another hash, counts as not there."""
        if number not in self._lanes:
            self._lanes[number] = self._checked(lane_state(read_object(self._lane_file(number))))
        return self._lanes[number]

    def write_page(self, lane: int, index: int, table: pa.Table) -> tuple[str, str]:
        """Write the rows of a page; the name of its file, and its hash. It counts once it is handed to ``add_page``."""
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        name = f"page-{lane:04d}-{index:05d}.arrow"
        put(self.rows / name, data)
        return name, hashlib.sha256(data).hexdigest()

    def read_page(self, page: PageFile) -> pa.Table:
        """The rows of a page, as they were written."""
        with pa.ipc.open_file(pa.py_buffer((self.rows / page.file).read_bytes())) as reader:
            return reader.read_all()

    def add_page(self, number: int, page: PageFile, *, announced: int | None) -> None:
        """The next page of a lane is there."""
        state = self.lane(number)
        self._keep(
            number,
            replace(
                state,
                announced=announced,
                pages=(*state.pages, page),
                next_index=page.index + 1,
                next_mark=page.next_mark,
                is_complete=page.next_mark is None,
                failed_mark=None,
            ),
        )

    def write_part(self, lane: int, data: pa.Buffer, rows: int) -> PartFile:
        """Write the next part of a lane, and forget the pages whose rows are all in parts now."""
        state = self.lane(lane)
        name = f"part-{lane:04d}-{len(state.parts):05d}.parquet"
        put(self.rows / name, data, durable=True)
        part = PartFile(name, rows, len(data), hashlib.sha256(data).hexdigest())
        done = state.part_rows + rows
        kept = tuple(page for page in state.pages if page.first_row + page.rows > done)
        self._keep(lane, replace(state, parts=(*state.parts, part), pages=kept), durable=True)
        for page in state.pages:
            if page not in kept:
                (self.rows / page.file).unlink(missing_ok=True)
        return part

    def replace_part(self, lane: int, index: int, data: pa.Buffer) -> None:
        """Write a part anew, with the same rows in wider types."""
        state = self.lane(lane)
        old = state.parts[index]
        part = replace(old, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        put(self.rows / old.file, data, durable=True)
        self._keep(lane, replace(state, parts=(*state.parts[:index], part, *state.parts[index + 1 :])), durable=True)

    def note_failure(self, number: int, mark: str) -> None:
        """A link of a lane was asked for in vain; the next process will know."""
        self._keep(number, replace(self.lane(number), failed_mark=mark))

    def restart(self, number: int) -> None:
        """A lane begins anew."""
        state = self.lane(number)
        self._keep(number, LaneState(), durable=True)
        for name in state.files:
            (self.rows / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the area; what is in it stays for the next process."""
        self._lock.release()

    def discard(self) -> None:
        """Remove the area, and let go of it."""
        try:
            remove_area(self.directory, self.rows)
        finally:
            self.close()

    def _lane_file(self, number: int) -> Path:
        return self.directory / f"lane-{number:04d}.json"

    def _keep_head(self) -> None:
        put(self.directory / PULL_FILE, to_json(self._head), durable=True)

    def _keep(self, number: int, state: LaneState, *, durable: bool = False) -> None:
        self._lanes[number] = state
        put(self._lane_file(number), to_json(asdict(state)), durable=durable)

    def _checked(self, state: LaneState) -> LaneState:
        if not all(self._is_whole(part) for part in state.parts):
            return LaneState()
        for count, page in enumerate(state.pages):
            if not self._is_whole(page):
                return state.up_to(count)
        return state

    def _is_whole(self, file: PartFile | PageFile) -> bool:
        with contextlib.suppress(OSError):
            return hashlib.sha256((self.rows / file.file).read_bytes()).hexdigest() == file.sha256
        return False


def remove_area(directory: Path, rows: Path) -> None:
    """Remove an area. Of rows outside of it only what has our names: the folder beside them is not ours."""
    if rows.is_dir():
        for path in rows.iterdir():
            if ROWS_FORM.fullmatch(path.name) or path.name.endswith(".tmp"):
                path.unlink()
        with contextlib.suppress(OSError):  # something else is in there
            rows.rmdir()
    if directory.is_dir():
        shutil.rmtree(directory)


def time_of(text: object) -> datetime | None:
    """A time with its zone from its text; ``None`` for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


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
