"""The job of a pull, its plan of segments, and the remedy for a page that cannot be fetched."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from sacnb._endpoints import ORDER_BY, PACKAGE_PARAMETER, PAGE_SIZE_PARAMETER, SKIP, TOP
from sacnb._odata.literal import encode_query
from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Schema
from sacnb._pull.progress import ProgressListener
from sacnb.errors import (
    InconsistentAnswer,
    NoAnswerError,
    QueryError,
    RequestError,
    RowCountWarning,
    ServerError,
    warn_user,
)

if TYPE_CHECKING:
    from sacnb._wire.context import DispatchContext

__all__ = [
    "DEFAULT_PAGE_SIZE",
    "SMALL_PAGE_ROWS",
    "CutKeys",
    "Job",
    "LimitedSink",
    "Plan",
    "Position",
    "Records",
    "Remedy",
    "Repeated",
    "Segment",
    "Sink",
    "compare",
    "is_by_skip",
    "link_of",
    "next_by_skip",
    "packages",
    "remedy_for",
    "segments_of",
]


# SAP's own samples ask for pages of 5,000 rows. Where a page of that size fails, the size is not to blame.
SMALL_PAGE_ROWS: Final = 5_000
DEFAULT_PAGE_SIZE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of pages that are fetched one after the other.

    ``path`` is a path of the tenant with the query, but without a page size. ``expected_rows`` is SAC's count from
    before the pull, where it was asked. ``packages`` are the numbers of the first and the last page to ask for by
    number (SAC's ``package``). Without them, and after the last of them where the segment ``is_open``, links are
    followed.
    """

    path: str
    expected_rows: int | None = None
    packages: tuple[int, int] | None = None
    is_open: bool = True

    def first_link(self, page_size: int | None) -> str:
        """Return the link of the first page, with *page_size* rows a page."""
        return self._package(0, page_size) if self.packages else self._with(PAGE_SIZE_PARAMETER, page_size)

    def link_after(self, index: int, page_size: int | None) -> str | None:
        """Return the link of the page after the one numbered *index* (from 0), if it is asked for by its number."""
        if self.packages is None or index >= self.packages[1] - self.packages[0]:
            return None
        return self._package(index + 1, page_size)

    def first_by_skip(self, keys: Sequence[str], page_size: int | None) -> str:
        """Return the link of the first of pages that ``$skip`` leads through, in the order of *keys*."""
        path, _, text = self.path.partition("?")
        options = [option for option in text.split("&") if option]
        order = [unquote(option.partition("=")[2]) for option in options if option.startswith(f"{ORDER_BY}=")]
        parts = order[0].split(",") if order else []
        parts += [key for key in keys if key not in {part.partition(" ")[0] for part in parts}]
        kept = [option for option in options if not option.startswith(f"{ORDER_BY}=")]
        by_skip = replace(self, path=f"{path}?{'&'.join([*kept, encode_query([(ORDER_BY, ','.join(parts))])])}")
        return f"{by_skip._with(PAGE_SIZE_PARAMETER, page_size)}&{SKIP}=0"

    def _package(self, index: int, page_size: int | None) -> str:
        assert self.packages is not None  # noqa: S101 - only called where there are some
        return f"{self._with(PAGE_SIZE_PARAMETER, page_size)}&{PACKAGE_PARAMETER}={self.packages[0] + index}"

    def _with(self, name: str, value: int | None) -> str:
        if value is None:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}{name}={value}"


def is_by_skip(link: str) -> bool:
    """Return whether a link is one of ``Segment.first_by_skip`` and those after it."""
    return f"&{SKIP}=" in link


def next_by_skip(link: str, rows: int, count: int | None) -> str | None:
    """Return the link after a page of *rows* rows; *count* is the number of rows over all pages."""
    left = math.inf if count is None else count
    options = link.split("&")
    for place, option in enumerate(options):
        name, _, value = option.rpartition("?")[2].partition("=")
        if name == SKIP:
            left -= int(value) + rows
            options[place] = f"{SKIP}={int(value) + rows}"
    for place, option in enumerate(options):
        if option.rpartition("?")[2].startswith(f"{TOP}="):  # it counts the rows after those that are skipped
            top = int(option.rpartition("=")[2]) - rows
            left = min(left, top)
            options[place] = f"{option.rpartition('=')[0]}={top}"
    return "&".join(options) if rows and left > 0 else None


