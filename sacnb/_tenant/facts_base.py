"""The base class of Facts: its preview, its refusal to be used as a result, and its way into other systems."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sacnb._arguments import callback, flag, text
from sacnb._odata.query import to_odata
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._tenant.awaiting import in_thread
from sacnb.errors import NotFetchedError

if TYPE_CHECKING:
    from sacnb._odata.query import Query
    from sacnb._odata.schema import Schema
    from sacnb._pull.plan import Repeated
    from sacnb._pull.progress import ProgressOption
    from sacnb._pull.publish import ParquetFolder
    from sacnb._results.result import Result
    from sacnb._tenant.connection import Connection
    from sacnb.snowflake import SnowflakeClient
    from sacnb.snowflake.load import Load

__all__ = ["FactsBase"]

_MOST_CHARS: Final = 300
# What people call on a query as if it were its result.
_OF_RESULTS: Final = frozenset(
    {"polars", "pandas", "arrow", "tidy", "plot", "variance", "variance_plot", "head", "columns", "shape", "table"}
    | {"to_csv", "to_excel", "to_arrow", "to_pandas", "to_polars", "info"}
)


class FactsBase(Previewed):
    """Base class of ``Facts``."""

    __slots__ = ()

    connection: Connection
    schema: Schema
    query: Query

    @abstractmethod
    def to_parquet(
        self,
        folder: str | os.PathLike[str],
        *,
        repeated: Repeated | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> ParquetFolder:
        """Write the rows to a folder of Parquet files."""

    @abstractmethod
    def fetch(
        self,
        *,
        labels: bool = False,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Fetch all rows."""

    @abstractmethod
    def refresh(
        self,
        *,
        labels: bool = False,
        strict: bool = False,
        max_age_s: float | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
        announce: Callable[[str], None] = print,
    ) -> Result:
        """Fetch and cache the rows."""

    async def fetch_async(self, *, labels: bool = False, progress: ProgressOption = "auto") -> Result:
        """Fetch all rows as ``fetch`` does, in a thread of its own, so that an event loop goes on.

        Cancelling the task that awaits it ends the download, within a second as a rule. Raises what ``fetch`` raises.
        """
        return await in_thread(lambda stop: self.fetch(labels=labels, progress=progress, cancelled=stop))

    async def refresh_async(
        self,
        *,
        labels: bool = False,
        strict: bool = False,
        max_age_s: float | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        announce: Callable[[str], None] = print,
    ) -> Result:
        """Fetch and cache the rows as ``refresh`` does, in a thread of its own; see ``fetch_async``."""
        ways: dict[str, Any] = {"labels": labels, "strict": strict, "max_age_s": max_age_s, "resume": resume}
        return await in_thread(lambda stop: self.refresh(**ways, progress=progress, announce=announce, cancelled=stop))

    async def to_parquet_async(
        self,
        folder: str | os.PathLike[str],
        *,
        repeated: Repeated | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
    ) -> ParquetFolder:
        """Write the rows to Parquet files as ``to_parquet`` does, in a thread of its own; see ``fetch_async``."""
        ways: dict[str, Any] = {"repeated": repeated, "resume": resume, "progress": progress}
        return await in_thread(lambda stop: self.to_parquet(folder, **ways, cancelled=stop))

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """Describe the query for manifests, as plain values; the principal as a digest."""

    def __repr__(self) -> str:
        return self._preview().text()

    def _preview(self) -> Preview:
        query = self.query
        where = "" if query.where is None else to_odata(query.where, self.schema)
        facts = {
            "columns": ", ".join(column.name for column in query.columns(self.schema)),
            "filter": where if len(where) <= _MOST_CHARS else f"{where[:_MOST_CHARS]}… ({len(where):,} characters)",
            "order": ", ".join(f"{name} (descending)" if down else name for name, down in query.order_by),
            "limit": "" if query.top is None else f"{query.top:,} rows",
            "next": "fetch(), refresh() to cache the rows too, count(), to_parquet(folder)",
        }
        title = f"{query.provider_id}/{query.entity_set}: a query, nothing is fetched yet"
        return fact_table(title, {name: fact for name, fact in facts.items() if fact})

    def __getattr__(self, name: str) -> Any:
        if name in _OF_RESULTS:
            raise self._not_fetched(f".{name}")
        raise AttributeError(f"'Facts' object has no attribute {name!r}")

    def __getitem__(self, key: object) -> Any:
        raise self._not_fetched(f"[{key!r}]")

    def __len__(self) -> int:
        raise self._not_fetched("", what="len()")

    def __iter__(self) -> Iterator[Any]:
        raise self._not_fetched("", what="iter()")

    def __bool__(self) -> bool:
        return True

    def _not_fetched(self, use: str, *, what: str = "") -> NotFetchedError:
        return NotFetchedError(
            f"These facts of {self.query.provider_id} are a query without rows, so they have no {what or use}.",
            hint=f"Fetch the rows first: .fetch(){use}" + ("" if use else ". For the number of rows alone: .count()"),
        )

    def to_snowflake(
        self,
        table: str,
        *,
        client: SnowflakeClient | None = None,
        channel: str | None = None,
        channels: int = 1,
        database: str | None = None,
        schema: str | None = None,
        repeated: Repeated | None = None,
        row_errors: Literal["error", "warn"] = "error",
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> Load:
        """Download the rows and append them to a table in Snowflake, in bounded memory, each row once.

        The rows go through a folder in the cache: the first one is sent when all have arrived and their number is
        right. A download or a load that ended early, even by ``kill -9``, resumes where it stopped when the same call
        is made again; ``resume=False`` starts over, and leaves in the table what is there. ``client`` is made by
        ``sacnb.snowflake.connect``; without one, the SNOWFLAKE_* variables are used. ``table`` may be
        ``DATABASE.SCHEMA.NAME``. ``channel`` names the channel (by default after the model and the query), which no
        other program may write to; ``channels`` is how many share the rows.

        Raises what ``to_parquet`` raises; ChannelError, NotCommittedError, and RejectedRowsError where the table cannot
        hold some rows; SettingsError and MissingExtraError.
        """
        from sacnb.snowflake.load import load_facts

        return load_facts(
            lambda folder: self.to_parquet(
                folder, repeated=repeated, resume=flag("resume", resume), progress=progress, cancelled=cancelled
            ),
            {**self._about(), "repeated": repeated},
            Path(self.connection.settings.cache_dir) / "snowflake",
            client=client,
            table=table,
            channel=text("channel", channel),
            channels=channels,
            database=database,
            schema=schema,
            row_errors=row_errors,
            resume=resume,
            cancelled=callback("cancelled", cancelled),
        )
