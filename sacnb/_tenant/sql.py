"""SQL over the models of a tenant, run by polars; its errors become ours, with a remedy."""

from __future__ import annotations

import contextvars
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import polars as pl

from sacnb._arguments import flag, required_text, whole_number
from sacnb._arguments import text as name_of
from sacnb._endpoints import DEFAULT_NAMESPACE
from sacnb._frames.preview import shown_frame
from sacnb._tenant.connection import Connection, list_models
from sacnb._tenant.model import Model
from sacnb._tenant.question import bind
from sacnb._tenant.scan import Explanation, Reading, Scan, rehearse
from sacnb.errors import LargeScanWarning, QueryError, SacError, UnknownNameError, warn_user

if TYPE_CHECKING:
    from sacnb._odata.schema import Schema

__all__ = ["LARGE_ROWS", "SqlQuery", "as_our_error", "missing_table"]

_TABLE: Final = re.compile(r"relation '(?P<name>.*)' was not found", re.DOTALL)
# polars' words for a column alone, and for one with its table.
_COLUMN: Final = re.compile(
    r"""unable to find column "(?P<name>.*?)"; valid columns|no column named '(?P<of_table>.*?)' found in table""",
    re.DOTALL,
)
_TEXT_WITH_OTHER: Final = re.compile(r"cannot compare (string|'date/datetime/time' to a string)", re.IGNORECASE)


def missing_table(error: pl.exceptions.PolarsError) -> str | None:
    """Return the table that polars reports as unknown, or ``None``."""
    found = _TABLE.search(_first(error))
    return found["name"] if found else None


def as_our_error(error: pl.exceptions.PolarsError, columns: Iterable[str]) -> SacError:
    """Return our error for one of polars about a query over *columns*."""
    said = _first(error)
    column = _COLUMN.search(said)
    if column:
        return UnknownNameError("column", column["name"] or column["of_table"], columns, where="the query")
    hint = None
    if _TEXT_WITH_OTHER.match(said):
        hint = (
            "SAC's dimensions and dates are text. Compare them with text as SAC writes it, in single quotes: "
            "'201001' or '0042'."
        )
    return QueryError(f"polars cannot run the query: {said.rstrip('.')}.", hint=hint)


def _first(error: pl.exceptions.PolarsError) -> str:
    """Return the first paragraph of the message, without the plan that polars appends."""
    return str(error).partition("\n\n")[0].strip()


# Warn before downloading this many rows: 20 pages of the default size, each of which can take a second or more.
LARGE_ROWS: Final = 1_000_000
# How long to wait before looking for an interrupt again.
_TICK_S: Final = 0.1
# How long an interrupted query may take to end. The pull ends well within it; a computation of polars may not.
_STOP_WAIT_S: Final = 5.0


