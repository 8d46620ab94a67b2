"""A pretend SAC tenant on the loopback interface: for trying things out, for tests, and for breaking on purpose.

    with sacnb.sandbox.start() as sandbox:
        sandbox.tenant_url, sandbox.token_url, sandbox.client_id, sandbox.client_secret
        sandbox.misbehave("throttle_seconds", times=2, on="facts")

It serves what SAP documents for OAuth and the Data Export Service, and imports nothing else of sacnb: a wrong path or
parameter cannot be wrong on both sides. Where SAP says nothing, the sandbox does what others saw on live tenants, or
what the OData standard says; such places are marked "unconfirmed".
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

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
    max_page_size: int = 100_000,
    max_url_chars: int = 8192,
    memory_bytes: int = 256 << 20,
    list_live: bool = False,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = _utc_now,
) -> Sandbox:
    """Start a sandbox tenant in a thread of this process.

    Args:
        host: the address to listen on; anything but loopback shows it to others.
        port: the port to listen on; 0 takes a free one.
        scale_rows: rows of the model ``SCALE``; they are made when asked for, so many cost nothing.
        seed: other seeds give ``SCALE`` other values.
        models: models to offer beside the built-in ones, made by ``table_model`` (and ``dimension``).
        misbehaviours: names, or mappings with ``name`` and options, that are switched on from the start.
        token_lifetime_s: how long tokens live, in seconds.
        latency_s: seconds every answer is held back.
        client_id: the OAuth client's id; made up if not given.
        client_secret: the OAuth client's secret; made up if not given.
        max_page_size: the most rows on a page, whatever ``pagesize`` asks for; SAC's own limit is not published.
        max_url_chars: longer URLs (path and query) get a 414; SAC's own limit is not published.
        memory_bytes: how much may be remembered of pages and selections, roughly.
        list_live: list ``LIVE_SALES``, a model with a live connection; it can be asked for by its id in any case.
        clock: monotonic seconds; tokens age by it.
        now: the time, with its zone, for the ``Date`` header and the log.

    Raises:
        ImportError: the extra ``sandbox`` is not installed.
        OSError: the address cannot be listened on.
        ValueError: a misbehaviour or option that does not exist.
    """
    _require_extra()
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
        max_page_size=max_page_size,
        max_url_chars=max_url_chars,
        memory_bytes=memory_bytes,
        list_live=list_live,
        clock=clock,
        now=now,
    )


def serve(*, on_ready: Callable[[Sandbox], None], **options: Any) -> None:
    """Run a sandbox in the foreground until SIGINT or SIGTERM; ``options`` are those of ``start``.

    Prints nothing: ``on_ready`` is called once the sandbox listens. To be called from the main thread, where signals
    arrive; the handlers that stood before are put back.
    """
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with start(**options) as sandbox:
        try:
            for number in before:
                signal.signal(number, lambda *_: stop.set())
            on_ready(sandbox)
            while not stop.wait(_TICK_S):  # on Windows, a wait without an end is not interrupted by Ctrl+C
                continue
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _require_extra() -> None:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'The sandbox needs an optional part of sacnb ({error.name}). Run: pip install "sacnb[sandbox]"',
            name=error.name,
        ) from error


def __getattr__(name: str) -> Any:
    """The names that need polars or the extra, loaded when they are asked for."""
    if name in {"Dimension", "Model", "dimension", "table_model"}:
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
