"""The outcome of a write, and a line of it for an audit file."""

from __future__ import annotations

import errno
import getpass
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sacnb._files import make_private
from sacnb._rendering import Preview, Previewed, fact_table, local_time
from sacnb._results.info import principal_digest
from sacnb.errors import ExportError, WriteError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CHANGES", "WriteProgress", "WriteReport", "append_audit", "differs", "verified"]

CHANGES: Final = ("new", "changed", "same", "removed")


@dataclass(frozen=True, slots=True)
class WriteProgress:
    """Progress of a write: the step, rows and uploads so far, all rows, and the seconds since the start."""

    step: str
    rows: int
    pages: int
    expected_rows: int
    elapsed_s: float
    resumed_rows: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class WriteReport(Previewed):
    """The outcome of a write.

    ``state`` is the job's last state: ``COMPLETED``, or for a dry run ``READY_FOR_WRITE``; the job of a dry run is
    deleted. ``rows`` were written (or would be), ``deleted`` were deleted before that by CleanAndReplace, ``None`` for
    other methods. ``changes`` is a polars frame with each key, its measures before and after, and ``change``: new,
    changed, same, or removed by CleanAndReplace; ``None`` where the facts were not read. ``rejected`` is a frame like
    ``RowsError.problems``; it is empty unless ``allow_partial`` was set. ``verified`` is true where the rows were read
    back and are as written, ``None`` where they were not read. ``rounded`` tells by measure how many floats had more
    decimals than the model. ``digest`` is the SHA-256 of the rows as they were sent, and ``written`` those rows (of a
    dry run: would be sent).
    """

    __module__ = "sacnb"

    model_id: str
    method: str
    versions: tuple[str, ...]
    job_id: str
    state: str
    is_dry_run: bool
    rows: int
    deleted: int | None
    rejected: pl.DataFrame
    changes: pl.DataFrame | None
    verified: bool | None
    rounded: Mapping[str, int]
    notes: tuple[str, ...]
    started_at: datetime
    elapsed_s: float
    digest: str
    written: pl.DataFrame
    _undo: Callable[[bool], WriteReport] | None = field(default=None, compare=False)

    def __copy__(self) -> WriteReport:
        return self

    def __deepcopy__(self, _: object) -> WriteReport:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the way back: an undo needs the connection."""
        kept = [getattr(self, one.name) for one in fields(self) if one.name != "_undo"]
        return WriteReport, tuple(kept)

    @property
    def can_undo(self) -> bool:
        """Return whether the rows as they were are kept."""
        return self._undo is not None

    def undo(self, *, force: bool = False) -> WriteReport:
        """Write the rows back as they were before, and return the report of that write.

        Rows that did not exist before can only be removed by CleanAndReplace of a wider slice, whose other rows are
        read now and written back with them.

        Raises WriteError where nothing was kept (a dry run, ``undo=False``), where the rows are not any more as they
        were written (unless *force* is set), and where rows cannot be removed; and what ``write`` raises.
        """
        if self._undo is None:
            raise WriteError(
                f"The write into {self.model_id!r} cannot be undone: "
                + ("a dry run writes nothing." if self.is_dry_run else "the rows as they were are not kept."),
                job_id=self.job_id,
                state=self.state,
            )
        return self._undo(force)

    def facts(self) -> dict[str, str]:
        """Return the outcome in words, by name."""
        shown = {
            "model": self.model_id,
            "method": self.method,
            "version": ", ".join(self.versions),
            "rows": f"{self.rows:,}" + (" (dry run: nothing was written)" if self.is_dry_run else ""),
        }
        if self.deleted is not None:
            shown["deleted"] = f"{self.deleted:,} rows before that"
        if self.changes is not None:
            counts = dict(self.changes.group_by("change").len().iter_rows())
            shown["changes"] = ", ".join(f"{counts[k]:,} {k}" for k in CHANGES if k in counts)
        if self.rejected.height:
            shown["rejected"] = f"{self.rejected.height:,} problems, in report.rejected"
        if self.rounded:
            shown["rounded"] = ", ".join(f"{count:,} of {name}" for name, count in self.rounded.items())
        told = {True: "read back, as written", None: "not read back", False: "read back, and not as written"}
        shown["verified"] = told[self.verified]
        shown["job"] = f"{self.job_id} ({self.state})"
        shown["started"] = local_time(self.started_at).isoformat(sep=" ", timespec="seconds")
        return {**shown, **({"note": " ".join(self.notes)} if self.notes else {})}

    def __repr__(self) -> str:
        return "\n".join(["WriteReport", *(f"  {name}: {value}" for name, value in self.facts().items())])

    def _preview(self) -> Preview:
        return fact_table("Write", self.facts())


def append_audit(path: Path, about: Mapping[str, Any], *, principal: str) -> None:
    """Append a line of JSON to the audit file: who wrote what, when, and how much; no values and no members.

    Raises ExportError where the file cannot be written.
    """
    entry = {"user": _user(), "principal": principal_digest(principal), **about}
    line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    try:
        is_new = not path.exists()
        # One write, so that the lines of several processes do not mix. After one that a kill or a full disk cut off,
        # begin a new line.
        with path.open("a+b", buffering=0) as file:
            if end := file.seek(0, os.SEEK_END):
                file.seek(end - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if is_new:
            make_private(path)
    except OSError as error:
        raise ExportError(f"The audit file {path} cannot be written: {error.strerror or error}.") from error


def _user() -> str:
    """Return the name of the system's user, or its number: containers run under numbers that have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def differs(written: Any, found: Any, *, is_number: bool) -> bool:
    """Return whether a value reads back as another one; an empty text is nothing, and a number has many forms."""
    one, other = (None if value in (None, "") else value for value in (written, found))
    if is_number and one is not None and other is not None:
        with suppress(InvalidOperation):
            return Decimal(str(one)) != Decimal(str(other))
    return (None if one is None else str(one)) != (None if other is None else str(other))


def verified(
    report: WriteReport, of: str, columns: tuple[str, str], wrong: list[tuple[str, str, str | None, str | None]]
) -> WriteReport:
    """Return the report of a write that read back as written.

    Raises WriteError for values that did not: *wrong* has them as written and as found, after what *columns* name.
    """
    if not wrong:
        return replace(report, verified=True)
    import polars as pl

    raise WriteError(
        f"Import job {report.job_id} says {report.state}, but {len(wrong):,} values of {of!r} read back are not as "
        "written.",
        job_id=report.job_id,
        state=report.state,
        report=replace(report, verified=False),
        differences=pl.DataFrame(wrong, schema=dict.fromkeys((*columns, "written", "found"), pl.String), orient="row"),
        hint="error.differences is a frame of them.",
    )