class SqlQuery:
    """An SQL query whose tables are resolved to models; only their ``$metadata`` has been read.

    A table is a model id or, if no model has that id, a model name. Case is ignored if nothing matches exactly.

    Args:
        connection: The tenant.
        text: One SQL statement.
        values: The values of its ``:name`` parameters.
        namespace: The models' namespace.
        decimals: Return measures as exact decimals instead of float64.

    Raises:
        UnknownNameError: A table or column does not exist; with the nearest names.
        QueryError: The statement cannot be read or run, or a parameter does not fit.
    """

    def __init__(
        self, connection: Connection, text: str, values: Mapping[str, object] | None, *, namespace: str, decimals: bool
    ) -> None:
        if values is not None and not isinstance(values, Mapping):
            raise QueryError(
                f"parameters must be a mapping of names to values, got {type(values).__name__}.",
                hint="For example: sac.sql(query, {'start': '201001'})",
            )
        self._text = bind(required_text("query", text), values or {})
        namespace, decimals = name_of("namespace", namespace) or DEFAULT_NAMESPACE, flag("decimals", decimals)
        self._schemas: dict[str, Schema] = {}
        self._scans: dict[str, Scan] = {}
        self._stop = threading.Event()
        with self._our_errors():
            while (table := self._missing_table()) is not None:
                model = _model(connection, table, namespace)
                self._schemas[table] = model.schema
                self._scans[table] = Scan(model.facts(), decimals=decimals, cancelled=self._stop.is_set)

    def frame(self, limit: int | None) -> pl.LazyFrame:
        """Return the answer as a LazyFrame of at most *limit* rows; requests are sent when it is collected."""
        return self._frame(whole_number("limit", limit), warn=True)

    def _frame(self, limit: int | None, *, warn: bool) -> pl.LazyFrame:
        return self._plan({table: scan.frame(warn=warn) for table, scan in self._scans.items()}, limit)

    def collect(self, limit: int | None, *, large_rows: int | None) -> pl.DataFrame:
        """Return the answer; polars' errors are raised as ours. Ctrl-C and a notebook's stop button end it at once.

        Warns:
            LargeScanWarning: The query needs every row of a model with at least ``large_rows`` rows.
            MixedVersionsWarning, MixedAccountsWarning: The query takes versions or accounts together.
        """
        limit, large_rows = whole_number("limit", limit), whole_number("large_rows", large_rows)
        with self._our_errors():
            readings = self._readings(limit)
            self._warn_of_mixed(readings)
            if large_rows is not None:
                self._warn_of_large_scans(readings, large_rows)
            return self._collect(self._frame(limit, warn=False))

    def _collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Collect on another thread: polars would keep this one from seeing an interrupt until the last page."""
        outcome: Future[pl.DataFrame] = Future()
        ended = threading.Event()
        context = contextvars.copy_context()

        def collect() -> None:
            try:
                outcome.set_result(context.run(frame.collect))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                outcome.set_exception(error)
            finally:
                ended.set()

        threading.Thread(target=collect, name="sacnb-sql", daemon=True).start()
        try:
            # Not Thread.join(): interrupted, it takes the thread for ended (bpo-45274). And on Windows an interrupt is
            # only seen between two waits.
            while not ended.wait(_TICK_S):
                pass
        except BaseException:
            self._stop.set()
            ended.wait(_STOP_WAIT_S)
            _forget_interrupt()
            raise
        return shown_frame(outcome.result())

    def explain(self, limit: int | None, *, count: bool) -> Explanation:
        """Return the plan."""
        limit, count = whole_number("limit", limit), flag("count", count)
        with self._our_errors():
            readings = self._readings(limit)
        return Explanation(tuple(reading.explain(count=count) for reading in readings))

    def _readings(self, limit: int | None) -> list[Reading]:
        found: list[Reading] = []
        rehearse(self._plan({table: scan.rehearsal(found) for table, scan in self._scans.items()}, limit), found)
        return found

    def _plan(self, frames: Mapping[str, pl.LazyFrame], limit: int | None) -> pl.LazyFrame:
        rows: pl.LazyFrame = pl.SQLContext(frames).execute(self._text, eager=False)
        return rows if limit is None else rows.head(limit)

    def _missing_table(self) -> str | None:
        """Return the next table that polars does not know; its parser knows tables from other names."""
        try:
            self._plan({table: scan.rehearsal([]) for table, scan in self._scans.items()}, None).collect_schema()
        except pl.exceptions.PolarsError as error:
            table = missing_table(error)
            if table is None or table in self._scans:
                raise
            return table
        return None

    def _warn_of_mixed(self, readings: list[Reading]) -> None:
        for reading in {(reading.facts.query.provider_id, reading.mixed): reading for reading in readings}.values():
            # For count(*) polars reads any column, also a measure.
            if any(measure.name in self._text for measure in reading.facts.schema.measures):
                reading.warn_of_mixed()

    def _warn_of_large_scans(self, readings: list[Reading], large_rows: int) -> None:
        for reading in readings:
            rows = reading.facts.count() if reading.is_everything else None
            if rows is not None and rows >= large_rows:
                warn_user(
                    f"The query may download all {rows:,} rows of {reading.facts.query.provider_id}: it has no limit "
                    "and no condition that SAC can apply. Filter by a member or a date, or let SAC add up: "
                    "model.scan(dims=[...]).",
                    LargeScanWarning,
                )

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except pl.exceptions.PolarsError as error:
            columns = dict.fromkeys(name for schema in self._schemas.values() for name in schema.names)
            raise as_our_error(error, columns) from error


def _forget_interrupt() -> None:
    """Let polars raise the interrupt that it has noted too, before it does so in an operation that comes later."""
    with suppress(KeyboardInterrupt):
        pl.int_range(0, 1, eager=True)


def _model(connection: Connection, table: str, namespace: str) -> Model:
    """Return the model for a table; the list of models is read only if no model has that id."""
    try:
        model = Model(connection, table, namespace)
        _ = model.schema
    except UnknownNameError:
        entries = list_models(connection, namespace)
    else:
        return model
    folded = table.casefold()
    named = [entry for entry in entries if entry.name == table] or [
        entry for entry in entries if folded in {entry.id.casefold(), entry.name.casefold()}
    ]
    if not named:
        known = [name for entry in entries for name in (entry.id, entry.name)]
        raise UnknownNameError("model", table, known, where="this tenant")
    if len(named) > 1:
        listed = ", ".join(f'"{entry.id}"' for entry in named)
        raise QueryError(f"{len(named)} models are called {table!r}.", hint=f"Use the id of one of them: {listed}.")
    return Model(connection, named[0].id, namespace)
