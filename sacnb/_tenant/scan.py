"""A model as a polars LazyFrame: SAC filters what it can, and polars does the rest; and the plan in words."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._frames.convert import arrow_schema
from sacnb._odata.query import to_odata
from sacnb._odata.where import both, columns_of
from sacnb._pull.collect import summed
from sacnb._pull.progress import ProgressListener, progress_listener
from sacnb._pull.totals import has_single_records
from sacnb._pushdown.source import Ask, Source
from sacnb._pushdown.translate import Kept, PushDown, sift
from sacnb._rendering import printable
from sacnb._results.info import warn_of_mixed
from sacnb._tenant.facts import warn_of_records
from sacnb._tenant.members import mixed_dimensions
from sacnb.errors import QueryError

if TYPE_CHECKING:
    from sacnb._odata.query import Query
    from sacnb._pull.progress import ProgressListener
    from sacnb._pushdown.predicate import Conjunct
    from sacnb._pushdown.source import Read
    from sacnb._tenant.facts import Facts

__all__ = ["Explanation", "Reading", "Scan", "ScanExplanation", "explain", "filtered", "rehearse"]

# Shorten longer conditions and URLs, such as those of long lists.
_MOST_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class ScanExplanation:
    """The plan for one model in a query.

    ``columns`` are those that are requested: on ``FactData`` always every dimension, because SAC refuses anything
    else. ``filter`` is the OData filter, empty for all rows; ``sent`` are the polars conditions in it, and ``kept``
    those that polars applies. ``requests`` are the decoded URLs of the first pages without the host; empty if no row
    can match. ``rows`` is SAC's count if it was requested and SAC returned one.
    """

    model: str
    entity_set: str
    columns: tuple[str, ...]
    filter: str
    sent: tuple[str, ...]
    kept: tuple[Kept, ...]
    limit: int | None
    requests: tuple[str, ...]
    rows: int | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.model}/{self.entity_set}",
            f"  columns  {', '.join(self.columns)}",
            f"  filter   {_short(self.filter) or 'none'}",
        ]
        lines += [f"  limit    {self.limit:,} rows"] if self.limit is not None else []
        lines += [f"  polars   {_short(kept.text)}: {kept.reason}" for kept in self.kept]
        lines += [f"  request  {_short(request)}" for request in self.requests[:1]]
        lines += [f"           and {len(self.requests) - 1:,} more"] if len(self.requests) > 1 else []
        lines += [] if self.requests else ["  request  none: no row can match"]
        lines += [f"  rows     {self.rows:,}"] if self.rows is not None else []
        return printable("\n".join(lines))

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan for each model in a query; print it to read it."""

    scans: tuple[ScanExplanation, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.scans)) or "No request to SAC."

    __repr__ = __str__


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}… ({len(text):,} characters)"


_log = logging.getLogger("sacnb.tenant")

_TYPE_ERRORS: Final = (
    pl.exceptions.ColumnNotFoundError,
    pl.exceptions.InvalidOperationError,
    pl.exceptions.SchemaError,
)

Steps = pl.Expr | Callable[[pl.LazyFrame], pl.LazyFrame] | None
_AS_STEPS: Final = "Pass the steps as a function: explain(lambda rows: rows.filter(...).select(...))."


@dataclass(frozen=True, slots=True)
class Reading:
    """The query for one model, and which part of the predicate it contains."""

    facts: Facts
    pushed: PushDown
    mixed: tuple[str, ...] = ()

    def warn_of_mixed(self) -> None:
        """Warn of the accounts and versions that are taken together."""
        warn_of_mixed(
            self.mixed, self.facts.query.provider_id, what="This query takes together", cure="keep it among the columns"
        )

    @property
    def is_everything(self) -> bool:
        """Return whether all rows are requested."""
        return self.facts.query.where is None and self.facts.query.top is None

    def explain(self, *, count: bool) -> ScanExplanation:
        """Return the plan in words; *count* asks SAC for the number of rows."""
        query, schema, tenant_url = self.facts.query, self.facts.schema, self.facts.connection.tenant_url
        partitions = () if query.top == 0 else query.split(schema, tenant_url)
        rows = self.facts.count() if count else None
        return ScanExplanation(
            model=query.provider_id,
            entity_set=query.entity_set,
            columns=query.select,
            filter=to_odata(query.where, schema) if query.where is not None else "",
            sent=tuple(sent.text for sent in self.pushed.sent),
            kept=self.pushed.kept,
            limit=query.top,
            requests=tuple(
                unquote(partition.url(tenant_url, schema).removeprefix(tenant_url)) for partition in partitions
            ),
            rows=rows if rows is None or query.top is None else min(rows, query.top),
        )


