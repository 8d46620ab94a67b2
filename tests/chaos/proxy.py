"""A TCP proxy that spoils connections: ``python proxy.py PORT SEED`` forwards to a port of this machine.

It prints its own port, then reads one JSON object a line from standard input, such as ``{"percent": 10}``, and answers
each with the strikes so far. toxiproxy would be a binary to download, and the proxies of the package index know latency
and bandwidth alone.
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
from typing import Final

FAULTS: Final = (
    "latency", "slow", "drip", "refused", "reset_in_request", "reset_in_answer", "closed_in_answer", "silence",
)  # fmt: skip
_CHUNK_BYTES: Final = 16 << 10
_FARTHEST_BYTE: Final = 40_000
_ALL: Final = 1 << 60


class Proxy:
    """Forwards connections; a share of them is struck by one fault each, at a random byte."""

    def __init__(self, port: int, seed: str) -> None:
        self.percent = 0.0
        self.struck: Counter[str] = Counter()
        self._port = port
        self._random = random.Random(seed)

    async def serve(self) -> None:
        """Forward until standard input ends."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        commands = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            self.percent = float(json.loads(line)["percent"])
            print(json.dumps(self.struck), flush=True)
        server.close()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        fault = self._random.choice(FAULTS) if self._random.uniform(0, 100) < self.percent else ""
        at = self._random.randrange(_FARTHEST_BYTE)
        if fault:
            self.struck[fault] += 1
        if fault == "refused":
            reset(to_client)
            return
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # the server is being restarted
            reset(to_client)
            return
        both = [
            asyncio.ensure_future(
                copy(client, to_server, at % 700 if fault == "reset_in_request" else _ALL, lambda: reset(to_client))
            ),
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

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, fault: str, at: int) -> None:
        if fault == "reset_in_answer":
            await copy(server, client, at, lambda: reset(client))
        elif fault == "closed_in_answer":
            await copy(server, client, at, client.close)
        elif fault == "silence":
            # The connection stays open and no byte comes: only the client's own time limit ends it.
            await copy(server, client, at, lambda: None)
            await asyncio.get_running_loop().create_future()
        elif fault == "drip":
            await copy(server, client, 120, lambda: None, chunk_bytes=1, pause_s=0.001)
            await copy(server, client, _ALL, lambda: None)
        elif fault == "slow":
            await copy(server, client, _ALL, lambda: None, chunk_bytes=4096, pause_s=0.01)
        elif fault == "latency":
            await copy(server, client, _ALL, lambda: None, pause_s=0.02)
        else:
            await copy(server, client, _ALL, lambda: None)


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
) -> None:
    """Copy at most *most_bytes*, then call *then*; end early with the source."""
    left = most_bytes
    while left and (chunk := await source.read(min(left, chunk_bytes))):
        if pause_s:
            await asyncio.sleep(pause_s)
        target.write(chunk)
        await target.drain()
        left -= len(chunk)
    if not left:
        then()


if __name__ == "__main__":
    asyncio.run(Proxy(int(sys.argv[1]), sys.argv[2]).serve())
