"""Connect to a tenant."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from sacnb._cache.store import Cache
from sacnb._endpoints import FACT_DATA
from sacnb._fork import renew_after_fork
from sacnb._http import seal
from sacnb._logs import CellHandler, JsonLines, print_warnings
from sacnb._pull.progress import in_notebook
from sacnb._redact import RedactingFilter
from sacnb._settings import SANDBOX, Secret, Settings
from sacnb._slices.spec import ConnectSpec
from sacnb._tenant.connection import Connection, read_metadata
from sacnb._tenant.facts import Facts
from sacnb._tenant.tenant import Tenant
from sacnb._wire.context import build_context
from sacnb.errors import AuthError, MissingExtraError, QueryError, SacWarning, SettingsError, warn_user

if TYPE_CHECKING:
    import pyarrow as pa

    from sacnb._slices.slice import Slice
    from sacnb.replay import ReplaySession
    from sacnb.sandbox import Sandbox

_log = logging.getLogger("sacnb")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _sealed(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Clear the locals of *function* and all it called before an error leaves it.

    Tools that show locals below a traceback (rich, IPython, Sentry) would show the secrets among the arguments.
    """

    @functools.wraps(function)
    def sealed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure = error
        finally:
            del args, kwargs
        seal(failure)
        raise failure

    return sealed


@_sealed
def connect(
    tenant_url: str | ConnectSpec | None = None,
    *,
    profile: str | None = None,
    token_url: str | None = None,
    client_id: str | None = None,
    client_secret: str | Secret | None = None,
    auth: str | None = None,
    redirect_uri: str | None = None,
    token: str | Secret | None = None,
    token_lifetime_s: float | None = None,
    refresh_margin_s: float | None = None,
    connect_timeout_s: float | None = None,
    read_timeout_s: float | None = None,
    deadline_s: float | None = None,
    max_attempts: int | None = None,
    page_size: int | None = None,
    streams: int | None = None,
    max_answer_mb: int | None = None,
    max_document_mb: int | None = None,
    max_list_rows: int | None = None,
    max_empty_pages: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_max_age_s: float | None = None,
    cache_history_mb: float | None = None,
    ca_bundle: str | os.PathLike[str] | None = None,
    replay: str | None = None,
    replay_cassette: str | os.PathLike[str] | None = None,
    log: str | None = None,
    log_format: str | None = None,
    dotenv_path: str | os.PathLike[str] | None = None,
) -> Tenant:
    """Connect to a tenant: arguments, then the environment, then ``.env``; ``"sandbox"`` is the embedded one.

    Each argument is also a variable, in upper case after ``SAC_``; ``sacnb init`` asks for those that are needed.
    Nothing is requested yet: ``authenticate()`` or the first query does that.

    ``profile`` names a tenant that ``sacnb init --profile NAME`` wrote. Tenant and client then come from it or from
    arguments, no ``.env`` is looked for, and the environment only fills in other settings. ``""`` means no profile,
    whatever SAC_PROFILE says.

    With ``auth="authorization_code"`` a named user works: ``tenant.login()`` opens the browser, or ``sacnb login``
    keeps a login in the system's keyring, where it is found. Nothing else ever opens a browser.

    With ``replay="replay"``, or within ``sacnb.replay.cassette()``, the cassette answers instead of a tenant, and no
    other setting is needed. A replay runs at the time of its recording. Replays and recordings cache results in a
    folder of their own.

    In a worker process, pass the ``spec`` of a tenant that is connected elsewhere: ``sacnb.connect(spec)`` has the same
    settings and reads the secret in the worker. Further arguments replace those of the spec.

    Raises SettingsError with all problems at once; MissingExtraError for the sandbox or a cassette without its extra;
    ReplayError for a missing cassette, or if another one is in use.
    """
    in_use = _active()
    if in_use is not None and replay_cassette is not None:
        in_use.must_be(replay_cassette)
    given: dict[str, Any] = {
        "profile": profile,
        "tenant_url": tenant_url,
        "token_url": token_url,
        "client_id": client_id,
        "client_secret": client_secret,
        "auth": auth,
        "redirect_uri": redirect_uri,
        "token": token,
        "token_lifetime_s": token_lifetime_s,
        "refresh_margin_s": refresh_margin_s,
        "connect_timeout_s": connect_timeout_s,
        "read_timeout_s": read_timeout_s,
        "deadline_s": deadline_s,
        "max_attempts": max_attempts,
        "page_size": page_size,
        "streams": streams,
        "max_answer_mb": max_answer_mb,
        "max_document_mb": max_document_mb,
        "max_list_rows": max_list_rows,
        "max_empty_pages": max_empty_pages,
        "cache_dir": cache_dir,
        "cache_max_age_s": cache_max_age_s,
        "cache_history_mb": cache_history_mb,
        "ca_bundle": ca_bundle,
        "replay": replay if replay is not None or in_use is None else in_use.mode,
        "replay_cassette": replay_cassette,
        "log": log,
        "log_format": log_format,
    }
    if isinstance(tenant_url, ConnectSpec):
        of_spec = tenant_url.for_connect(profile)
        spec_dotenv = of_spec.pop("dotenv_path")
        dotenv_path = dotenv_path if dotenv_path is not None else spec_dotenv
        given["tenant_url"] = None
        given |= {name: value for name, value in of_spec.items() if given[name] is None}
    try:
        settings = Settings.resolve(dotenv_path=dotenv_path, **given)
    except SettingsError as error:
        if isinstance(tenant_url, ConnectSpec):
            named = dict(tenant_url.arguments).get("profile")
            is_gone = named is not None and not given["profile"]
            origin = f" It was made with the profile {named!r}, which this machine does not have." if is_gone else ""
            error.add_note(
                "A ConnectSpec carries no secret: set SAC_CLIENT_SECRET (or SAC_TOKEN) in the worker's environment, or "
                f"pass it: sacnb.connect(spec, client_secret=...).{origin}"
            )
        raise
    return connect_with(settings)


