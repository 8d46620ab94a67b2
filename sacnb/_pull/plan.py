"""What a pull asks for, cut into chains: runs of pages that follow one after the other, each on one stream.

What a pull is told, and what it gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pyarrow as pa

from sacnb._endpoints import PACKAGE_PARAMETER, PAGE_SIZE_PARAMETER
from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Schema
from sacnb._pull.progress import ProgressListener

if TYPE_CHECKING:
    from sacnb._wire.context import DispatchContext

__all__ = ["Chain", "Item", "Job", "LaneFinished", "LaneRestarted", "PageRows", "Plan", "mark_of"]


@dataclass(frozen=True, slots=True)
class Chain:
    """One run of pages.

    ``path`` is that of the tenant, with the query but without the size of a page. ``expected_rows`` is what SAC counted
    before, if it did. ``packages`` are the numbers of the first and the last page to ask for by number (SAC's
    ``package``); without them, and after the last of them where the chain ``is_open``, the links are followed.
    """

    path: str
    expected_rows: int | None = None
    packages: tuple[int, int] | None = None
    is_open: bool = True

    def first_mark(self, page_size: int | None) -> str:
        """Where the chain begins, asked for with so many rows a page."""
        return self._package(0, page_size) if self.packages else self._with(PAGE_SIZE_PARAMETER, page_size)

    def mark_after(self, index: int, page_size: int | None) -> str | None:
        """Where the page after the one numbered ``index`` (from 0) is, if it is asked for by its number."""
        if self.packages is None or index >= self.packages[1] - self.packages[0]:
            return None
        return self._package(index + 1, page_size)

    def _package(self, index: int, page_size: int | None) -> str:
        assert self.packages is not None  # noqa: S101 - only called where there are some
        return f"{self._with(PAGE_SIZE_PARAMETER, page_size)}&{PACKAGE_PARAMETER}={self.packages[0] + index}"

    def _with(self, name: str, value: int | None) -> str:
        if value is None:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}{name}={value}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All chains of a pull, in the order of its rows, and how many rows SAC counted over all of them, if it did.

    ``page_size`` is fixed where pages are asked for by their number, and ``None`` where it may change.
    """

    chains: tuple[Chain, ...]
    expected_rows: int | None = None
    page_size: int | None = None

    @classmethod
    def of(cls, query: Query, schema: Schema, tenant_url: str) -> Self:
        """The plan that does not cut the query any further than the length of an address makes it necessary."""
        return cls(chains_of(query, schema, tenant_url))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "chains": [[one.path, one.expected_rows, one.packages, one.is_open] for one in self.chains],
            "expected_rows": self.expected_rows,
            "page_size": self.page_size,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that ``to_json`` was given. Raises TypeError, KeyError or ValueError for anything else."""
        chains = [
            Chain(str(path), rows, None if packages is None else (int(packages[0]), int(packages[1])), bool(is_open))
            for path, rows, packages, is_open in values["chains"]
        ]
        return cls(tuple(chains), values["expected_rows"], values["page_size"])


def chains_of(query: Query, schema: Schema, tenant_url: str, *, expected_rows: int | None = None) -> tuple[Chain, ...]:
    """A query as chains: one, or several where its address would be too long, and none where no row can match."""
    pieces = query.split(schema, tenant_url)
    expected = expected_rows if len(pieces) == 1 else None
    return tuple(Chain(mark_of(_without_page_size(piece).url(tenant_url, schema)), expected) for piece in pieces)


def mark_of(url: str) -> str:
    """A URL without its tenant: what is kept of it, so that it holds where the tenant's address changes."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _without_page_size(query: Query) -> Query:
    return replace(query, page_size=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be pulled, of whom, and who wants to know.

    ``streams`` is how many requests may be under way at the same time. ``observe`` sees the rows of every page, those
    of an earlier run included, but of these only the dimensions.
    """

    context: DispatchContext
    tenant_url: str
    schema: Schema
    query: Query
    streams: int = 1
    check_count: bool = True
    progress: ProgressListener | None = None
    cancelled: Callable[[], bool] | None = None
    clock: Callable[[], float] = time.monotonic
    observe: Callable[[pa.Table], None] = lambda _: None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that come back."""
        return self.query.columns(self.schema)

    @property
    def what(self) -> str:
        """What is pulled, for messages."""
        return f"{self.query.provider_id}/{self.query.entity_set}"


@dataclass(frozen=True, slots=True)
class PageRows:
    """The next rows of a lane."""

    lane: int
    table: pa.Table


@dataclass(frozen=True, slots=True)
class LaneFinished:
    """All rows of a lane have come."""

    lane: int


@dataclass(frozen=True, slots=True)
class LaneRestarted:
    """A lane begins anew: what came of it does not count."""

    lane: int


Item = PageRows | LaneFinished | LaneRestarted
