"""Describe one question to SAC as a frozen value with a URL and a canonical text, split where it is too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sacnb._endpoints import (
    COUNT,
    DEFAULT_NAMESPACE,
    FACT_DATA,
    FACT_DATA_AGGREGATION,
    FILTER,
    ORDER_BY,
    PAGE_SIZE_PARAMETER,
    SELECT,
    TOP,
    entity_set_path,
)
from sacnb._odata.expression import Expression
from sacnb._odata.literal import check_text, encode_query
from sacnb._odata.render import canonical_filter, is_never, longest_list, to_odata
from sacnb._odata.schema import INTEGER_TYPES, Column, Schema
from sacnb.errors import QueryError

__all__ = ["MAX_URL_CHARS", "Query"]

# SAC documents no limit on the length of a URL (unconfirmed). Servers and proxies commonly take 8 KB for the request
# line; this leaves room for what a nextLink adds to the filter.
MAX_URL_CHARS: Final = 6000
# More requests than this are slower than asking for everything.
_MAX_PIECES: Final = 1000
_EXACT_TYPES: Final = INTEGER_TYPES | {"Edm.String", "Edm.Guid", "Edm.Date", "Edm.Boolean"}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one entity set.

    ``select`` empty means every column. ``order_by`` holds pairs of column and whether it is descending. ``top`` is a
    number of rows over all pages; ``page_size`` is the number of rows per page (SAC's own parameter), and changes
    nothing about the rows. ``count`` asks for the number of rows with every page.

    Two things are never sent: ``$apply``, which SAC ignores without a word (seen on live tenants), and ``$skip``, with
    which pages can repeat or miss rows (SAP KBA 3517434).
    """

    provider_id: str
    namespace: str = DEFAULT_NAMESPACE
    entity_set: str = FACT_DATA
    select: tuple[str, ...] = ()
    where: Expression | None = None
    order_by: tuple[tuple[str, bool], ...] = ()
    top: int | None = None
    page_size: int | None = None
    count: bool = True

    def __post_init__(self) -> None:
        for what, name in (("provider_id", self.provider_id), ("namespace", self.namespace)):
            if not name:
                raise QueryError(f"{what} is empty.")
            check_text(name, what)
        for what, number, least in (("top", self.top, 0), ("page_size", self.page_size, 1)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
                raise QueryError(f"{what}={number!r}: a whole number of rows, at least {least}, was expected.")

    def columns(self, schema: Schema) -> tuple[Column, ...]:
        """Return the columns that will come back, in the order asked for.

        Raises:
            UnknownNameError: a column is not in ``schema``.
            QueryError: a column is asked for twice, or a key column is missing: SAC refuses that with error 1402 on
                every set but ``FactDataAggregation``.
        """
        columns = tuple(schema.column(name) for name in self.select) or schema.columns
        twice = [name for name, times in Counter(self.select).items() if times > 1]
        if twice:
            raise QueryError(f"select names {_listed(twice)} more than once.")
        missing = [one.name for one in schema.dimensions if one not in columns]
        if missing and not self._aggregates:
            raise QueryError(
                f"{self.entity_set} needs every dimension in select, and {_listed(missing)} is missing.",
                hint=f"Add it, or ask {FACT_DATA_AGGREGATION} for fewer dimensions: SAC then adds up the measures.",
            )
        return columns

    def is_never(self, schema: Schema) -> bool:
        """Return whether no row can match, because a list of members is empty."""
        return self.where is not None and is_never(self.where, schema)

    def options(self, schema: Schema) -> tuple[tuple[str, str], ...]:
        """Return the query options, names and values, not yet percent-encoded. Checks the whole query.

        Raises:
            UnknownNameError: a column is not in ``schema``.
            QueryError: the query cannot be asked, or would be answered wrongly.
        """
        options = (
            (SELECT, self._selected(schema)),
            (FILTER, to_odata(self.where, schema) if self.where is not None else ""),
            (ORDER_BY, self._ordered(schema)),
            (TOP, "" if self.top is None else str(self.top)),
            (COUNT, "true" if self.count else ""),
            (PAGE_SIZE_PARAMETER, "" if self.page_size is None else str(self.page_size)),
        )
        return tuple((name, value) for name, value in options if value)

    def url(self, tenant_url: str, schema: Schema) -> str:
        """Return the URL of the first page. ``tenant_url`` has no slash at its end. Raises as ``options`` does."""
        query = encode_query(self.options(schema))
        return f"{tenant_url}{self._path}" + (f"?{query}" if query else "")

    def canonical(self, schema: Schema) -> str:
        """Return a stable text of the question, for cache keys.

        It does not depend on the page size, on ``count``, or on the order and repetition of conditions and members; it
        does depend on the order of ``select``, because the frame does. Raises as ``options`` does.
        """
        lines = [
            self._path,
            f"{SELECT}={','.join(column.name for column in self.columns(schema))}",
            f"{FILTER}={canonical_filter(self.where, schema) if self.where is not None else 'true'}",
            f"{ORDER_BY}={self._ordered(schema)}",
            f"{TOP}={'all' if self.top is None else self.top}",
        ]
        return "\n".join(lines)

    def split(self, schema: Schema, tenant_url: str, max_url_chars: int = MAX_URL_CHARS) -> tuple[Query, ...]:
        """Split this query into pieces with short enough URLs: every row is in exactly one of them.

        Usually that is the query itself, and none at all if no row can match. A long list of members is shared out over
        several queries; their rows together, piece by piece, are the answer. Each piece keeps ``top``: whoever pulls
        them stops at that many rows in all.

        Raises:
            UnknownNameError: a column is not in ``schema``.
            QueryError: the URL is too long, and splitting it would change the answer or take too many requests.
        """
        if self.is_never(schema):
            return ()
        excess = len(self.url(tenant_url, schema)) - max_url_chars
        if excess <= 0:
            return (self,)
        too_long = f"The query needs a URL {excess} characters longer than the {max_url_chars} that SAC is asked with"
        found = longest_list(self.where, schema, self._splittable(schema)) if self.where is not None else None
        if found is None:
            columns = " on a dimension in select" if self._aggregates else ""
            raise QueryError(
                f"{too_long}, and has no list of members{columns} that could be split over several requests.",
                hint="Only top-level is_in() lists can be split, not lists under | or ~. Shorten the filter and filter "
                "the rest in the frame.",
            )
        if self.order_by:
            raise QueryError(
                f"{too_long}, and rows that come in several answers have no common order.",
                hint="Leave the order out, and sort the frame.",
            )
        pieces: list[Query] = []
        for where in found.shared_out(excess, max_url_chars):
            pieces.extend(replace(self, where=where).split(schema, tenant_url, max_url_chars))
            if len(pieces) > _MAX_PIECES:
                raise QueryError(
                    f"The filter would take more than {_MAX_PIECES} requests.",
                    hint="Filter less, and the rest in the frame: that is faster.",
                )
        return tuple(pieces)

    @property
    def _aggregates(self) -> bool:
        return self.entity_set == FACT_DATA_AGGREGATION

    @property
    def _path(self) -> str:
        return entity_set_path(self.provider_id, self.entity_set, self.namespace)

    def _selected(self, schema: Schema) -> str:
        columns = self.columns(schema)
        # Without $select SAC sends every column; an aggregation has to be told what it groups by.
        return ",".join(column.name for column in columns) if self.select or self._aggregates else ""

    def _ordered(self, schema: Schema) -> str:
        columns = self.columns(schema)
        parts = []
        for name, descending in self.order_by:
            if schema.column(name) not in columns and self._aggregates:
                raise QueryError(f"order_by names {name!r}, which is not in select: an aggregation no longer has it.")
            parts.append(f"{name} desc" if descending else name)
        return ",".join(parts)

    def _splittable(self, schema: Schema) -> frozenset[str]:
        """Return the columns whose lists may be split: those whose values are equal only if written the same.

        Not numbers with a fraction: what a server rounds could match twice. And for an aggregation only what it groups
        by, because over pieces of any other column it would give each sum in pieces.
        """
        columns = schema.columns
        if self._aggregates:
            columns = tuple(one for one in self.columns(schema) if one.role != "measure")
        return frozenset(one.name for one in columns if one.edm_type in _EXACT_TYPES)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
