"""A TCP proxy that spoils connections: ``python proxy.py SEED PORT...`` forwards to ports of this machine.

It prints a list of its own ports, one for each, then reads one JSON object a line from standard input, such as
``{"percent": 10}``, and answers each with the strikes so far. toxiproxy would be a binary to download, and the proxies
of the package index know latency and bandwidth alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

FAULTS: Final = (
    "latency", "bandwidth", "drip_in_headers", "drip_in_body", "refused", "reset_in_request", "reset_in_answer",
    "reset_when_idle", "closed_in_answer", "half_closed_in_request", "half_closed_in_answer", "half_closed_when_idle",
    "silence",
)  # fmt: skip
_CHUNK_BYTES: Final = 16 << 10
_FARTHEST_BYTE: Final = 40_000
_REQUEST_BYTES: Final = 700
_IDLE_S: Final = 0.03
_ALL: Final = 1 << 60


class Proxy:
    """Forwards connections; a share of them is struck by one fault each, at a random byte."""

    def __init__(self, seed: str) -> None:
        self.percent = 0.0
        self.struck: Counter[str] = Counter()
        self._random = random.Random(seed)

    async def serve(self, ports: list[int]) -> None:
        """Forward until standard input ends."""
        servers = [await asyncio.start_server(partial(self._forward, port), "127.0.0.1", 0) for port in ports]
        print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
        commands = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            self.percent = float(json.loads(line)["percent"])
            print(json.dumps(self.struck), flush=True)
        for server in servers:
            server.close()

    async def _forward(self, port: int, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        fault = self._random.choice(FAULTS) if self._random.uniform(0, 100) < self.percent else ""
        at = self._random.randrange(_FARTHEST_BYTE)
        if fault:
            self.struck[fault] += 1
        if fault == "refused":
            reset(to_client)
            return
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # the server is being restarted
            reset(to_client)
            return
        both = [
            asyncio.ensure_future(self._ask(client, to_server, to_client, fault, at)),
            asyncio.ensure_future(self._answer(server, to_client, fault, at)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.close()

    async def _ask(
        self,
        client: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        to_client: asyncio.StreamWriter,
        fault: str,
        at: int,
    ) -> None:
        match fault:
            case "reset_in_request":
                await copy(client, server, at % _REQUEST_BYTES, lambda: reset(to_client))
            case "half_closed_in_request":
                # The server sees the end of what the client sends, and the client goes on as before.
                await copy(client, server, at % _REQUEST_BYTES, server.write_eof)
                await swallow(client)
            case "bandwidth":
                await copy(client, server, _ALL, nothing, chunk_bytes=4096, pause_s=0.01)
            case _:
                await copy(client, server, _ALL, nothing)

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, fault: str, at: int) -> None:
        rest = partial(copy, server, client, _ALL, nothing)
        match fault:
            case "reset_in_answer":
                await copy(server, client, at, lambda: reset(client))
            case "closed_in_answer":
                await copy(server, client, at, client.close)
            case "half_closed_in_answer":
                # The client sees the end of the answer, while what it sends is still taken.
                await copy(server, client, at, client.write_eof)
                await forever()
            case "reset_when_idle":
                await copy(server, client, _ALL, nothing, idle_s=_IDLE_S)
                reset(client)
            case "half_closed_when_idle":
                await copy(server, client, _ALL, nothing, idle_s=_IDLE_S)
                client.write_eof()
                await forever()
            case "silence":
                # The connection stays open and no byte comes: only the client's own time limit ends it.
                await copy(server, client, at, nothing)
                await forever()
            case "drip_in_headers":
                await copy(server, client, 120, nothing, chunk_bytes=1, pause_s=0.001)
                await rest()
            case "drip_in_body":
                await copy(server, client, 200 + at % 4000, nothing)
                await copy(server, client, 120, nothing, chunk_bytes=1, pause_s=0.001)
                await rest()
            case "bandwidth":
                await rest(chunk_bytes=4096, pause_s=0.01)
            case "latency":
                await rest(pause_s=0.02)
            case _:
                await rest()


def nothing() -> None:
    """Do nothing where a copy ends."""


async def forever() -> None:
    """Wait until the connection is given up."""
    await asyncio.get_running_loop().create_future()


async def swallow(source: asyncio.StreamReader) -> None:
    """Take bytes and forward none."""
    while await source.read(_CHUNK_BYTES):
        pass


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def copy(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    most_bytes: int,
    then: Callable[[], None],
    *,
    chunk_bytes: int = _CHUNK_BYTES,
    pause_s: float = 0,
    idle_s: float | None = None,
) -> None:
    """Copy at most *most_bytes*, then call *then*; end early with the source, or when it is idle after its first."""
    left = most_bytes
    while left:
        try:
            wait_s = idle_s if left < most_bytes else None
            chunk = await asyncio.wait_for(source.read(min(left, chunk_bytes)), wait_s)
        except TimeoutError:
            return
        if not chunk:
            return
        if pause_s:
            await asyncio.sleep(pause_s)
        target.write(chunk)
        await target.drain()
        left -= len(chunk)
    then()


if __name__ == "__main__":
    asyncio.run(Proxy(sys.argv[1]).serve([int(port) for port in sys.argv[2:]]))
