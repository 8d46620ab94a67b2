"""Load a download into a table: resumable on both ends, each row once.

    <work>/rows/         the download: Parquet files, complete and checked before the first row is sent
    <work>/load.json     written before the first row is sent: the files, and the rows that each channel held by then
    <work>.lock          held while a load runs
    <channel>.channel    the load that began last on a channel; its lock is held, too

Rows cannot be taken back from a stream, and only at its end does a download prove complete and consistent; so the rows
go through the disk. A load that ended early goes on from there: what the channels have committed since ``load.json``
was written says which rows are in the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from sacnb._arguments import flag, required_text, whole_number
from sacnb._cache.folder import Folder
from sacnb._files import dump_with_digest, make_private_folder, read_with_digest, remove, replacing
from sacnb._wire.telemetry import room_logger
from sacnb.errors import Cancelled, ChannelError, ExportError, QueryError
from sacnb.snowflake.channel import Channel
from sacnb.snowflake.client import SnowflakeClient

__all__ = ["Load", "load", "load_facts"]

log: Final = room_logger("snowflake")

_BATCH_ROWS: Final = 20_000
_STATE: Final = "load.json"


class Download(Protocol):
    """A folder of Parquet files."""

    @property
    def path(self) -> Path:
        """The folder."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, in the order of the rows."""
        ...

    @property
    def started_at(self) -> datetime:
        """When the download began."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """A finished load: ``rows`` are in the table, ``resumed_rows`` of them since an earlier run that ended early.

    ``rejected`` are rows that Snowflake could not load, of all. ``downloaded_at`` is when the download began.
    """

    __module__ = "sacnb.snowflake"

    table: str
    channels: tuple[str, ...]
    rows: int
    resumed_rows: int
    rejected: int
    downloaded_at: str
    seconds: float

    def __repr__(self) -> str:
        resumed = f", {self.resumed_rows:,} of them by an earlier run" if self.resumed_rows else ""
        rejected = f", {self.rejected:,} more could not be loaded" if self.rejected else ""
        return f"<Load of {self.rows:,} rows into {self.table}{resumed}{rejected}>"


@dataclass(frozen=True, slots=True)
class _State:
    """The content of ``load.json``. ``bases`` are the rows that each channel had committed before the load.

    ``digests`` are the hashes of the files; an earlier version noted none.
    """

    files: tuple[str, ...]
    rows: tuple[int, ...]
    bases: Mapping[str, int]
    downloaded_at: str
    digests: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.rows)

    def share(self, channel: str) -> tuple[int, int]:
        """Return the first row of a channel's share of the rows, and the row after its last."""
        number, count = list(self.bases).index(channel), len(self.bases)
        return self.total * number // count, self.total * (number + 1) // count

    def left(self, channel: Channel) -> int:
        """Return how many rows of a channel's share are not committed."""
        start, end = self.share(channel.name)
        return end - start - (channel.committed - self.bases[channel.name])


