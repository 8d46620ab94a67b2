"""Empty the slice of a model that a frame describes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import polars as pl

from sacnb._arguments import flag, names, text
from sacnb._write.frame import read_frame
from sacnb._write.target import VERSION
from sacnb.errors import QueryError, UnknownNameError

if TYPE_CHECKING:
    from sacnb._pull.progress import ProgressOption
    from sacnb._tenant import Model
    from sacnb._write.report import WriteReport

__all__ = ["clear", "facts_at"]

# Longer lists are not sent in a filter: the address would be too long.
_MOST_IN_FILTER: Final = 30


def clear(
    model: Model,
    described: object,
    *,
    version: str | None = None,
    measures: Sequence[str] | str | None = None,
    delete: bool = False,
    confirm: int | None = None,
    dry_run: bool = False,
    audit: str | os.PathLike[str] | None = None,
    progress: ProgressOption = "auto",
) -> WriteReport:
    """Empty the slice that a frame of members describes: the facts that have one of its combinations of members.

        clear(model, pl.DataFrame({"Date": ["202501", "202502"]}), version="public.Plan", dry_run=True).changes

    The facts stay, with zeros, because the import service deletes only where it also writes. With ``delete`` one fact
    of zeros stays for each combination, and the others are deleted by CleanAndReplace.

    Args:
        model: The model.
        described: A frame or dict whose columns are dimensions; other dimensions are cleared as a whole.
        version: The version to clear, unless the frame has a column "Version".
        measures: The measures to set to zero, by default all.
        delete: Delete facts, instead of writing zeros into all of them.
        confirm: With ``delete``, the number of rows that are deleted; a dry run and the refusal tell it.
        dry_run: Go as far as SAC's validation; ``report.changes`` shows what would be cleared.
        audit: As for ``Model.write``.
        progress: As for ``Model.write``.

    Raises QueryError for a slice without facts and for arguments; UnknownNameError for unknown dimensions and members;
    what ``Model.write`` raises.
    """
    delete = flag("delete", delete)
    chosen = names("measures", measures)
    if delete and chosen is not None:
        raise QueryError("measures belongs to zeros; delete=True deletes facts with all their measures.")
    if confirm is not None and not delete:
        raise QueryError("confirm belongs to delete=True; zeros delete nothing.")
    for name in chosen or ():
        if name not in model.measures:
            raise UnknownNameError("measure", name, model.measures, where=repr(model.id))
    members = _members(model, described, text("version", version))
    facts = facts_at(model, members)
    if not facts.height:
        raise QueryError(f"{model.id!r} has no facts with these members; there is nothing to clear.")
    zeros = [pl.lit(0).alias(name) for name in chosen or model.measures]
    by = members.columns
    rows = facts.unique(by, keep="first", maintain_order=True) if delete else facts
    rows = rows.select(*model.dimensions, *zeros)
    if delete:
        return model.write(
            rows,
            method="CleanAndReplace",
            scope=by,
            confirm=confirm,
            dry_run=dry_run,
            audit=audit,
            progress=progress,
        )
    return model.write(rows, dry_run=dry_run, audit=audit, progress=progress)


def _members(model: Model, described: object, version: str | None) -> pl.DataFrame:
    """Return the combinations of members of the slice, as texts; a version is among them."""
    frame = read_frame(described)
    for name, kind in frame.schema.items():
        if name not in model.dimensions:
            raise UnknownNameError("dimension", name, model.dimensions, where=repr(model.id))
        if not (kind.is_integer() or isinstance(kind, pl.String | pl.Categorical | pl.Enum)):
            raise QueryError(f"{name!r} must hold members as texts, as model.members({name!r}) has them, got {kind}.")
    if VERSION in model.dimensions:
        if VERSION in frame.columns and version is not None:
            raise QueryError("The version is named twice: by a column of the frame and version=.")
        if VERSION not in frame.columns and version is None:
            raise QueryError("No version is named.", hint='Name it: clear(model, frame, version="public.Plan").')
        if version is not None:
            frame = (
                frame.with_columns(pl.lit(version).alias(VERSION))
                if frame.width
                else pl.DataFrame({VERSION: [version]})
            )
    elif version is not None:
        raise QueryError(f"{model.id!r} has no dimension {VERSION!r}; leave version= out.")
    if not frame.height:
        raise QueryError("The frame has no rows; a slice is described by at least one member.")
    found = frame.select(pl.all().cast(pl.String)).unique(maintain_order=True)
    for name in found.columns:
        if found.get_column(name).null_count():
            raise QueryError(f"{name!r} holds nulls; unassigned is '#', and a whole dimension is left out.")
    return found


def facts_at(model: Model, members: pl.DataFrame) -> pl.DataFrame:
    """Return the facts that have one of the combinations of members, with decimals.

    Raises:
        UnknownNameError: A member does not exist.
    """
    where = {}
    for name in members.columns:
        distinct = members.get_column(name).unique().sort().to_list()
        if len(distinct) <= _MOST_IN_FILTER:
            where[name] = distinct
    facts = model.facts(where=where or None).fetch(progress=None).polars(decimals=True)
    for name in members.columns:
        unseen = sorted(set(members.get_column(name)) - set(facts.get_column(name)))
        if name not in where and unseen:  # a filter would have refused them
            known = set(model.members(name).get_column("id"))
            for member in unseen:
                if member not in known:
                    raise UnknownNameError("member", member, known, where=f"the dimension {name!r}")
    return facts.join(members, on=members.columns, how="semi")
