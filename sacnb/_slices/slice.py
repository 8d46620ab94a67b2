"""Slices of a query: values without a secret, which worker processes read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from sacnb._arguments import whole_number
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Schema
from sacnb._odata.where import columns_of
from sacnb._pull.collect import pull
from sacnb._pull.count import count_quietly
from sacnb._pull.partition import Members, checked_partitions, make_parts
from sacnb._pull.plan import Job, Plan, Repeated
from sacnb._settings import Settings
from sacnb._slices.spec import ConnectSpec
from sacnb.errors import BadAnswer, QueryError, UnknownNameError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Slice", "cut"]

# Bump on every change of the fields below: a worker with another release of sacnb then refuses the slice.
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, repr=False)
class Slice:
    """A part of the rows of a query, to be read in another process by ``sacnb.read_slice``.

    It holds the question, SAC's count of its rows, and the settings of the tenant: no token, secret or connection.
    ``number`` counts from 1 to ``of``. ``share`` is the part of one stream of requests that its worker may use.
    """

    __module__ = "sacnb"

    spec: ConnectSpec
    model_schema: Schema
    query: Query
    number: int
    of: int
    expected_rows: int | None
    check_count: bool
    repeated: Repeated
    share: float

    def __repr__(self) -> str:
        rows = "unknown number of" if self.expected_rows is None else f"{self.expected_rows:,}"
        return f"Slice({self.number} of {self.of} of {self.query.provider_id!r}, {rows} rows)"

    def __reduce__(self) -> tuple[Any, ...]:
        # _blank is called before the fields are read, so that those of another release are never looked at.
        return (_blank, (_FORMAT,), {field.name: getattr(self, field.name) for field in fields(self)})

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its rows."""
        return self.query.columns(self.model_schema)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its rows."""
        from sacnb._frames.convert import arrow_schema

        return arrow_schema(self.columns)

    def narrowed(self, columns: Sequence[str]) -> Slice:
        """Return the slice with these columns, and the dimensions, without which SAC would add up.

        Raises UnknownNameError for a column that the slice does not have.
        """
        ours = replace(self.model_schema, columns=self.columns)
        wanted = {ours.column(name).name for name in columns}
        kept = [column for column in self.columns if column.role == "dimension" or column.name in wanted]
        if all(column.role == "dimension" for column in kept):
            # Without a measure SAC's answer to an aggregation is unconfirmed.
            kept += [column for column in self.columns if column.role == "measure"][:1]
        return replace(self, query=replace(self.query, select=tuple(column.name for column in kept)))

    def refuse_changed(self, now: Schema) -> None:
        """Raise BadAnswer unless the model still has the columns that it had when the slice was made."""
        if now.columns == self.model_schema.columns:
            return
        before, after = ({column.name: column for column in one.columns} for one in (self.model_schema, now))
        told = [f"without {name!r}" for name in before if name not in after]
        told += [f"with {name!r}" for name in after if name not in before]
        told += [f"with another {name!r}" for name in before if name in after and before[name] != after[name]]
        raise BadAnswer(
            f"The model {self.query.provider_id!r} was changed after its slices were made: it is now "
            f"{', '.join(told) or 'in another order'}.",
            hint="Make the slices anew: facts(...).partitions(n).",
        )


def _blank(form: object) -> Slice:
    if form != _FORMAT:
        raise QueryError(
            f"The slice was made by another release of sacnb: its format is {form!r}, this one reads {_FORMAT}.",
            hint="Install the same release of sacnb on the workers as where the slices are made.",
        )
    return object.__new__(Slice)


class Named(Protocol):
    """The members that the filter of a query names."""

    def observe(self, table: pa.Table) -> None:
        """Note the members in rows."""

    def refuse_unknown(self) -> None:
        """Raise UnknownNameError for a member that neither the dimension nor any row has."""


def cut(
    job: Job, partitions: object, members: Members, named: Named, settings: Settings, *, at_once: int | None
) -> list[Slice]:
    """Divide the rows of a job into slices that share no row and leave none out.

    *at_once* slices are read at the same time, by default all of them; together they have the streams of the job.

    Raises:
        QueryError: An argument is not understood; or the rows have a limit, or an order that several slices would lose.
        UnknownNameError: The filter names a member that does not exist.
        SacError: Errors of the requests for counts and members.
    """
    split, at_once = checked_partitions(partitions), whole_number("at_once", at_once, least=1)
    if split is None or split == "package":
        raise QueryError(
            f"partitions({partitions!r}): slices are divided by the members of a dimension.",
            hint="Use a number from 1 to 256, 'auto', or a list of one dimension such as ['Date'].",
        )
    if job.query.top is not None:
        raise QueryError(
            "limit and partitions() cannot be combined: each worker would bring that many rows.",
            hint="Use fetch(), or leave the limit out.",
        )
    parts = make_parts(job, split, members)
    _refuse_unknown(job, named)
    rows = [part.rows for part in parts]
    if rows == [None]:
        rows = [0 if job.query.is_never(job.schema) else count_quietly(job)]
    busy = min(len(parts), at_once or len(parts))
    return [
        Slice(
            spec=ConnectSpec.of(settings),
            model_schema=job.schema,
            query=replace(job.query, where=part.where),
            number=number,
            of=len(parts),
            expected_rows=expected,
            check_count=job.check_count,
            repeated=job.repeated,
            share=min(1.0, job.streams / busy),
        )
        for number, (part, expected) in enumerate(zip(parts, rows, strict=True), start=1)
    ]


def _refuse_unknown(job: Job, named: Named) -> None:
    """Refuse unknown members now: the rows that would show a member come later, and elsewhere."""
    try:
        named.refuse_unknown()
    except UnknownNameError:
        # A member that no list has may be in the facts: ask for the members of the rows themselves.
        columns = columns_of(job.query.where) if job.query.where is not None else set()
        measures = tuple(column.name for column in job.schema.measures[:1])
        for dimension in job.schema.dimensions:
            if dimension.name in columns:
                select = (dimension.name, *measures)
                query = replace(job.query, entity_set=FACT_DATA_AGGREGATION, select=select, order_by=())
                own = replace(job, query=query, observe=lambda _: None)
                named.observe(pull(own, Plan.of(query, job.schema, job.tenant_url)))
        named.refuse_unknown()
