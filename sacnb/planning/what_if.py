"""Try changes in a version, compare it with another one, and keep or discard them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from sacnb._arguments import mapping, names, required_text
from sacnb._write.frame import read_frame
from sacnb._write.service import explained, versions_of
from sacnb._write.target import PRIVATE, VERSION
from sacnb.errors import QueryError, SacError, UndoError, UnknownNameError
from sacnb.planning.clear import facts_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sacnb._pull.progress import ProgressOption
    from sacnb._tenant import Model
    from sacnb._write.report import WriteReport

__all__ = ["WhatIf", "what_if"]


@contextmanager
def what_if(model: Model, version: str, *, base: str, where: Mapping[str, Any] | None = None) -> Iterator[WhatIf]:
    """Write into a version for a trial; what is not kept by the end of the block is taken back.

        with what_if(model, "public.Trial", base="public.Plan") as trial:
            trial.write(frame)
            trial.compare()
            trial.keep()

    The version must exist: no published call of SAC creates, publishes or deletes one. Public versions need no named
    user, and everybody with rights on them sees the trial. A private version (its id begins with "private.") needs a
    named user; it is not read back (unconfirmed), so the comparison has what was written here.

    Args:
        model: The model.
        version: The version to write into.
        base: The version to compare with.
        where: Members that the comparison is narrowed to, such as {"Date": ["202501"]}.

    Raises QueryError for arguments; WriteError where the changes cannot be taken back.
    """
    version, base = required_text("version", version), required_text("base", base)
    if VERSION not in model.dimensions:
        raise QueryError(f"{model.id!r} has no dimension {VERSION!r}, so it has no what-if versions.")
    if version == base:
        raise QueryError(f"version and base are both {version!r}; a trial needs a version of its own.")
    if base.startswith(PRIVATE):
        raise QueryError(f"base={base!r} is a private version, and those are not read (unconfirmed).")
    known = model.versions().get_column("id").to_list()
    for one in (base, version):
        if one not in known and not one.startswith(PRIVATE):
            raise UnknownNameError("version", one, known, where=repr(model.id))
    if version.startswith(PRIVATE):
        _check_private(model, version)
    narrowed = dict(mapping("where", where))
    if VERSION in narrowed:
        raise QueryError(f"where must not name {VERSION!r}; version= and base= do.")
    model.facts(where={**narrowed, VERSION: [base]})  # refuse it now, and not after the first write
    trial = WhatIf(model, version, base, narrowed)
    try:
        yield trial
    except BaseException as error:
        try:
            trial.discard()
        except SacError as second:
            error.add_note(f"The trial in {version!r} could not be taken back: {second}")
        raise
    trial.discard()


def _check_private(model: Model, version: str) -> None:
    """Refuse a private version that SAC does not offer this user for imports; it offers technical users none."""
    with explained():
        offered = versions_of(model._place().destination)
    private = [one for one in offered or () if one.startswith(PRIVATE)]
    if offered is not None and version not in private:
        error = UnknownNameError("private version", version, private, where=repr(model.id))
        if not private:
            error.hint = (
                "SAC offers this user none. Private versions belong to a named user: set SAC_AUTH=authorization_code, "
                "log in (sacnb login), and make the version in a story."
            )
        raise error


class WhatIf:
    """A trial in a version: its writes, the comparison with the base, and its end."""

    __module__ = "sacnb.planning"

    def __init__(self, model: Model, version: str, base: str, where: Mapping[str, Any]) -> None:
        self._model = model
        self.version = version
        self.base = base
        self._where = where
        self._keys = [name for name in model.dimensions if name != VERSION]
        self._reports: list[WriteReport] = []

    def __repr__(self) -> str:
        writes = len(self._reports)
        return f"WhatIf({self._model.id!r}, {self.version!r}, base={self.base!r}): {writes} writes to keep or discard"

    @property
    def is_private(self) -> bool:
        """Return whether the version is a user's own."""
        return self.version.startswith(PRIVATE)

    def write(
        self, frame: object, *, audit: str | os.PathLike[str] | None = None, progress: ProgressOption = "auto"
    ) -> WriteReport:
        """Update the version with a frame that has a column for each dimension (except the version) and measure.

        Raises what ``Model.write`` raises.
        """
        rows = read_frame(frame)
        if VERSION in rows.columns:
            raise QueryError(
                f"The frame has a column {VERSION!r}; a trial writes into {self.version!r} only.",
                hint=f"frame.drop({VERSION!r})",
            )
        report = self._model.write(rows, version=self.version, audit=audit, progress=progress)
        self._reports.append(report)
        return report

    def compare(self) -> pl.DataFrame:
        """Return the rows in which the two versions differ.

        The columns are the dimensions, ``change`` (new, changed, or missing in this version), and for each measure
        ``_base``, ``_what_if`` and ``_difference``. For a private version these are the rows that were written here.
        """
        rows = self._both()
        differs = pl.any_horizontal(
            pl.col(f"{m}_base").ne_missing(pl.col(f"{m}_what_if")) for m in self._model.measures
        )
        return rows.filter(differs | (pl.col("change") != "changed"))

    def totals(self, by: Sequence[str] | str | None = None) -> pl.DataFrame:
        """Return the sums of both versions and their difference, by some dimensions or over all.

        For a private version these are the sums of the rows that were written here.

        Raises UnknownNameError for an unknown dimension.
        """
        chosen = list(names("by", by) or ())
        for name in chosen:
            if name not in self._keys:
                raise UnknownNameError("dimension", name, self._keys, where="what both versions share")
        sums = [pl.col(f"{m}_{kind}").sum() for m in self._model.measures for kind in ("base", "what_if", "difference")]
        rows = self._both()
        return rows.group_by(chosen).agg(sums).sort(chosen) if chosen else rows.select(sums)

    def keep(self) -> None:
        """Leave what was written so far in the version."""
        self._reports.clear()

    def discard(self) -> tuple[WriteReport, ...]:
        """Take the writes back, the last one first, and return the reports of that.

        Rows that were there before get their old values. A row that was not there is removed where the import service
        can (see ``WriteReport.undo``), and gets zeros where it cannot. A private version gets the values of the base.

        Raises WriteError where somebody changed the rows since, and what ``Model.write`` raises.
        """
        done = []
        while self._reports:
            done.append(self._taken_back(self._reports[-1]))
            self._reports.pop()
        return tuple(done)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _taken_back(self, report: WriteReport) -> WriteReport:
        measures = [m for m in self._model.measures if m in report.written.columns]
        if self.is_private:
            base = self._facts_of_base(report.written)
            old = report.written.select(self._keys).join(base, on=self._keys, how="left")
        else:
            try:
                return report.undo()
            except UndoError:
                if report.changes is None:
                    raise
            old = report.changes.select(*self._keys, *(pl.col(f"{m}_before").alias(m) for m in measures))
        values = old.select(*self._keys, pl.col(measures).fill_null(0))
        return self._model.write(values, version=self.version, progress=None)

    def _both(self) -> pl.DataFrame:
        """Return the rows of both versions side by side."""
        measures = self._model.measures
        if self.is_private:
            trial = self._written()
            base = self._facts_of_base(trial)
            sent = [pl.coalesce(m, f"{m}_base") for m in measures]  # a measure that was not sent stays (unconfirmed)
        else:
            where = {**self._where, VERSION: [self.base, self.version]}
            facts = self._model.facts(where=where).fetch(progress=None).polars(decimals=True)
            base, trial = (facts.filter(pl.col(VERSION) == one) for one in (self.base, self.version))
            sent = [pl.col(m) for m in measures]
        left = base.select(*self._keys, *(pl.col(m).alias(f"{m}_base") for m in measures), pl.lit(1).alias("\0base"))
        right = trial.select(*self._keys, *measures, pl.lit(1).alias("\0trial"))
        joined = left.join(right, on=self._keys, how="full", coalesce=True).sort(self._keys)
        kind = pl.when(pl.col("\0base").is_null()).then(pl.lit("new")).when(pl.col("\0trial").is_null())
        columns: list[pl.Expr] = []
        for m, value in zip(measures, sent, strict=True):
            old, new = pl.col(f"{m}_base"), value.alias(f"{m}_what_if")
            columns += [old, new, (value.fill_null(0) - old.fill_null(0)).alias(f"{m}_difference")]
        return joined.select(
            kind.then(pl.lit("missing")).otherwise(pl.lit("changed")).alias("change"), *self._keys, *columns
        )

    def _facts_of_base(self, rows: pl.DataFrame) -> pl.DataFrame:
        keys = rows.select(self._keys).unique()
        return facts_at(self._model, keys.with_columns(pl.lit(self.base).alias(VERSION))).drop(VERSION)

    def _written(self) -> pl.DataFrame:
        """Return what was written here, the last value of each key."""
        types = {m: pl.Decimal(38, 7) for m in self._model.measures}
        found = pl.DataFrame(schema={**dict.fromkeys(self._keys, pl.String), **types})
        for report in self._reports:
            rows = report.written.drop(VERSION)
            missing = [pl.lit(None, pl.Decimal(38, 7)).alias(m) for m in types if m not in rows.columns]
            rows = (
                rows.with_columns(missing)
                .select(found.columns)
                .with_columns(pl.col(list(types)).cast(pl.Decimal(38, 7)))
            )
            found = found.update(rows, on=self._keys, how="full")
        return found
