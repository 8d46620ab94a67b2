"""Make a finished export visible in one step, and finish a publication that was interrupted.

<name>/                   the export: Parquet files whose names carry a digest of the whole export
<name>.manifest.json      the question, the times, and the files with their rows and hashes
.<name>.lock              held while an export to <name> runs, and removed at its end
.<name>.<id>.partial/     the rows of an unfinished export
.<name>.pending.json      a publication that has been decided on: the next run finishes it, without SAC
.<name>.retired/          the export before this one, for a moment, where folders cannot be exchanged in one step

On Linux and macOS two folders are exchanged in one step, where the file system can: readers find the old files or the
new ones at every instant. Elsewhere, on Windows above all, the old folder is renamed before the new one, and for that
moment there is no folder. A reader that listed the old folder and opens its files after the exchange gets an error and
never rows of both: the names of several files carry a digest of the whole export. A single file keeps its name, since
it is whole whenever it is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from sacnb._cache.state import ROWS_FORM, PartFile, remove_rows
from sacnb._files import dump_with_digest, exchange, read_with_digest, remove, replacing, sync_folder
from sacnb._fork import is_forked_since
from sacnb.errors import ExportError

__all__ = [
    "MANIFEST_FORMAT",
    "ParquetFolder",
    "Publication",
    "locked",
    "manifest_of",
    "recover",
    "refuse_foreign",
]

MANIFEST_FORMAT: Final = 2
# Opening a folder and listing it takes microseconds; a reader may be interrupted in between.
_READERS_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class ParquetFolder:
    """A folder of Parquet files with the answer to a question, and the manifest beside it.

    ``resumed_rows`` of the rows were pulled by an earlier run; ``started_at`` is when the first one began, in UTC.
    """

    __module__ = "sacnb"

    path: Path
    manifest: Path
    row_count: int
    files: tuple[str, ...]
    size_bytes: int
    started_at: datetime
    finished_at: datetime
    resumed_rows: int = 0

    def __repr__(self) -> str:
        resumed = f", {self.resumed_rows:,} of them pulled by an earlier run" if self.resumed_rows else ""
        return f"<ParquetFolder {self.path}: {self.row_count:,} rows in {len(self.files)} files{resumed}>"


def manifest_of(folder: Path) -> Path:
    """Return the manifest of an export."""
    return folder.with_name(f"{folder.name}.manifest.json")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a target folder, for any query that is exported to it.

    Raises:
        ExportError: Another export to this folder is running.
    """
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ExportError(f"Another process is exporting to {folder}.", hint="Wait for it to end.") from None
    pid = os.getpid()
    try:
        yield
    finally:
        if not is_forked_since(pid):
            # While it is held: a process that waits for the removed file notices, and makes a new one. Windows cannot
            # remove an open file, and keeps it.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()