def facts_of(source: object, *, tenant_url: str | None = None, profile: str | None = None, **question: Any) -> Facts:
    """Return a query as it is, or that of the model with an id, by the arguments of ``connect()`` and ``facts()``.

    Raises QueryError for anything else, and for arguments beside a query; and what ``connect`` and ``facts`` raise.
    """
    if isinstance(source, Facts):
        beside = [name for name, value in {"tenant_url": tenant_url, "profile": profile, **question}.items() if value]
        if beside:
            raise QueryError(
                f"{', '.join(beside)} cannot be given beside a query, which has a tenant and a filter of its own.",
                hint="Pass the id of a model, or make the query with them: model.facts(...).",
            )
        return source
    if not isinstance(source, str):
        raise QueryError(
            f"Expected a query or the id of a model, got {type(source).__name__}.",
            hint="Pass sacnb.connect().model(id).facts(...), or the id.",
        )
    return connect(tenant_url, profile=profile).model(source).facts(**question)


def read_slice(piece: Slice, *, tenant: Tenant | None = None) -> pa.RecordBatchReader:
    """Read the rows of a slice as Arrow record batches, a page at a time, in bounded memory.

    The process connects once for all slices of a tenant: as the slice says, with the secret of its own environment,
    profile or ``.env``; or pass the *tenant* to read from. The model's columns are read again for each slice.

    Several records for one key are answered as ``facts(..., repeated=)`` says.

    Raises QueryError for a slice of another release of sacnb; BadAnswer where the model has other columns than when the
    slice was made; SettingsError where this process has no secret; and what ``Model.schema`` raises. Reading raises
    what ``Facts.stream`` raises, and BadAnswer where the rows are not as many as SAC counted when the slice was made.
    """
    from sacnb._slices.read import read  # loads what pulls
    from sacnb._slices.slice import Slice

    if not isinstance(piece, Slice):
        raise QueryError(
            f"read_slice() reads a Slice, got {type(piece).__name__}.", hint="facts(...).partitions(n) makes them."
        )
    if tenant is not None and not isinstance(tenant, Tenant):
        raise QueryError(f"tenant must be a Tenant, got {type(tenant).__name__}.", hint="sacnb.connect() returns one.")
    connection = (_workers.tenant(piece.spec) if tenant is None else tenant)._connection
    query = piece.query
    try:
        metadata = read_metadata(connection, query.provider_id, query.namespace)
    except AuthError:
        _workers.forget(piece.spec)  # the secret may be replaced before the slice is tried again
        raise
    piece.refuse_changed(metadata.schema(query.provider_id, FACT_DATA, query.namespace))
    return read(piece, connection.context, connection.tenant_url)


class _Workers:
    """The tenants that this process reads slices from, one for each set of settings: one token, whatever the slices."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: dict[ConnectSpec, Tenant] = {}
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Take a new lock: another thread may have held the old one at the fork, and is not in the child."""
        self._lock = threading.Lock()

    def tenant(self, spec: ConnectSpec) -> Tenant:
        """Return the tenant with these settings; the same one until it is forgotten."""
        with self._lock:
            if spec not in self._tenants:
                self._tenants[spec] = connect(spec)
            return self._tenants[spec]

    def forget(self, spec: ConnectSpec) -> None:
        """Connect anew the next time."""
        with self._lock:
            self._tenants.pop(spec, None)


