"""A connected tenant."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload

from sacnb._arguments import callback, flag, required_text, seconds, text
from sacnb._endpoints import DEFAULT_NAMESPACE
from sacnb._frontend import frontend
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._slices.spec import ConnectSpec
from sacnb._tenant.connection import (
    Connection,
    TableKind,
    TokenStatus,
    entries_frame,
    list_models,
    list_tables,
    read_table,
    table_frame,
    table_kind,
    write_rows,
)
from sacnb._tenant.model import Model
from sacnb.errors import QueryError

if TYPE_CHECKING:
    import os

    import polars as pl

    from sacnb._actions.multi_action import MultiAction
    from sacnb._admin.admin import Admin
    from sacnb._auth.named_user_flow import Identity
    from sacnb._cache.store import Cache
    from sacnb._frontend import Explorer
    from sacnb._pull.progress import ProgressOption
    from sacnb._settings import Settings
    from sacnb._tenant.scan import Explanation
    from sacnb._wire.telemetry import Telemetry
    from sacnb._write.report import WriteReport
    from sacnb.sandbox import Sandbox


def models_with(search: str, models: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of *models* with the text *search* in their id, name or description, whatever its case."""
    import polars as pl

    from sacnb._frames.preview import shown_frame

    wanted = search.casefold()
    found = [any(wanted in (cell or "").casefold() for cell in row) for row in models.rows()]
    return shown_frame(models.filter(pl.Series(found, dtype=pl.Boolean)), "model", whole=("id",))


