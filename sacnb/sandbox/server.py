"""The sandbox tenant, and the HTTP server that it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import polars as pl
from aiohttp import web

from sacnb.sandbox.actions import ActionService
from sacnb.sandbox.app import App
from sacnb.sandbox.export import TOKEN_PATH, ExportService
from sacnb.sandbox.imports import ImportService
from sacnb.sandbox.journal import Journal, SeenRequest
from sacnb.sandbox.login import LoginService
from sacnb.sandbox.misbehaviours import Rules
from sacnb.sandbox.model import Model
from sacnb.sandbox.models import builtin_models
from sacnb.sandbox.oauth import Gate, TokenService, new_client_id, new_client_secret
from sacnb.sandbox.tracking import Tracking, changed_model

__all__ = ["HttpThread", "Sandbox"]

# Generous, so that the application refuses long request lines in SAC's envelope, and not the HTTP parser.
_MAX_LINE_BYTES: Final = 1 << 20
# SAC's limit of an upload is not published; aiohttp's own is 1 MiB.
_MAX_BODY_BYTES: Final = 256 << 20
_SHUTDOWN_S: Final = 0.5
_TURNS: Final = 5


class HttpThread:
    """An HTTP server in a thread with its own event loop, from construction until ``close``."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen on ``host`` and ``port``; port 0 takes a free one. Bodies of requests come as they were sent.

        Raises:
            OSError: the server cannot listen on the address.
        """
        self.host = host
        self.port = port
        self._handler = handler
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sacnb-sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()
        self._raise_failure()

    def close(self) -> None:
        """Stop listening, abort answers on their way, and join the thread; closing twice does nothing.

        Raise the error that stopped the server, if one did.
        """
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()

        def make_request(*parts: Any) -> web.BaseRequest:
            request: Any = web.BaseRequest
            made: web.BaseRequest = request(*parts, loop, client_max_size=_MAX_BODY_BYTES)
            return made

        server = web.Server(
            self._handler,
            request_factory=make_request,
            max_line_size=_MAX_LINE_BYTES,
            access_log=None,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, ssl_context=self._tls).start()
            self.port = runner.addresses[0][1]
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._stop.wait()
            # asyncio sets an accepted connection up over several turns of the loop, and leaks it if the listener closes
            # in between. Let the connections that have arrived get through first; the cleanup closes them.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        finally:
            # Under TLS, closing waits for the client's farewell, which may never come.
            transports = [one.transport for one in server.connections if one.transport is not None]
            await runner.cleanup()
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)  # a transport closes its socket in the next turn


_WORKERS: Final = 2


class Sandbox:
    """A running sandbox tenant. Close it, or use it as a context manager.

    Created by ``sacnb.sandbox.start``, which documents the arguments.
    """

    __module__ = "sacnb.sandbox"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        scale_rows: int,
        seed: int,
        models: Iterable[Model],
        misbehaviours: Iterable[str | Mapping[str, Any]],
        token_lifetime_s: float,
        latency_s: float,
        client_id: str | None,
        client_secret: str | None,
        users: Mapping[str, str],
        max_page_size: int,
        max_url_chars: int,
        memory_bytes: int,
        list_live: bool,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._client_id = client_id or new_client_id()
        self._client_secret = client_secret or new_client_secret()
        self._rules = Rules()
        for one in misbehaviours:
            self.misbehave(**({"name": one} if isinstance(one, str) else one))
        self._journal = Journal()
        self._tokens = TokenService(self._client_id, self._client_secret, lifetime_s=token_lifetime_s, clock=clock)
        self._logins = LoginService(
            self._client_id, users, issue=self._tokens.issue, revoke=self._tokens.revoke_login, clock=clock
        )
        self._tracking = Tracking(now)
        self._export = ExportService(
            [*builtin_models(scale_rows=scale_rows, seed=seed), *models],
            self._rules,
            tracking=self._tracking,
            max_page_size=max_page_size,
            memory_bytes=memory_bytes,
            list_live=list_live,
        )
        self._imports = ImportService(
            models=self._export.models,
            replace_model=self._export.add,
            user_of=self._tokens.user_of,
            now=now,
        )
        self.latency_s = latency_s
        """Delay of every answer in seconds; may be changed at any time, for later requests."""
        self._executor = ThreadPoolExecutor(_WORKERS, thread_name_prefix="sacnb-sandbox-work")
        app = App(
            tokens=self._tokens,
            logins=self._logins,
            export=self._export,
            imports=self._imports,
            actions=ActionService(
                models=self._export.models,
                replace_model=self._export.add,
                is_named_user=self._tokens.is_of_user,
                now=now,
            ),
            gate=Gate(self._tokens, self._journal),
            rules=self._rules,
            journal=self._journal,
            executor=self._executor,
            now=now,
            latency_s=lambda: self.latency_s,
            max_url_chars=max_url_chars,
            change=self.change,
        )
        try:
            self._http = HttpThread(app.handle, host=host, port=port)
        except BaseException:
            self._executor.shutdown()
            raise

    @property
    def tenant_url(self) -> str:
        """The tenant's URL, for ``SAC_TENANT_URL``."""
        host = f"[{self._http.host}]" if ":" in self._http.host else self._http.host
        return f"http://{host}:{self._http.port}"

    @property
    def token_url(self) -> str:
        """The URL of the token endpoint, for ``SAC_TOKEN_URL``."""
        return self.tenant_url + TOKEN_PATH

    @property
    def client_id(self) -> str:
        """The OAuth client's id."""
        return self._client_id

    @property
    def client_secret(self) -> str:
        """The OAuth client's secret, which appears in no ``repr`` and no log."""
        return self._client_secret

    @property
    def counts(self) -> Counter[str]:
        """A snapshot of the counters; an unknown counter reads 0.

        ``requests``, ``<kind>_requests`` (``token_requests``, ``facts_requests``, ...), ``tokens_issued``,
        ``status_<status>``, ``no_answer``, ``rows``, ``sessions_opened``, ``misbehaved_<name>``.
        """
        return self._journal.counts()

    @property
    def log(self) -> tuple[SeenRequest, ...]:
        """The requests, oldest first, without headers and bodies."""
        return self._journal.log()

    def misbehave(self, name: str, **options: Any) -> None:
        """Switch a misbehaviour on, from the next request on; ``sacnb.sandbox.MISBEHAVIOURS`` lists them.

        Raises:
            ValueError: the misbehaviour or an option does not exist.
        """
        self._rules.switch_on(name, options)

    def behave(self, name: str | None = None) -> None:
        """Switch one misbehaviour off, or all of them."""
        self._rules.switch_off(name)

    def revoke_tokens(self) -> None:
        """Revoke all tokens issued so far."""
        self._tokens.revoke_all()

    def end_logins(self) -> None:
        """End the logins of all named users, as an administrator does: their refresh tokens are refused from now on."""
        self._logins.end_all()

    def add_model(self, model: Model) -> None:
        """Serve another model; it replaces a model with the same id."""
        self._export.add(model)

    def private_facts(self, model_id: str, user: str) -> pl.DataFrame:
        """Return what a named user has written into the private version ``private.<user>.Trial`` of a model.

        Raises:
            KeyError: there is no such model.
        """
        model = {one.provider_id: one for one in self._export.models()}[model_id]
        return self._imports.private.of(model, user)

    def change(
        self,
        model_id: str,
        rows: Iterable[Mapping[str, Any]] = (),
        *,
        deleted: Iterable[Mapping[str, Any]] = (),
        dimension: str | None = None,
        append: bool = False,
    ) -> None:
        """Add or replace facts of a model by their key, and delete some; with *dimension* its members.

        ``append`` adds further records for keys that are there already. Whoever tracks changes is told of these.

        Raises:
            ValueError: there is no such model, dimension or column, a row lacks a key, or the rows are computed.
        """
        models = {model.provider_id: model for model in self._export.models()}
        if model_id not in models:
            raise ValueError(f"There is no model {model_id!r}; there is: {', '.join(models)}.")
        self._export.add(changed_model(models[model_id], rows, deleted, dimension=dimension, append=append))

    def expire_subscriptions(self) -> None:
        """Let all subscriptions expire: their delta links are refused from now on."""
        self._tracking.expire()

    def close(self) -> None:
        """Stop the server and its threads; closing twice does nothing."""
        self._http.close()
        self._executor.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Sandbox {self.tenant_url}>"