def load(
    download: Callable[[Path], Download],
    work: Path,
    *,
    client: SnowflakeClient,
    table: str,
    channel: str,
    channels: int = 1,
    resume: bool = True,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> Load:
    """Download into *work*, append the rows to *table* over one or several channels, and wait until all are committed.

    ``options`` are those of ``client.open_channel``. The folder is removed at the end.

    Raises what *download* and the channels raise; ExportError where another process loads the same; CacheError
    where the disk is full or refuses the folder; Cancelled.
    """
    started = client.clock()
    names = [channel] if channels == 1 else [f"{channel}-{number}" for number in range(1, channels + 1)]
    pipe = client.pipe(table, **{name: options.get(name) for name in ("database", "schema", "pipe")})
    users = [work.parent / f"{_digest([client.principal, str(pipe), name])}.channel" for name in names]
    with _locked(work), ExitStack() as locks:
        for path in users:
            locks.enter_context(_lock(path, f"Another process is loading into the channel {channel!r}."))
        state = _read(work, names) if resume else None
        if state is None:
            (work / _STATE).unlink(missing_ok=True)
            found = download(work / "rows")
        else:
            _refuse_other_users(users, work, channel)
        opened = {name: client.open_channel(table, name, **options) for name in names}
        if state is None:
            for path in users:
                with replacing(path, private=True) as file:
                    file.write(work.name.encode())
            state = _begin(work, found, {name: one.committed for name, one in opened.items()})
        else:
            log.warning(
                "Resuming the load into %s that was downloaded at %s; run again for fresh rows.",
                table,
                state.downloaded_at,
            )
            if any(state.left(one) for one in opened.values()):
                _mend(work, state, download)
        resumed = sum(one.committed - state.bases[name] for name, one in opened.items())
        _append_all(work / "rows", state, list(opened.values()), cancelled)
        _discard(work)
    rejected = sum(one.rejected for one in opened.values())
    return Load(
        table=str(next(iter(opened.values())).pipe).removesuffix("-STREAMING"),
        channels=tuple(names),
        rows=state.total - rejected,
        resumed_rows=resumed,
        rejected=rejected,
        downloaded_at=state.downloaded_at,
        seconds=client.clock() - started,
    )


def load_facts(
    download: Callable[[Path], Download],
    about: Mapping[str, Any],
    root: Path,
    *,
    client: SnowflakeClient | None,
    table: str,
    channel: str | None,
    resume: bool,
    channels: int = 1,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> Load:
    """Load the answer to a query, described by *about*, through a folder and by default a channel of its own.

    Raises what ``load`` raises.
    """
    from sacnb import snowflake

    if client is not None and not isinstance(client, SnowflakeClient):
        raise QueryError(f"client must be one that sacnb.snowflake.connect made, got a {type(client).__name__}.")
    count = whole_number("channels", channels, least=1) or 1
    with nullcontext(client) if client is not None else snowflake.connect() as connected:
        pipe = connected.pipe(table, database=options.get("database"), schema=options.get("schema"))
        if channel is None:  # two queries of a model may be loaded at once
            asked = [about["namespace"], about["entity_set"], about["query"]]
            channel = f"sacnb-{about['provider_id']}-{_digest(asked)[:8]}"
        identity = {**about, "account": connected.principal, "pipe": str(pipe), "channel": channel}
        return load(
            download,
            root / _digest(identity),
            client=connected,
            table=table,
            channel=required_text("channel", channel),
            channels=count,
            resume=flag("resume", resume),
            cancelled=cancelled,
            **options,
        )


def _digest(about: Any) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def _refuse_other_users(users: Sequence[Path], work: Path, channel: str) -> None:
    """Raise ChannelError where another load used the channel since this one began: their rows look alike there."""
    for path in users:
        if path.exists() and path.read_bytes() != work.name.encode():
            raise ChannelError(
                f"Another query was loaded through the channel {channel!r} after the load that is to be resumed began, "
                "so which of its rows are committed is not known.",
                hint="Compare the table with its source, then start over: to_snowflake(..., resume=False). Give each "
                "query a channel of its own.",
            )


def _append_all(folder: Path, state: _State, channels: Sequence[Channel], cancelled: Callable[[], bool] | None) -> None:
    """Append each channel's share; the first error stops the others."""
    failed: list[BaseException] = []

    def stopped() -> bool:
        return bool(failed) or (cancelled is not None and cancelled())

    def work(channel: Channel) -> None:
        try:
            _append(folder, state, channel, stopped)
        except BaseException as error:
            failed.append(error)
            raise

    if len(channels) == 1:
        work(channels[0])
        return
    with ThreadPoolExecutor(len(channels), thread_name_prefix="sacnb-snowflake") as pool:
        try:
            for done in [pool.submit(work, channel) for channel in channels]:
                done.exception()
        except BaseException as error:  # Ctrl-C, which only this thread gets
            failed.append(error)
            raise
    if failed:
        raise failed[0]


def _append(folder: Path, state: _State, channel: Channel, stopped: Callable[[], bool]) -> None:
    start, end = state.share(channel.name)
    done = channel.committed - state.bases[channel.name]
    if not 0 <= done <= end - start:
        raise ChannelError(
            f"The channel {channel.name!r} has {channel.committed:,} rows; the load that is to be resumed began at "
            f"{state.bases[channel.name]:,} and has {end - start:,}. Something else wrote to the channel.",
            hint="Compare the table with its source, then start over: to_snowflake(..., resume=False).",
        )
    channel.append_rows(_until(stopped, _rows(folder, state, start + done, end)))
    channel.close()


def _until(stopped: Callable[[], bool], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stopped():
            raise Cancelled("The load was cancelled. What is committed stays, and the next one goes on after it.")
        yield batch


def _rows(folder: Path, state: _State, start: int, end: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows from *start* up to *end*, a few at a time."""
    position = 0
    for name, rows in zip(state.files, state.rows, strict=True):
        if position + rows > start and position < end:
            with pq.ParquetFile(folder / name) as file:
                at = position
                for batch in file.iter_batches(_BATCH_ROWS):
                    low, high = max(start - at, 0), min(end - at, len(batch))
                    at += len(batch)
                    if low < high:
                        yield batch.slice(low, high - low)
        position += rows


def _mend(work: Path, state: _State, download: Callable[[Path], Download]) -> None:
    """Download the rows again where their files are damaged or gone: the same rows are in the same files.

    Raises ExportError where SAC has other rows by now: a part of the old ones is in the table.
    """
    if not state.digests or _digests(work / "rows", state.files) == state.digests:
        return
    log.warning("The download in %s is damaged; downloading it again.", work)
    found = download(work / "rows")
    if _digests(found.path, found.files) != state.digests:
        raise ExportError(
            f"The download in {work} is damaged, and SAC has other rows now than at {state.downloaded_at}.",
            hint="Compare the table with its source, then start over: to_snowflake(..., resume=False).",
        )


def _digests(folder: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Return the hashes of the files; an empty one for a file that cannot be read."""
    found = []
    for name in files:
        try:
            with (folder / name).open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            found.append("")
    return tuple(found)


def _discard(work: Path) -> None:
    """Remove the folder, the state last: as long as it is there, the next run sees that all rows are committed."""
    for path in work.iterdir():
        if path.name != _STATE:
            remove(path)
    remove(work)


def _begin(work: Path, found: Download, bases: Mapping[str, int]) -> _State:
    rows = tuple(pq.read_metadata(found.path / name).num_rows for name in found.files)
    moment = f"{found.started_at:%Y-%m-%d %H:%M:%S} UTC"
    state = _State(found.files, rows, bases, moment, _digests(found.path, found.files))
    about = {
        "files": list(found.files),
        "rows": list(rows),
        "bases": [[name, base] for name, base in bases.items()],  # pairs, to keep their order
        "downloaded_at": state.downloaded_at,
        "digests": list(state.digests),
    }
    with replacing(work / _STATE, private=True) as file:
        file.write(dump_with_digest(about))
    return state


def _read(work: Path, names: Sequence[str]) -> _State | None:
    """Return the state of a load that ended early; ``None`` where there is none."""
    path = work / _STATE
    if not path.exists():
        return None
    about = read_with_digest(path)
    if about is None or [name for name, _ in about["bases"]] != list(names):
        raise ExportError(
            f"{path} cannot be used: it is damaged, or of a load with other channels.",
            hint="Load with the same channels, or start over: to_snowflake(..., resume=False).",
        )
    digests = tuple(about.get("digests", ()))
    return _State(tuple(about["files"]), tuple(about["rows"]), dict(about["bases"]), about["downloaded_at"], digests)


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Make the folder and lock it. Raises ExportError where another process has it; CacheError where it is refused."""
    with Folder(work.parent, lock_timeout_s=0).refusals("written"):
        make_private_folder(work)
        with _lock(work, f"Another process is loading the same rows ({work})."):
            yield


@contextmanager
def _lock(path: Path, problem: str) -> Iterator[None]:
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ExportError(problem, hint="Wait for it.") from None
    try:
        yield
    finally:
        lock.release()
