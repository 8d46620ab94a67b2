"""What a pull is told, and what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Schema
from sacnb._pull.progress import ProgressListener

if TYPE_CHECKING:
    from sacnb._wire.context import DispatchContext

__all__ = ["Item", "Job", "LaneFinished", "LaneRestarted", "PageRows"]


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
