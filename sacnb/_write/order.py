"""The arguments of a write, checked once, at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sacnb._arguments import callback, flag, folder, names, one_of, seconds, text, whole_number
from sacnb._arguments import mapping as _mapping
from sacnb._write.encode import MAX_BYTES, MAX_ROWS
from sacnb.errors import ConfirmationError, QueryError, RowsError, SacError

__all__ = ["METHODS", "Order", "hint_in_options", "make_order"]

METHODS: Final = ("Update", "Append", "CleanAndReplace")
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The arguments of ``Model.write``, checked."""

    method: str = "Update"
    version: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    mapping: Mapping[str, str] = field(default_factory=dict)
    pivot: tuple[str, ...] | None = None
    scope: tuple[str, ...] | None = None
    dry_run: bool = False
    allow_partial: bool = False
    confirm: int | None = None
    verify: bool = True
    undo: bool = True
    audit: Path | None = None
    rows_per_upload: int = MAX_ROWS
    bytes_per_upload: int = MAX_BYTES
    timeout_s: float = 3600.0
    listener: Callable[[Any], None] | None = None
    cancelled: Callable[[], bool] | None = None


def make_order(
    *,
    method: object = "Update",
    version: object = None,
    defaults: object = None,
    mapping: object = None,
    pivot: object = None,
    scope: object = None,
    dry_run: object = False,
    allow_partial: object = False,
    confirm: object = None,
    verify: object = True,
    undo: object = True,
    audit: object = None,
    rows_per_upload: object = None,
    timeout_s: object = None,
    cancelled: object = None,
) -> Order:
    """Return the arguments of ``Model.write``, checked.

    Raises QueryError for one that is none.
    """
    rows = whole_number("rows_per_upload", rows_per_upload, least=1)
    wait_s = seconds("timeout_s", timeout_s)
    chosen = one_of("method", method, METHODS)
    if chosen is None:
        raise QueryError(f"method must be one of {', '.join(METHODS)}, got None.")
    return Order(
        method=chosen,
        version=text("version", version) or None,
        defaults={str(name): value for name, value in _mapping("defaults", defaults).items()},
        mapping={
            str(name): text(f"mapping[{name!r}]", source) or "" for name, source in _mapping("mapping", mapping).items()
        },
        pivot=names("pivot", pivot),
        scope=names("scope", scope),
        dry_run=flag("dry_run", dry_run),
        allow_partial=flag("allow_partial", allow_partial),
        confirm=whole_number("confirm", confirm),
        verify=flag("verify", verify),
        undo=flag("undo", undo),
        audit=None if audit is None else folder("audit", audit),
        rows_per_upload=MAX_ROWS if rows is None else rows,
        timeout_s=_HOUR_S if wait_s is None else wait_s,
        cancelled=callback("cancelled", cancelled),
    )


def hint_in_options(error: SacError) -> str | None:
    """Return the remedy of a write that was refused, for people who type options instead of arguments."""
    if isinstance(error, ConfirmationError):
        return f"If that is what you want: --confirm {error.rows}"
    if isinstance(error, RowsError):
        return "Rows count from 0. --allow-partial writes the good ones."
    if error.hint is not None and "version=" in error.hint:
        return "Name it: --version public.Plan, or add a column Version."
    return error.hint
