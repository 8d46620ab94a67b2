"""One tenant, connected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload

from sacnb._endpoints import DEFAULT_NAMESPACE
from sacnb._frontend import frontend
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._settings import ConnectSpec
from sacnb._tenant.connection import Connection, list_models
from sacnb._tenant.model import Model

if TYPE_CHECKING:
    import polars as pl

    from sacnb._cache.store import Cache
    from sacnb._frontend import Explorer
    from sacnb._settings import Settings
    from sacnb._tenant.scan import Explanation
    from sacnb._wire.telemetry import Telemetry
    from sacnb.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class TokenStatus(Previewed):
    """A token as it may be shown: when it was issued, when it ends (both UTC), and the seconds that remain.

    ``end_is_known`` is false for a pasted token that does not tell; its times are then beyond any use.
    """

    issued_at: datetime
    expires_at: datetime
    remaining_s: float
    renewed: bool
    end_is_known: bool = True

    def __str__(self) -> str:
        if not self.end_is_known:
            return "OK, there is a pasted token (SAC_TOKEN); it does not say when it ends"
        minutes, seconds = divmod(int(self.remaining_s), 60)
        return f"OK, the token is valid until {self.expires_at:%H:%M:%S} UTC ({minutes} min {seconds} s)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001, ARG002 - IPython's signature
        printer.text(str(self))

    def _preview(self) -> Preview:
        facts = {
            "issued": f"{self.issued_at:%Y-%m-%d %H:%M:%S} UTC",
            "valid until": f"{self.expires_at:%Y-%m-%d %H:%M:%S} UTC" if self.end_is_known else "it does not say",
            "remaining": f"{self.remaining_s:.0f} s" if self.end_is_known else "it does not say",
            "renewed just now": "yes" if self.renewed else "no",
        }
        return fact_table("The token", facts)


class Tenant(Previewed):
    """One tenant, connected; made by ``connect()``. A context manager: leaving it closes the connections.

    It may be shared between threads.
    """

    __module__ = "sacnb"

    def __init__(self, connection: Connection, sandbox: Sandbox | None = None, spec: ConnectSpec | None = None) -> None:
        self._connection = connection
        self._sandbox = sandbox
        self._spec = spec or ConnectSpec.of(connection.settings)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A tenant is not pickled. Send tenant.spec to the worker, and call sacnb.connect(spec) there.")

    def __repr__(self) -> str:
        return f"Tenant({self._connection.tenant_host!r})"

    def _preview(self) -> Preview:
        """Nothing of it changes from run to run, or tells who the client is."""
        kind = "embedded sandbox" if self._connection.source == "sandbox" else "SAP Analytics Cloud"
        facts = {
            "tenant": self._connection.tenant_host,
            "kind": kind,
            "sign-in": self.settings.auth.replace("_", " "),
            "replay": self.settings.replay,
            "next": "models(), model(id), explore()",
        }
        return fact_table(f"Tenant {self._connection.tenant_host}", facts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """What this tenant was connected with; its secrets do not show."""
        return self._connection.settings

    @property
    def spec(self) -> ConnectSpec:
        """The settings without secrets, to be pickled to a worker process that calls ``sacnb.connect(spec)``."""
        return self._spec

    @property
    def telemetry(self) -> Telemetry:
        """Counters and events of this connection: ``tenant.telemetry.summary()``. Nothing of it is sent anywhere."""
        return self._connection.context.telemetry

    @property
    def cache(self) -> Cache:
        """Where this tenant's results are kept."""
        return self._connection.cache

    @property
    def sandbox(self) -> Sandbox | None:
        """The embedded sandbox this tenant is, which can be told to misbehave; ``None`` for a real tenant."""
        return self._sandbox

    def models(self, namespace: str = DEFAULT_NAMESPACE) -> pl.DataFrame:
        """The models that SAC offers to this client: ``id``, ``name``, ``description``, all String, in SAC's order.

        ``name`` may occur twice; ``id`` is what ``model()`` wants. Raises AuthError and RequestError.
        """
        import polars as pl

        entries = list_models(self._connection, namespace)
        rows = [(entry.id, entry.name, entry.description) for entry in entries]
        return pl.DataFrame(rows, schema=dict.fromkeys(("id", "name", "description"), pl.String), orient="row")

    def model(self, model_id: str, namespace: str = DEFAULT_NAMESPACE) -> Model:
        """The model with this id; SAC is asked when something of it is looked at, and not before."""
        return Model(self._connection, model_id, namespace)

    def explore(self, model_id: str | None = None) -> Explorer:
        """An explorer for a notebook: choose a model and what to see of it, and copy the code; see ``Explorer``.

        Raises MissingExtraError where the extra ``notebook`` is not installed.
        """
        return frontend().Explorer(self, model_id)

    @overload
    def sql(
        self,
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        limit: int | None = None,
        decimals: bool = False,
        lazy: Literal[False] = False,
        large_rows: int | None = 1_000_000,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> pl.DataFrame: ...

    @overload
    def sql(
        self,
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        limit: int | None = None,
        decimals: bool = False,
        lazy: Literal[True],
        large_rows: int | None = 1_000_000,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> pl.LazyFrame: ...

    def sql(
        self,
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        limit: int | None = None,
        decimals: bool = False,
        lazy: bool = False,
        large_rows: int | None = 1_000_000,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> pl.DataFrame | pl.LazyFrame:
        """The answer to an SQL query (of polars' kind) over models, which are its tables by their ids or names.

            sac.sql("select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date >= :start group by Sector",
                    {"start": "201001"})

        Filters, columns and limits go to SAC as in ``Model.scan``; sums, joins and the rest are done here.

        Args:
            query: One statement. Names with a blank or another sign stand in double quotes.
            parameters: Values of ``:name`` in the query: text, numbers, dates, or a list of them after ``IN``.
            limit: The most rows to give.
            decimals: Measures as exact Decimals, instead of Float64.
            lazy: A LazyFrame, which asks SAC when it is collected, and about whose size nobody is warned.
            large_rows: From how many rows on it is worth a warning that a query needs every row of a model, for which
                SAC is asked beforehand; None asks and warns never.
            namespace: The namespace of the models.

        Raises UnknownNameError for a model or column that does not exist, with the nearest names; QueryError for what
        polars cannot run; and what ``fetch`` raises. Warns with LargeScanWarning.
        """
        from sacnb._tenant.sql import SqlQuery

        found = SqlQuery(self._connection, query, parameters or {}, namespace=namespace, decimals=decimals)
        return found.frame(limit) if lazy else found.collect(limit, large_rows=large_rows)

    def explain(
        self,
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        limit: int | None = None,
        count: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Explanation:
        """What SAC would be asked for an SQL query, and which conditions stay here; with ``count`` also how many rows.

        Raises what ``sql`` raises before it asks for facts.
        """
        from sacnb._tenant.sql import SqlQuery

        found = SqlQuery(self._connection, query, parameters or {}, namespace=namespace, decimals=False)
        return found.explain(limit, count=count)

    def authenticate(self) -> TokenStatus:
        """Make sure that there is a valid token, and say until when. Raises RefreshError."""
        result = self._connection.context.guard.ensure()
        return self._status(renewed=result.refresh_applied)

    def renew_token(self) -> TokenStatus:
        """Ask for a new token now, whatever the age of the present one. Raises RefreshError."""
        self._connection.context.guard.force()
        return self._status(renewed=True)

    def _status(self, *, renewed: bool) -> TokenStatus:
        guard, now = self._connection.context.guard, self._connection.context.session.now()
        token = guard.peek() or guard.ensure().token
        return TokenStatus(token.issued_at, token.expires_at, token.remaining_s(now), renewed, token.end_is_known)

    def read(self, path: str, operation: str = "read") -> bytes:
        """The body of a GET of any path of this tenant, authorised and retried like everything else.

        Raises AuthError and RequestError.
        """
        url = self._connection.url(path)
        return self._connection.context.session.fetch("GET", url, operation=operation).body

    def close(self) -> None:
        """Close the connections. The embedded sandbox stays until the process ends, for others that use it."""
        self._connection.context.session.close()