_workers = _Workers()


def connect_with(settings: Settings, *, sandbox: Sandbox | None = None, **engine: Any) -> Tenant:
    """Connect with resolved settings; *sandbox* is used if they say ``sandbox``.

    *engine* are clocks, sleep and randomness for ``build_context``.
    """
    _set_up_logging(settings.log, settings.log_format)
    spec = ConnectSpec.of(settings)
    if settings.sources:
        _log.info("Settings: %s.", "; ".join(_by_source(settings.sources)))
    cassette = None if settings.replay == "off" else _start_for(settings)
    if cassette is not None:
        settings = replace(settings, cache_dir=cassette.cache_dir)
        if cassette.mode == "replay":  # nothing of this machine is used, so nothing of it is shown
            settings = replace(settings, ca_bundle=None, notes=(), warnings=(), sources={}, dotenv_path=None)
        engine = {**cassette.engine(), **engine}
    for warning in settings.warnings:
        warn_user(warning, SacWarning)
    for note in settings.notes:
        _log.info("%s", note)
    if settings.is_sandbox:
        sandbox = sandbox or embedded_sandbox()
        settings = settings.with_sandbox(
            tenant_url=sandbox.tenant_url,
            token_url=sandbox.token_url,
            client_id=sandbox.client_id,
            client_secret=sandbox.client_secret,
        )
    if cassette is not None:
        cassette.learn_settings(settings)
    # A cassette recorded from the sandbox counts as the sandbox.
    is_sandbox = settings.is_sandbox if cassette is None else cassette.source == "sandbox"
    context = build_context(settings, **engine)
    connection = Connection(
        context=context,
        settings=settings,
        cache=Cache(settings.cache_dir, history_bytes=int(settings.cache_history_mb * 1_000_000)),
        tenant_host=SANDBOX if is_sandbox else urlsplit(settings.tenant_url).netloc,
        source="sandbox" if is_sandbox else "sac",
    )
    return Tenant(connection, sandbox, spec)


def _by_source(sources: Mapping[str, str]) -> Iterator[str]:
    for source in dict.fromkeys(sources.values()):
        yield f"{', '.join(name for name, other in sources.items() if other == source)} from {source}"


class _Embedded:
    """The sandbox of this process. A forked child uses its parent's, whose thread and polars do not survive a fork."""

    def __init__(self) -> None:
        self.sandbox: Sandbox | None = None
        self.lock = threading.Lock()

    def after_fork(self) -> None:
        """Take a new lock: another thread may have held the old one at the fork, and is not in the child."""
        self.lock = threading.Lock()


_embedded = _Embedded()
renew_after_fork(_embedded)


def embedded_sandbox() -> Sandbox:
    """Return the process's sandbox, started on first use and stopped when the process ends."""
    with _embedded.lock:
        if _embedded.sandbox is None:
            _embedded.sandbox = start_sandbox()
            atexit.register(_embedded.sandbox.close)
        return _embedded.sandbox


def start_sandbox(**options: Any) -> Sandbox:
    """Start a sandbox. Raises MissingExtraError if the extra is not installed."""
    from sacnb import sandbox

    try:
        return sandbox.start(**options)
    except ImportError as error:
        raise MissingExtraError("sandbox", "The embedded tenant") from error


def _active() -> ReplaySession | None:
    """Return the cassette in use. There is none before the module is loaded, which takes 30 ms of a cold start."""
    replay = sys.modules.get("sacnb.replay.session")
    return None if replay is None else replay.active()


def _is_replay() -> bool:
    return _active() is not None


def _start_for(settings: Settings) -> ReplaySession:
    from sacnb.replay import start_for

    return start_for(settings)


class _Formatter(logging.Formatter):
    """Writes times with their zone, or leaves them out during a replay, whose output is the same each time."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.partition(" ")[2] if _is_replay() else line

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        del datefmt
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")


def _set_up_logging(level: str, log_format: str) -> None:
    """Show log records on stderr, or as text below a cell, unless the program has set up logging itself."""
    _log.setLevel(level.upper())
    if in_notebook():
        print_warnings()
    own = [handler for handler in _log.handlers if not isinstance(handler, logging.NullHandler)]
    for handler in own:
        if getattr(handler, "takes_log_format", False):  # the command line's: it is there before any settings are
            handler.setFormatter(JsonLines(_is_replay) if log_format == "json" else None)
    if own or logging.getLogger().handlers:
        return
    plain = _Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = CellHandler() if in_notebook() and log_format != "json" else logging.StreamHandler()
    handler.setFormatter(JsonLines(_is_replay) if log_format == "json" else plain)
    handler.addFilter(RedactingFilter())
    _log.addHandler(handler)