@dataclass(frozen=True, slots=True)
class Plan:
    """The segments of a pull in the order of its rows, and SAC's count over all of them, where it was asked.

    ``page_size`` is fixed where pages are asked for by number, and ``None`` where it may change.
    """

    segments: tuple[Segment, ...]
    expected_rows: int | None = None
    page_size: int | None = None

    @classmethod
    def of(cls, query: Query, schema: Schema, tenant_url: str) -> Self:
        """Return the plan with the fewest segments: one, unless the URL would be too long."""
        return cls(segments_of(query, schema, tenant_url))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "segments": [[one.path, one.expected_rows, one.packages, one.is_open] for one in self.segments],
            "expected_rows": self.expected_rows,
            "page_size": self.page_size,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan that ``to_json`` was called on.

        Raises:
            TypeError, KeyError, ValueError: The values are something else.
        """
        segments = [
            Segment(str(path), rows, None if packages is None else (int(packages[0]), int(packages[1])), bool(is_open))
            for path, rows, packages, is_open in values["segments"]
        ]
        return cls(tuple(segments), values["expected_rows"], values["page_size"])


def segments_of(
    query: Query, schema: Schema, tenant_url: str, *, expected_rows: int | None = None
) -> tuple[Segment, ...]:
    """Return a query as segments: one, several where its URL would be too long, none where no row can match."""
    queries = query.split(schema, tenant_url)
    expected = expected_rows if len(queries) == 1 else None
    return tuple(Segment(link_of(replace(one, page_size=None).url(tenant_url, schema)), expected) for one in queries)


def link_of(url: str) -> str:
    """Return a URL without its tenant, the form in which links are kept: the tenant's address may change."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The question to pull, the tenant to ask, and the listeners.

    ``streams`` is the number of requests that may run at the same time. ``observe`` sees the rows of every page, those
    of an earlier run included, but of these only the dimensions. ``repeated`` says how to treat several records for
    one key, and ``note_records`` is told of them. With ``note_delta_link`` SAC is asked to track changes; it is told
    the link to these, and the URL of the page that has it. ``share`` is the part of the time in
    which a stream may have a request under way; the rest belongs to other processes.
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
    repeated: Repeated = "error"
    share: float = 1.0
    note_records: Callable[[Records], None] = lambda _: None
    note_delta_link: Callable[[str, str], None] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the answer."""
        return self.query.columns(self.schema)

    @property
    def label(self) -> str:
        """Label for messages: ``<provider>/<entity set>``."""
        return f"{self.query.provider_id}/{self.query.entity_set}"


def packages(job: Job, total: int | None, single: Plan) -> Plan:
    """Plan pages by their numbers, an equal share of them for each stream.

    Unconfirmed: that any page can be asked for by its number, and that these are the pages that links lead to. So the
    rows are compared with SAC's count, whatever ``check_count`` says.
    """
    if total is None:
        raise QueryError('partitions="package" needs a row count, and SAC returned none.', hint="Leave partitions out.")
    page_size = job.query.page_size or DEFAULT_PAGE_SIZE
    pages = -(-total // page_size)
    streams = min(job.streams, pages)
    if streams < 2 or len(single.segments) > 1:
        return single
    edges = [pages * stream // streams for stream in range(streams + 1)]
    segments = [
        Segment(single.segments[0].path, packages=(first + 1, end), is_open=end == pages)
        for first, end in itertools.pairwise(edges)
    ]
    return Plan(tuple(segments), expected_rows=total, page_size=page_size)


# The answer to several records for one key: add up their measures, keep them all, or raise.
Repeated = Literal["sum", "keep", "error"]


@dataclass(frozen=True, slots=True)
class Records:
    """Keys with several records, and how SAC's total over all rows compares with them.

    Of the measures, ``matched`` have the same total, ``other`` one of another kind than a sum or none, and
    ``differing`` a total that the rows do not explain. ``unknown`` says why no total was compared.
    """

    rows: int = 0
    keys: int = 0
    matched: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    unknown: str = ""

    def notice(self, label: str, repeated: Repeated) -> str:
        """Return what a user must know, in words."""
        many = self.keys != 1
        parts = [
            f"{self.keys:,} key{'s' if many else ''} of {label} {'have' if many else 'has'} several records, "
            f"{self.rows:,} rows in all"
            + ("; their measures were added up." if repeated == "sum" else "; each record is a row of its own.")
        ]
        odd = (*self.other, *self.differing)
        if odd:
            parts.append(f"SAC's own total is no sum for {', '.join(map(repr, odd))}: do not add up these.")
        elif self.unknown:
            parts.append(f"The rows could not be compared with a total of SAC ({self.unknown}).")
        parts.append("Measures that do not add up, such as prices, rates and headcounts, need a look.")
        if repeated == "sum":
            parts.append("To see the records: facts(..., repeated='keep').")
        return " ".join(parts)


class Sink(Protocol):
    """Receives the rows of a pull; segments are numbered as in the plan."""

    def add(self, segment: int, table: pa.Table) -> None:
        """Take the next rows of a segment."""

    def finish(self, segment: int) -> None:
        """Note that all rows of a segment have arrived."""

    def restart(self, segment: int) -> None:
        """Forget the rows of a segment, which is pulled again from its beginning."""


class LimitedSink:
    """A sink that passes on the first ``limit`` rows, of segments that come one after the other."""

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self._left = limit
        self._of_this_segment = 0

    @property
    def is_full(self) -> bool:
        """True once all rows have been passed on."""
        return not self._left

    def add(self, segment: int, table: pa.Table) -> None:
        rows = min(table.num_rows, self._left)
        self._left -= rows
        self._of_this_segment += rows
        self._sink.add(segment, table.slice(0, rows))
        if self.is_full:
            self._sink.finish(segment)

    def finish(self, segment: int) -> None:
        self._of_this_segment = 0
        if not self.is_full:
            self._sink.finish(segment)

    def restart(self, segment: int) -> None:
        self._left += self._of_this_segment
        self._of_this_segment = 0
        self._sink.restart(segment)


Position = Literal["beginning", "link", "resumed link", "link that failed before"]
Remedy = Literal["give up", "restart", "smaller pages"]

_TOO_LARGE: Final = 413
# A cursor that SAC has forgotten may look like each of these (unconfirmed).
_DEAD_LINK: Final = frozenset({400, 404, 410})
_TIMEOUTS: Final = frozenset({"read_timeout", "deadline"})


class CutKeys(Exception):
    """A limit may have cut records of a key off, so that their sum cannot be made of the rows."""


def compare(job: Job, announced: int | None, received: int, *, is_vital: bool = False) -> None:
    """Refuse another number of rows than SAC announced; warn where the job does not check it, unless it is vital.

    Raises:
        InconsistentAnswer: There are more or fewer.
    """
    if announced is None or announced == received:
        return
    problem = f"SAC announced {announced:,} rows of {job.label} and sent {received:,}; rows are missing or repeated."
    if job.check_count or is_vital:
        hint = (
            "No data was saved. Download again; if it happens again and nobody is writing to the model, try "
            f"smaller pages: facts(..., page_size={SMALL_PAGE_ROWS})."
        )
        raise InconsistentAnswer(problem, hint=hint)
    warn_user(problem, RowCountWarning)


def remedy_for(error: BaseException, position: Position) -> Remedy:
    """Return the remedy for *error*, after all retries of the request itself.

    ======================  ==================  ==================  ==================  =======================
    error                   first page          later page          resumed link        link that failed before
    ======================  ==================  ==================  ==================  =======================
    413                     smaller pages       smaller pages       smaller pages       smaller pages
    5xx, 408, timeouts      smaller pages       give up             give up             smaller pages
    400, 404, 410           give up             restart             restart             restart
    other counts than then  (cannot happen)     (cannot happen)     restart             restart
    anything else           give up             give up             give up             give up
    ======================  ==================  ==================  ==================  =======================

    A page in the middle that still fails after all retries most likely means that SAC is down: discarding the pages
    before it and fetching them again would not help. They stay for the next run, and only a link that fails in that run
    too counts as one that does not work with this page size.
    """
    if isinstance(error, InconsistentAnswer) and error.changed:
        return "restart"
    if not isinstance(error, RequestError):
        return "give up"
    if error.status == _TOO_LARGE:
        return "smaller pages"
    if isinstance(error, ServerError) or _timed_out(error):
        return "smaller pages" if position in {"beginning", "link that failed before"} else "give up"
    if error.status in _DEAD_LINK and position != "beginning":
        return "restart"
    return "give up"


def _timed_out(error: RequestError) -> bool:
    if not isinstance(error, NoAnswerError) or error.outcome is None or not error.outcome.attempts:
        return False
    return error.outcome.attempts[-1].error_kind in _TIMEOUTS