def refuse_foreign(folder: Path) -> None:
    """Refuse to replace anything that an export did not write.

    Raises:
        ExportError: *folder* is a file, or something else is in it.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file, and a folder was expected.", hint="Name a folder.")
    foreign = sorted(path.name for path in folder.iterdir() if not _is_export_file(path))
    if foreign:
        raise ExportError(
            f"{folder} holds {foreign[0]!r}, which was not written by an export, and is not replaced.",
            hint="Name a folder that is empty or does not exist.",
        )


def _is_export_file(path: Path) -> bool:
    return ROWS_FORM.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()


@dataclass(frozen=True, slots=True)
class Publication:
    """A finished export that is to take the place of ``folder``, as ``.<name>.pending.json`` describes it.

    ``question`` tells whether a later run asks the same. ``files`` are the part files: the name in ``rows``, the name
    to publish, and the hash. ``area`` is the staging area that is of no more use afterwards.
    """

    folder: Path
    rows: Path
    area: Path
    question: str
    files: tuple[tuple[str, str, str], ...]
    manifest: Mapping[str, Any]
    resumed_rows: int

    @classmethod
    def of(
        cls,
        folder: Path,
        parts: Sequence[PartFile],
        *,
        rows: Path,
        area: Path,
        question: str,
        about: Mapping[str, Any],
        resumed_rows: int,
    ) -> Publication:
        """Return the publication of these part files, with a manifest that says *about* and lists them."""
        digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()[:8]
        names = [f"{Path(part.file).stem}-{digest}.parquet" if len(parts) > 1 else part.file for part in parts]
        files = [(part.file, name, part.sha256) for part, name in zip(parts, names, strict=True)]
        manifest = {
            "format": MANIFEST_FORMAT,
            "complete": True,
            **about,
            "row_count": sum(part.rows for part in parts),
            "parts": [
                {"file": published, "rows": part.rows, "size_bytes": part.size_bytes, "sha256": part.sha256}
                for part, (_, published, _) in zip(parts, files, strict=True)
            ],
        }
        return cls(folder, rows, area, question, tuple(files), manifest, resumed_rows)

    @classmethod
    def pending(cls, folder: Path) -> Publication | None:
        """Return the publication that an earlier run decided on and did not finish."""
        values = read_with_digest(_pending_file(folder))
        if values is None:
            return None
        try:
            files = tuple((str(staged), str(name), str(digest)) for staged, name, digest in values["files"])
            if not all(ROWS_FORM.fullmatch(name) for file in files for name in file[:2]):
                return None
            return cls(
                folder,
                folder.with_name(Path(values["rows"]).name),
                Path(values["area"]),
                values["question"],
                files,
                values["manifest"],
                values["resumed_rows"],
            )
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def result(self) -> ParquetFolder:
        """The export as the user gets it."""
        parts = self.manifest["parts"]
        return ParquetFolder(
            path=self.folder,
            manifest=manifest_of(self.folder),
            row_count=self.manifest["row_count"],
            files=tuple(part["file"] for part in parts),
            size_bytes=sum(part["size_bytes"] for part in parts),
            started_at=datetime.fromisoformat(self.manifest["started_at"]),
            finished_at=datetime.fromisoformat(self.manifest["finished_at"]),
            resumed_rows=self.resumed_rows,
        )

    @property
    def is_visible(self) -> bool:
        """True when the folder holds exactly these files."""
        digests = {published: digest for _, published, digest in self.files}
        if not self.folder.is_dir() or {path.name for path in self.folder.iterdir()} != set(digests):
            return False
        return len(digests) > 1 or all(_sha256(self.folder / name) == digest for name, digest in digests.items())

    def is_whole(self) -> bool:
        """Return whether all part files are there still, as they were when the publication was decided on."""
        for staged, published, digest in self.files:
            path = self.rows / published
            path = path if path.exists() else self.rows / staged
            try:
                if path.is_symlink() or _sha256(path) != digest:
                    return False
            except OSError:
                return False
        return True

    def begin(self) -> None:
        """Commit to the publication: from here on this run finishes it, or the next one."""
        values = {
            "rows": self.rows.name,
            "area": str(self.area),
            "question": self.question,
            "files": self.files,
            "manifest": self.manifest,
            "resumed_rows": self.resumed_rows,
        }
        self._write(_pending_file(self.folder), values)

    def finish(self, *, sleep: Callable[[float], None] = time.sleep) -> ParquetFolder:
        """Carry the publication out; steps that an earlier run has done are not done again.

        The old files stay for a moment under a hidden name: a reader may have opened the old folder, and be about to
        list it.

        Raises:
            ExportError: Something else is in the folder by now.
            OSError: The system refuses, such as Windows where a program has a file of the folder open.
        """
        if not self.is_visible:
            refuse_foreign(self.folder)
            self._prepare()
            self._replace_folder()
        self._write_manifest()
        if self.rows.exists() or _retired(self.folder).exists():
            sleep(_READERS_S)
        remove_rows(self.rows)
        remove_rows(_retired(self.folder))
        if self.area.parent.name == ".pulls":
            remove(self.area)
        _unlink(_pending_file(self.folder))
        return self.result

    def _prepare(self) -> None:
        """Give the part files their final names, and the rights that files of the user have."""
        for staged, published, _ in self.files:
            if not (self.rows / published).exists():
                (self.rows / staged).rename(self.rows / published)
        names = {published for _, published, _ in self.files}
        # The umask shows in a file that was made with it; os.umask would change it for all threads to read it.
        mode = (self.folder if self.folder.exists() else _pending_file(self.folder)).stat().st_mode & 0o666
        for path in self.rows.iterdir():
            if path.name in names:
                path.chmod(mode | 0o600)
            elif path.is_symlink() or not path.is_dir():
                path.unlink()
        self.rows.chmod(mode | mode >> 2 & 0o111 | 0o700)
        sync_folder(self.rows)

    def _replace_folder(self) -> None:
        if not self.folder.exists():
            self.rows.rename(self.folder)
        else:
            # The manifest first: until the exchange it names files that are not there yet, and never describes others.
            self._write_manifest()
            if not exchange(self.rows, self.folder):
                retired = _retired(self.folder)
                remove_rows(retired)
                self.folder.rename(retired)
                try:
                    self.rows.rename(self.folder)
                except OSError:
                    retired.rename(self.folder)
                    raise
        sync_folder(self.folder.parent)

    def _write_manifest(self) -> None:
        self._write(manifest_of(self.folder), self.manifest)

    def _write(self, path: Path, values: Mapping[str, Any]) -> None:
        # One name, so that a killed run leaves nothing that the next one does not remove.
        temporary = _temporary(self.folder)
        _unlink(temporary)
        with replacing(path, temporary=temporary) as file:
            file.write(dump_with_digest(values))


def recover(folder: Path, *, sleep: Callable[[float], None] = time.sleep) -> Publication | None:
    """Finish the publication that an earlier run decided on, and return it; ``None`` where there is none.

    Raises:
        ExportError, OSError: As ``Publication.finish``.
    """
    found = Publication.pending(folder)
    if found is not None and (found.is_visible or found.is_whole()):
        found.finish(sleep=sleep)
        return found
    retired = _retired(folder)
    if retired.is_dir() and not retired.is_symlink():
        if folder.exists():
            remove_rows(retired)
        else:
            retired.rename(folder)
    _unlink(_pending_file(folder))
    _unlink(_temporary(folder))
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unlink(path: Path) -> None:
    """Remove a file or a link; a folder of the user's that has one of our names stays."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)


def _pending_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.pending.json")


def _temporary(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.tmp")


def _retired(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.retired")
