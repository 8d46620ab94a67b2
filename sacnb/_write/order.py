"""The arguments of a write, checked once, at the door; and where they say that each column comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sacnb._arguments import callback, flag, folder, names, one_of, required_text, seconds, text, whole_number
from sacnb._arguments import mapping as _mapping
from sacnb._write.encode import MAX_BYTES, MAX_ROWS
from sacnb._write.frame import Layout
from sacnb._write.target import VERSION, ImportTable
from sacnb.errors import ConfirmationError, QueryError, RowsError, SacError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["METHODS", "Order", "hint_in_options", "layout_of", "make_order"]

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
    # Called with "staged" and the job's id once there is a job, and with "run" just before it runs.
    on_phase: Callable[[str, str], None] | None = None
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

    Raises QueryError for an invalid one.
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
            str(name): required_text(f"mapping[{name!r}]", source)
            for name, source in _mapping("mapping", mapping).items()
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


def layout_of(frame: pl.DataFrame, table: ImportTable, order: Order) -> Layout:
    """Return where each column comes from. A version must be named: SAC takes public.Actual otherwise."""
    constants = dict(order.defaults)
    in_frame = order.mapping.get(VERSION, VERSION) in frame.columns
    if VERSION in table.keys:
        ways = [
            in_frame and "a column of the frame",
            order.version is not None and "version=",
            VERSION in constants and "defaults=",
        ]
        named = [way for way in ways if way]
        if not named:
            raise QueryError(
                "No version is named, and SAC would write into public.Actual.",
                hint='Name it: write(frame, version="public.Plan"), or add a column "Version".',
            )
        if len(named) > 1 and not (in_frame and order.version is None):
            raise QueryError(f"The version is named twice: by {' and '.join(named)}.", hint="Leave one of them out.")
    if order.version is not None:
        constants[VERSION] = order.version
    return Layout(order.mapping, constants, _pivot(table, order))


def _pivot(table: ImportTable, order: Order) -> tuple[str, str] | None:
    if order.pivot is None:
        return None
    dimension, *measure = order.pivot or ("",)
    if not measure and len(table.measures) == 1:
        measure = list(table.measures)
    if len(measure) != 1 or dimension not in table.keys or measure[0] not in table.measures:
        raise QueryError(
            f"pivot={order.pivot!r} names no dimension and measure of the model.",
            hint=f"pivot=(dimension, measure), of {', '.join(table.keys)} and {', '.join(table.measures)}.",
        )
    return dimension, measure[0]


def hint_in_options(error: SacError) -> str | None:
    """Return the remedy of a write that was refused, for people who type options instead of arguments."""
    if isinstance(error, ConfirmationError):
        return f"If that is what you want: --confirm {error.rows}"
    if isinstance(error, RowsError):
        return "Rows count from 0. --allow-partial writes the good ones."
    if error.hint is not None and "version=" in error.hint:
        return "Name it: --version public.Plan, or add a column Version."
    return error.hint