class Scan:
    """LazyFrames over a query, whose own filter is always sent to SAC.

    ``cancelled`` is called often while rows are read; once it returns true, ``collect()`` raises Cancelled.
    """

    def __init__(self, facts: Facts, *, decimals: bool = False, cancelled: Callable[[], bool] | None = None) -> None:
        # Here an unknown member is not an error: it matches no rows, as in any frame.
        self._facts = replace(facts, check_members=False)
        self._decimals = decimals
        self._cancelled = cancelled
        query = facts.query
        self._schema = replace(facts.schema, entity_set=query.entity_set, columns=query.columns(facts.schema))

    def frame(self, *, warn: bool = True) -> pl.LazyFrame:
        """Return the LazyFrame; requests are sent when it is collected. An interrupt ends ``collect()`` at once.

        Collecting warns of versions and accounts that the steps do not tell apart, unless the caller does (*warn*).
        """
        _INTERRUPTS.listen()
        return self._frame(partial(self._stream, warn=warn))

    def rehearsal(self, found: list[Reading]) -> pl.LazyFrame:
        """Return the same frame without rows: collecting it sends nothing and appends each reading to *found*."""

        @contextmanager
        def note(ask: Ask) -> Iterator[Iterable[pa.RecordBatch]]:
            reading = self._reading(ask)
            found.append(reading)
            # An empty batch, so that polars refuses a senseless condition now and not after an hour.
            columns = reading.facts.query.columns(reading.facts.schema)
            yield [pa.RecordBatch.from_pylist([], schema=arrow_schema(columns))]

        return self._frame(note)

    def _frame(self, read: Read) -> pl.LazyFrame:
        # SAC filters before it adds up, so it cannot filter by the sums. Where records are added up here, see _safe.
        columns = self._schema.dimensions if self._aggregates else self._schema.columns
        filterable = frozenset(column.name for column in columns)
        return Source(self._schema, read, filterable=filterable, decimals=self._decimals).frame()

    @contextmanager
    def _stream(self, ask: Ask, *, warn: bool) -> Iterator[Iterable[pa.RecordBatch]]:
        if ask.limit == 0:
            yield ()
            return
        reading = self._reading(ask)
        if warn:
            reading.warn_of_mixed()
        if _log.isEnabledFor(logging.INFO):
            _log.info("Reading %s", reading.explain(count=False))
        before = _INTERRUPTS.count()

        def cancelled() -> bool:
            return _INTERRUPTS.count() > before or (self._cancelled is not None and self._cancelled())

        with progress_listener("auto") as listener:
            safe = self._safe(ask, reading, cancelled) if self._adds_up else reading
            reading = safe or reading
            if self._adds_up and safe is not None:
                with _summed_batches(reading.facts, listener, cancelled) as sums:
                    yield sums
            else:
                facts = replace(reading.facts, repeated="error") if self._adds_up else reading.facts
                with facts.stream(progress=listener, cancelled=cancelled) as batches:
                    yield batches

    def _safe(self, ask: Ask, reading: Reading, cancelled: Callable[[], bool]) -> Reading | None:
        """Return the reading without conditions that SAC may not apply to records, ``None`` where it may.

        A condition on a measure holds for the sum of a key's records and not for each. SAC is asked whether each key
        has one record; only then the condition may be sent.
        """
        keys = {column.name for column in self._schema.dimensions}
        unsafe = [sent for sent in reading.pushed.sent if columns_of(sent.where) - keys]
        if not unsafe:
            return reading
        pushed = reading.pushed
        for sent in unsafe:
            pushed = pushed.without(sent, "SAC would filter before records are added up")
        safe = self._reading(replace(ask, pushed=pushed))
        return None if _is_single_record(safe.facts, cancelled) else safe

    def _reading(self, ask: Ask) -> Reading:
        base = self._facts.query
        query = replace(base, select=self._selected(ask), top=ask.limit)
        if ask.limit and base.page_size is not None:
            query = replace(query, page_size=min(ask.limit, base.page_size))
        query, pushed = _fitting(self._facts, query, ask.pushed)
        split = None if ask.limit is not None else self._facts.split
        return Reading(replace(self._facts, query=query, split=split), pushed, self._mixed(ask))

    def _mixed(self, ask: Ask) -> tuple[str, ...]:
        """Return the dimensions of accounts and versions that polars drops before it has looked at them."""
        if not any(column.name in ask.columns for column in self._schema.measures):
            return ()
        return mixed_dimensions(self._facts.query, self._schema, ask.columns)

    def _selected(self, ask: Ask) -> tuple[str, ...]:
        """Return all dimensions (SAC refuses FactData with fewer, or adds up) and what else polars needs."""
        kept = [column for column in self._schema.columns if column.role == "dimension" or column.name in ask.columns]
        if self._aggregates and all(column.role == "dimension" for column in kept):
            kept += self._schema.measures[:1]  # the answer to an aggregation without measures is unconfirmed
        return tuple(column.name for column in kept)

    @property
    def _adds_up(self) -> bool:
        """Return whether several records of a key are added up here, and not by SAC."""
        return self._facts.repeated == "sum" and not self._aggregates

    @property
    def _aggregates(self) -> bool:
        return self._facts.query.entity_set == FACT_DATA_AGGREGATION