class Tenant(Previewed):
    """One tenant, connected; made by ``connect()``. Threads may share it; leaving its context ends connections."""

    __module__ = "sacnb"

    def __init__(self, connection: Connection, sandbox: Sandbox | None = None, spec: ConnectSpec | None = None) -> None:
        self._connection = connection
        self._sandbox = sandbox
        self._spec = spec or ConnectSpec.of(connection.settings)
        self._model_ids: tuple[str, ...] = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A tenant is not pickled. Send tenant.spec to the worker, and call sacnb.connect(spec) there.")

    def __repr__(self) -> str:
        return f"Tenant({self._connection.tenant_host!r})"

    def _preview(self) -> Preview:
        """Show only what is the same in each run and does not identify the client."""
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
        """The settings of this connection; secrets are masked."""
        return self._connection.settings

    @property
    def spec(self) -> ConnectSpec:
        """The settings without secrets, to be pickled to a worker process that calls ``sacnb.connect(spec)``."""
        return self._spec

    @property
    def telemetry(self) -> Telemetry:
        """Counters and events of this connection: ``tenant.telemetry.summary()``. They stay on this machine."""
        return self._connection.context.telemetry

    @property
    def cache(self) -> Cache:
        """The cache of this tenant's results."""
        return self._connection.cache

    @property
    def admin(self) -> Admin:
        """Users, teams, import jobs, logs and files as frames, read only: ``sac.admin.users()``."""
        from sacnb._admin.admin import Admin

        return Admin(self._connection.context.session)

    @property
    def sandbox(self) -> Sandbox | None:
        """The embedded sandbox, which can be told to misbehave; ``None`` for a real tenant."""
        return self._sandbox

    def models(self, search: str = "", *, namespace: str = DEFAULT_NAMESPACE) -> pl.DataFrame:
        """Return the models SAC offers to this client: ``id``, ``name``, ``description``, all String, in SAC's order.

        With *search*, only models with this text in one of the three, in upper or lower case. ``name`` may occur
        twice; pass ``id`` to ``model()``. Raises AuthError and RequestError.
        """
        wanted = text("search", search) or ""
        entries = list_models(self._connection, text("namespace", namespace) or DEFAULT_NAMESPACE)
        self._model_ids = tuple(entry.id for entry in entries)
        return models_with(wanted, entries_frame(entries))

    def model(self, model_id: str, namespace: str = DEFAULT_NAMESPACE, *, version: str | None = None) -> Model:
        """Return the model with this id; nothing is requested until something of it is used.

        With *version*, such as "public.Actual", every query of the model has this version only, unless its ``where``
        names versions.
        """
        return Model(self._connection, model_id, namespace, version=version)

    def tables(self, kind: TableKind = "dimension") -> pl.DataFrame:
        """Return the public dimensions, currency or unit tables of the tenant: ``id``, ``name``, ``description``.

        Raises QueryError where SAC offers none of this kind to the client; AuthError and RequestError.
        """
        from sacnb._frames.preview import shown_frame

        return shown_frame(entries_frame(list_tables(self._connection, table_kind(kind))), "table", whole=("id",))

    def table(self, table_id: str, kind: TableKind = "dimension") -> pl.DataFrame:
        """Return the rows of a public dimension, a currency or a unit table.

        A public dimension has the columns of ``Model.members``. Of the others all columns are String, except those with
        numbers only (Float64).

        Raises UnknownNameError for an unknown table, and what ``tables`` raises.
        """
        from sacnb._frames.preview import shown_frame
        from sacnb._tenant.members import members_frame

        kind = table_kind(kind)
        rows = read_table(self._connection, kind, required_text("table_id", table_id))
        return members_frame(rows) if kind == "dimension" else shown_frame(table_frame(rows), "row")

    def write_table(
        self,
        table_id: str,
        frame: object,
        kind: TableKind = "dimension",
        *,
        replace: bool = False,
        confirm: int | None = None,
        mapping: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        verify: bool = True,
        audit: str | os.PathLike[str] | None = None,
        progress: ProgressOption = "auto",
    ) -> WriteReport:
        """Add or change rows of a public dimension, a currency or a unit table, all or none; checked as in a write.

        Columns are those of ``table()``. Attributes of a public dimension that the frame does not have stay as they
        are; cells that are null are deleted. Rows are not deleted, and hierarchies not written.

        Args:
            table_id: The table, as ``tables()`` lists it.
            frame: As for ``Model.write``.
            kind: "dimension", "currency" or "unit".
            replace: Delete all rows of a currency table first.
            confirm: With *replace*, the number of rows that are deleted; a dry run and the refusal tell it.
            mapping: As for ``Model.write``, as are the rest.
            defaults: Values of columns that the frame does not have.
            dry_run: Go as far as SAC's validation.
            verify: Read the rows back and compare them.
            audit: A file to append a line to.
            progress: Called after each step.

        Raises UnknownNameError for an unknown table, and what ``Model.write`` raises. There is no undo.
        """
        options = {"mapping": mapping, "defaults": defaults, "confirm": confirm, "audit": audit}
        return write_rows(
            self._connection,
            (table_kind(kind), required_text("table_id", table_id)),
            frame,
            replaces=flag("replace", replace),
            progress=callback("progress", progress, allowed=("auto",)),
            options={**options, "dry_run": dry_run, "verify": verify},
        )

    def __getitem__(self, model_id: str) -> Model:
        """Return the model with this id, as ``model()`` does."""
        return self.model(model_id)

    # Otherwise Python would read a tenant as a list, and ask for the models 0, 1, 2.
    __iter__ = None
    __contains__ = None

    def _ipython_key_completions_(self) -> list[str]:
        """Return ids for the Tab key: those that ``models()`` returned. Tab sends no request."""
        return list(self._model_ids)

    def multi_action(self, action_id: str) -> MultiAction:
        """Return a multi-action, by the id in its *Starter API URL*; named users only may run it (``login()``)."""
        from sacnb._actions.multi_action import MultiAction

        return MultiAction.of(self._connection.context.session, action_id)

    def explore(self, model_id: str | None = None) -> Explorer:
        """Return a notebook widget to choose a model, look at its data and copy the code; see ``Explorer``.

        Raises MissingExtraError if the extra ``notebook`` is not installed.
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
        """Run an SQL query (polars' dialect) whose tables are models, by id or name.

            sac.sql("select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date >= :start group by Sector",
                    {"start": "201001"})

        Filters, columns and limits are pushed down to SAC as in ``Model.scan``; polars does sums, joins and the rest.

        Args:
            query: One statement. Put names with blanks or special characters in double quotes.
            parameters: Values of ``:name`` in the query: text, numbers, dates, or a list of them after ``IN``.
            limit: The maximum number of rows to return.
            decimals: Return measures as exact Decimals instead of Float64.
            lazy: Return a LazyFrame, which sends its requests when it is collected and does not warn of its size.
            large_rows: Warn if a query needs every row of a model with at least so many rows; SAC is asked for the
                count first. ``None`` neither asks nor warns.
            namespace: The namespace of the models.

        Raises UnknownNameError for an unknown model or column, with the nearest names; QueryError for a statement that
        polars cannot run; and what ``fetch`` raises. Warns with LargeScanWarning.
        """
        from sacnb._tenant.sql import SqlQuery

        found = SqlQuery(self._connection, query, parameters, namespace=namespace, decimals=decimals)
        return found.frame(limit) if flag("lazy", lazy) else found.collect(limit, large_rows=large_rows)

    def explain(
        self,
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        limit: int | None = None,
        count: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Explanation:
        """Return the plan of an SQL query: what SAC is asked, what polars does, and with ``count`` the number of rows.

        Raises what ``sql`` raises before it requests facts.
        """
        from sacnb._tenant.sql import SqlQuery

        found = SqlQuery(self._connection, query, parameters, namespace=namespace, decimals=False)
        return found.explain(limit, count=count)

    def authenticate(self) -> TokenStatus:
        """Make sure that there is a valid token and return its status. Raises RefreshError."""
        result = self._connection.context.guard.ensure()
        return self._status(renewed=result.refresh_applied)

    def renew_token(self) -> TokenStatus:
        """Request a new token now, whatever the age of the present one. Raises RefreshError."""
        self._connection.context.guard.force()
        return self._status(renewed=True)

    def login(self, *, keep: bool = False, paste: bool | None = None, timeout_s: float = 300.0) -> Identity:
        """Log a named user in with the browser, and return who it is; needs ``auth="authorization_code"``.

        A link is printed, and opened where there is a browser on this machine. Without one (JupyterHub, ssh), or with
        ``paste=True``, paste the address of the page that your browser ends at, even if it shows an error.

        Args:
            keep: Keep the login in the system's keyring, for later programs with the same settings. Otherwise it ends
                with this program.
            paste: Ask for the address, or (False) wait for the browser; by default what fits the machine.
            timeout_s: The seconds to wait for the browser.

        Raises AuthError where nobody logs in, SAC refuses, or another user logs in than before; RefreshError where the
        token endpoint refuses; SettingsError where the login cannot be kept.
        """
        return self._login(keep=flag("keep", keep), paste=paste, timeout_s=timeout_s)

    def _login(self, *, paste: bool | None, timeout_s: float, **ways: Any) -> Identity:
        """Log in as ``login`` does; *ways* to show, ask and browse replace those of ``log_in``."""
        from sacnb._auth.named_user_flow import log_in

        log_in(
            self._connection.context.guard,
            to=self._connection.tenant_host,
            paste=None if paste is None else flag("paste", paste),
            timeout_s=seconds("timeout_s", timeout_s) or 0.0,
            **ways,
        )
        return self.whoami()

    def logout(self) -> bool:
        """Forget the login of the named user, here and in the keyring; return whether there was one.

        SAC is not told: it publishes no way to end a login early. An access token ends by itself within the hour.
        """
        from sacnb._auth.named_user_flow import user_source

        guard = self._connection.context.guard
        was_there = user_source(guard).forget()
        if (token := guard.peek()) is not None:
            guard.reject(token)
        return was_there

    def whoami(self) -> Identity:
        """Return who this connection acts as, as its token says; gets a token if need be. Raises RefreshError."""
        from sacnb._auth.named_user_flow import identity

        return identity(self._connection.context.guard, self.settings, self._connection.tenant_host)

    def _status(self, *, renewed: bool) -> TokenStatus:
        guard, now = self._connection.context.guard, self._connection.context.session.now()
        token = guard.peek() or guard.ensure().token
        return TokenStatus(token.issued_at, token.expires_at, token.remaining_s(now), renewed, token.end_is_known)

    def read(self, path: str, operation: str = "read") -> bytes:
        """GET a path of this tenant, authorised and retried like every request, and return the body.

        Raises AuthError and RequestError.
        """
        path = required_text("path", path)
        if not path.startswith("/"):
            raise QueryError(f"A path of the tenant begins with '/', got {path!r}.", hint="For example: /api/v1/csrf")
        url = self._connection.url(path)
        named = required_text("operation", operation)
        return self._connection.context.session.fetch("GET", url, operation=named, is_bulk=True).body

    def close(self) -> None:
        """Close the connections. The embedded sandbox runs until the process ends, because other tenants may use it."""
        self._connection.context.session.close()
