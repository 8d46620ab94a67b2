"""A local SAC tenant for trials and tests, with misbehaviours that can be switched on by name.

    with sacnb.sandbox.start() as sandbox:
        sandbox.tenant_url, sandbox.token_url, sandbox.client_id, sandbox.client_secret
        sandbox.misbehave("throttle_seconds", times=2, on="facts")

Models: ``US_EMPLOYMENT``, ``PLANNING``, ``SCALE`` and ``EDM_TYPES``; by their ids alone, in no list, also ``RECORDS``
(several records for one key) and ``HIERARCHIES`` (other forms of hierarchies and dates).

The sandbox serves what SAP documents for OAuth and the Data Export Service. It imports nothing else of sacnb, so a
wrong path or parameter cannot be wrong on both sides. Where SAP's documentation is silent, the sandbox follows reports
from live tenants or the OData standard; such places are marked "unconfirmed".
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sacnb.sandbox.journal import SeenRequest
from sacnb.sandbox.misbehaviours import COMMON_OPTIONS, MISBEHAVIOURS, OPTIONS, Misbehaviour

if TYPE_CHECKING:
    from sacnb.sandbox.model import Dimension, Model, dimension, table_model
    from sacnb.sandbox.schema import Column
    from sacnb.sandbox.server import Sandbox

__all__ = [
    "COMMON_OPTIONS",
    "MISBEHAVIOURS",
    "OPTIONS",
    "Column",
    "Dimension",
    "Misbehaviour",
    "Model",
    "Sandbox",
    "SeenRequest",
    "dimension",
    "serve",
    "start",
    "table_model",
]


_TICK_S = 0.5


def _utc_now() -> datetime:
    return datetime.now(UTC)


def start(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    scale_rows: int = 100_000,
    seed: int = 0,
    models: Iterable[Model] = (),
    misbehaviours: Iterable[str | Mapping[str, Any]] = (),
    token_lifetime_s: float = 3600,
    latency_s: float = 0.0,
    client_id: str | None = None,
    client_secret: str | None = None,
    users: Mapping[str, str] | None = None,
    max_page_size: int = 100_000,
    max_url_chars: int = 8192,
    memory_bytes: int = 256 << 20,
    list_live: bool = False,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = _utc_now,
) -> Sandbox:
    """Start a sandbox tenant in a thread of this process.

    Args:
        host: the address to listen on; any address but loopback opens the sandbox to the network.
        port: the port to listen on; 0 takes a free one.
        scale_rows: number of rows of the model ``SCALE``. Rows are computed on request, so many rows cost no memory.
        seed: seed of the values in ``SCALE``.
        models: models to serve beside the built-in ones, made by ``table_model`` (and ``dimension``).
        misbehaviours: misbehaviours to switch on at the start: names, or mappings with ``name`` and options.
        token_lifetime_s: lifetime of a token, in seconds.
        latency_s: delay of every answer, in seconds.
        client_id: the OAuth client's id; generated if not given.
        client_secret: the OAuth client's secret; generated if not given.
        users: names and passwords of the named users who can log in; by default ``planner`` and ``controller``, whose
            passwords are their names.
        max_page_size: maximum number of rows on a page, whatever ``pagesize`` says; SAC's own limit is not published.
        max_url_chars: maximum length of path and query; longer ones get a 414. SAC's own limit is not published.
        memory_bytes: approximate size of the cache of pages and selections.
        list_live: list ``LIVE_SALES`` and ``SEAMLESS_PLAN``, which SAC does not export (a live connection; data in
            Datasphere). Their ids are known in any case.
        clock: monotonic seconds, for the age of tokens.
        now: the time with its zone, for the ``Date`` header and the log.

    Raises:
        ImportError: the extra ``sandbox`` is not installed.
        OSError: the sandbox cannot listen on the address.
        ValueError: a misbehaviour or an option does not exist.
    """
    _require_extra()
    from sacnb.sandbox.login import USERS
    from sacnb.sandbox.server import Sandbox

    return Sandbox(
        host=host,
        port=port,
        scale_rows=scale_rows,
        seed=seed,
        models=models,
        misbehaviours=misbehaviours,
        token_lifetime_s=token_lifetime_s,
        latency_s=latency_s,
        client_id=client_id,
        client_secret=client_secret,
        users=USERS if users is None else users,
        max_page_size=max_page_size,
        max_url_chars=max_url_chars,
        memory_bytes=memory_bytes,
        list_live=list_live,
        clock=clock,
        now=now,
    )


def serve(*, on_ready: Callable[[Sandbox], None], **options: Any) -> None:
    """Run a sandbox in the foreground until SIGINT or SIGTERM; ``options`` are those of ``start``.

    Call ``on_ready`` once the sandbox listens, and print nothing. Must run in the main thread, where signals arrive.
    The previous signal handlers are restored at the end.
    """
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with start(**options) as sandbox:
        try:
            for number in before:
                signal.signal(number, lambda *_: stop.set())
            on_ready(sandbox)
            while not stop.wait(_TICK_S):  # on Windows, Ctrl-C does not interrupt a wait without a timeout
                continue
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _require_extra() -> None:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'The sandbox needs {error.name}, which is not installed. Run: pip install "sacnb[sandbox]"',
            name=error.name,
        ) from error


def __getattr__(name: str) -> Any:
    """Load the names that need polars or the extra on first use."""
    if name in {"Dimension", "Model", "dimension", "table_model"}:
        _require_extra()
        from sacnb.sandbox import model

        return getattr(model, name)
    if name == "Column":
        from sacnb.sandbox.schema import Column

        return Column
    if name == "Sandbox":
        _require_extra()
        from sacnb.sandbox.server import Sandbox

        return Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