def _fitting(facts: Facts, query: Query, pushed: PushDown) -> tuple[Query, PushDown]:
    """Return the query with as much of the filter as fits into a URL; the longest conditions are kept back."""
    base = query.where
    while True:
        query = replace(query, where=both(base, pushed.where))
        try:
            query.split(facts.schema, facts.connection.tenant_url)
        except QueryError as error:
            if not pushed.sent:
                raise
            longest = max(pushed.sent, key=lambda sent: len(to_odata(sent.where, facts.schema)))
            pushed = pushed.without(longest, error.message)
        else:
            return query, pushed


def filtered(facts: Facts, conditions: Iterable[Conjunct]) -> Facts:
    """Return the query with those of an engine's conditions that lose no row; the engine checks them all again.

    Conditions on measures are sent only where each record stays a row of its own.
    """
    schema = replace(facts.schema, columns=facts.query.columns(facts.schema))
    is_sum = facts.repeated != "keep" or facts.query.entity_set == FACT_DATA_AGGREGATION
    names = [column.name for column in (schema.dimensions if is_sum else schema.columns)]
    query, pushed = _fitting(facts, facts.query, sift(conditions, schema, names, decimals=True))
    _log.info("Sent: %s; kept: %s", [sent.text for sent in pushed.sent], [kept.text for kept in pushed.kept])
    return replace(facts, query=query, check_members=False)


def _is_single_record(facts: Facts, cancelled: Callable[[], bool] | None) -> bool:
    """Return whether SAC counts as many keys as rows, so that each key has one record."""
    return has_single_records(facts._job(facts._named_members(), cancelled=cancelled))


@contextmanager
def _summed_batches(
    facts: Facts, progress: ProgressListener | None, cancelled: Callable[[], bool] | None
) -> Iterator[Iterable[pa.RecordBatch]]:
    """Stream the rows of a query with the records of each key added up.

    Warns:
        RepeatedKeysWarning: Records were added up.
    """
    if facts.query.top is not None:
        yield facts.fetch(progress=progress, cancelled=cancelled).arrow().to_batches()
        return

    def is_single() -> bool:
        return _is_single_record(facts, cancelled)

    with facts.stream(repeated="keep", progress=progress, cancelled=cancelled) as stream:
        columns = facts.query.columns(facts.schema)
        yield summed(stream, columns, is_single, lambda records: warn_of_records(facts.query, [records]))


class _Interrupts:
    """Counts Ctrl-C and a notebook's stop button while polars blocks the main thread, where Python would see them.

    Python's signal handler, which is written in C, sends each signal's number to the wakeup descriptor at once. polars
    has a hook of its own, but Jupyter's kernel replaces it before each cell.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._process = 0
        self._count = 0

    def listen(self) -> None:
        """Set the wakeup descriptor, unless another library uses it; on other threads than the main one do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        with self._lock:
            if self._pair is None or self._process != os.getpid():  # a forked child must not read its parent's
                self._pair, self._process = socket.socketpair(), os.getpid()
                for end in self._pair:
                    end.settimeout(0)
                    atexit.register(end.close)
            ours = self._pair[1].fileno()
            earlier = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
            if earlier not in {-1, ours}:
                signal.set_wakeup_fd(earlier)

    def count(self) -> int:
        """Return the number of interrupts so far."""
        with self._lock:
            if self._pair is not None and self._process == os.getpid():
                with suppress(BlockingIOError):
                    self._count += self._pair[0].recv(4096).count(signal.SIGINT)
            return self._count


_INTERRUPTS: Final = _Interrupts()


def rehearse(rows: pl.LazyFrame, found: list[Reading]) -> None:
    """Collect a frame of rehearsals, so that *found* has every reading.

    Raises polars' error for steps that make no sense. An error that may only be due to the missing rows is logged;
    *found* then has the readings up to there.
    """
    rows.collect_schema()
    try:
        rows.collect()
    except pl.exceptions.PolarsError as error:
        if not found or _is_about_types(error):
            raise
        _log.debug("The rehearsal without rows ended early: %s", error)


def _is_about_types(error: pl.exceptions.PolarsError) -> bool:
    return isinstance(error, _TYPE_ERRORS) or str(error).startswith("cannot compare")


def explain(scan: Scan, steps: Steps, *, count: bool) -> Explanation:
    """Return the plan of a scan after some steps.

    Raises QueryError if *steps* is neither a condition nor a function that returns a LazyFrame; and polars' errors.
    """
    found: list[Reading] = []
    rows = scan.rehearsal(found)
    if isinstance(steps, pl.Expr):
        rows = rows.filter(steps)
    elif callable(steps):
        rows = steps(rows)
    elif steps is not None:
        raise QueryError(f"explain() expects a function or a condition, got {type(steps).__name__}.", hint=_AS_STEPS)
    if not isinstance(rows, pl.LazyFrame):
        raise QueryError(
            f"The function given to explain() must return a LazyFrame, got {type(rows).__name__}.", hint=_AS_STEPS
        )
    rehearse(rows, found)
    return Explanation(tuple(reading.explain(count=count) for reading in found))
