"""Keep the link to the changes of a cached result, and let one process at a time use it.

<cache>/.tracks/<name>.json   the link, the results that it may be merged into, and how they were checked
<cache>/.tracks/<name>.lock   held during a refresh; a killed process loses it

A result is kept before its link. A process that is killed in between leaves the old link, which brings the same changes
once more: they hold whole rows, so that merging them twice does no harm. Therefore ``bases`` names the old result and
the new one. Any other result, such as that of a plain refresh, may be older than the link in places, and is not
merged into. Each file is replaced in one step and carries a digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from filelock import FileLock, Timeout

from sacnb._cache.folder import CacheKey
from sacnb._files import dump_with_digest, make_private_folder, read_with_digest, write_file
from sacnb._frames.convert import column_to_dict
from sacnb._odata.schema import Column
from sacnb._results.info import ResultInfo
from sacnb.errors import Cancelled

__all__ = ["TrackFile", "TrackState", "mark_of"]

# Bump on every format change. A state in another format is passed over, and all rows are read.
FORMAT: Final = 1
_WAIT_S: Final = 0.2


def mark_of(info: ResultInfo) -> str:
    """Return what tells a kept result from others of the same query."""
    return f"{info.last_refresh_time.isoformat(timespec='microseconds')} {info.row_count}"


@dataclass(frozen=True, slots=True)
class TrackState:
    """The link to the next changes, and what is known of the results before them.

    Without a ``link`` changes are not followed, because keys have several records. ``columns`` are those that the link
    was asked for with. ``merges`` counts since the last full read or compare. ``without_sum`` are measures whose total
    in SAC is no sum of the rows.
    """

    link: str
    bases: tuple[str, ...]
    columns: tuple[dict[str, Any], ...]
    merges: int = 0
    without_sum: tuple[str, ...] = ()

    def fits(self, columns: Sequence[Column]) -> bool:
        """Return whether the link was asked for with these columns."""
        return self.columns == described(columns)

    def before(self, info: ResultInfo) -> Self:
        """Return the state to keep before a new result is."""
        return replace(self, bases=(*self.bases[-1:], mark_of(info)))


def described(columns: Sequence[Column]) -> tuple[dict[str, Any], ...]:
    """Return columns as plain values."""
    return tuple(column_to_dict(column) for column in columns)


class TrackFile:
    """The state of one cached result, on the disk."""

    def __init__(self, cache_directory: Path, key: CacheKey, sleep: Callable[[float], None]) -> None:
        self._folder = cache_directory / ".tracks"
        self._path = self._folder / f"{key.name}.json"
        self._lock = self._folder / f"{key.name}.lock"
        self._sleep = sleep

    def make(self) -> None:
        """Make the folder. Raises OSError where the system refuses."""
        make_private_folder(self._folder.parent)
        make_private_folder(self._folder, may_be_link=False)

    @contextmanager
    def held(self, cancelled: Callable[[], bool] | None, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the state of this result, waiting for other processes and threads; *waiting* is called once.

        Raises:
            Cancelled: The user stopped waiting.
            OSError: The folder cannot be written to.
        """
        lock = FileLock(self._lock, timeout=0, mode=0o600)
        told = False
        while True:
            try:
                lock.acquire()
                break
            except Timeout:
                if not told:
                    waiting()
                    told = True
                if cancelled is not None and cancelled():
                    raise Cancelled("Stopped waiting for another refresh of the same query.") from None
                self._sleep(_WAIT_S)
        try:
            yield
        finally:
            lock.release()

    def read(self) -> TrackState | None:
        """Return the state; ``None`` where there is none, or one that is damaged or of another format."""
        values = read_with_digest(self._path)
        if values is None or values.pop("format", None) != FORMAT:
            return None
        try:
            return TrackState(
                link=str(values["link"]),
                bases=tuple(map(str, values["bases"])),
                columns=tuple(values["columns"]),
                merges=int(values["merges"]),
                without_sum=tuple(map(str, values["without_sum"])),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def write(self, state: TrackState) -> None:
        """Keep a state in place of the one that was there. Raises OSError where the disk refuses."""
        write_file(self._path, dump_with_digest({"format": FORMAT, **asdict(state)}), durable=True)

    def remove(self) -> None:
        """Forget the link."""
        self._path.unlink(missing_ok=True)
