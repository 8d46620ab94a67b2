"""An HTTP server in a thread of its own, with its own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

__all__ = ["HttpThread"]

# Longer request lines are refused by the application, in SAC's envelope, and not by the HTTP parser.
_MAX_LINE_BYTES: Final = 1 << 20
_SHUTDOWN_S: Final = 0.5
_TURNS: Final = 5


class HttpThread:
    """Serves ``handler`` from the moment it is made until ``close``."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, host: str, port: int
    ) -> None:
        """Listen on ``host`` and ``port``; port 0 takes a free one.

        Raises:
            OSError: the address cannot be listened on.
        """
        self.host = host
        self.port = port
        self._handler = handler
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sacnb-sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()
        self._raise_failure()

    def close(self) -> None:
        """Stop listening, end what is still being answered, and wait for the thread; closing twice does nothing.

        What made the server stop before it was asked to is raised here.
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
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits for us
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        server = web.Server(self._handler, max_line_size=_MAX_LINE_BYTES, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
            self.port = runner.addresses[0][1]
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._stop.wait()
            # asyncio makes an accepted connection over several turns of the loop, and leaks it if the listener is
            # closed in between; so what has arrived by now is let in first, and closed by the cleanup.
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        finally:
            await runner.cleanup()
