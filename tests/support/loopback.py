"""A real HTTP server on loopback that answers what a test tells it; fixtures in the conftest files say to what.

``class Tenant(LoopbackServer)`` overrides ``reply_to``, and usually remembers what it has seen.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme


@dataclass
class Reply:
    """One answer.

    ``length`` is a Content-Length that may be a lie; ``chunked`` sends chunks, without the last one if ``hang_up``;
    ``hang_up`` closes the connection at the end, ``cut`` after half of the body; ``reset`` breaks it, before the
    status line if ``status`` is 0; ``drip_s`` sends byte by byte; ``zipped`` compresses the body; ``first`` is called
    before anything is sent.
    """

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    length: int | None = None
    chunked: bool = False
    hang_up: bool = False
    cut: bool = False
    reset: bool = False
    drip_s: float | None = None
    zipped: bool = False
    first: Callable[[], object] | None = None

    @property
    def sent_body(self) -> bytes:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        return gzip.compress(body) if self.zipped else body


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def route(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

    @property
    def bearer(self) -> str | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return value if scheme == "Bearer" else None


def next_of(replies: list[Reply]) -> Reply:
    """Take the next reply; the last one is repeated."""
    return replies.pop(0) if len(replies) > 1 else replies[0]


def tls_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Return what a server needs to prove that it is ``name`` to those who trust the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


class LoopbackServer:
    """Listens from the beginning until ``close()``, each connection in a thread of its own."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def reply_to(self, seen: Seen) -> Reply:
        """Return the answer to a request; called in the thread of its connection."""
        return Reply()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two packets, and the second would wait for 40 ms

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                reply = server.reply_to(Seen(self.command, self.path, dict(self.headers), body))
                if reply.first is not None:
                    reply.first()
                try:
                    server._send(self, reply)
                except OSError:
                    self.close_connection = True  # the client has had enough

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = handle_any  # noqa: N815 - names of http.server

        return Handler

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.reset and not reply.status:
            self._reset(handler)
            return
        body = reply.sent_body
        handler.send_response_only(reply.status)
        headers = {"Content-Type": reply.content_type, "Date": handler.date_time_string(), **reply.headers}
        if reply.zipped:
            headers["Content-Encoding"] = "gzip"
        if reply.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif reply.status not in {204, 304}:
            headers.setdefault("Content-Length", str(len(body) if reply.length is None else reply.length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            self._send_body(handler, reply, body[: len(body) // 2] if reply.cut else body)
        handler.close_connection = reply.hang_up or reply.cut or handler.close_connection
        if reply.reset:
            self._reset(handler)

    def _send_body(self, handler: BaseHTTPRequestHandler, reply: Reply, body: bytes) -> None:
        if reply.drip_s is not None:
            for i in range(len(body)):
                handler.wfile.write(body[i : i + 1])
                if self.closing.wait(reply.drip_s):
                    return
        elif reply.chunked:
            for i in range(0, len(body), 7):
                part = body[i : i + 7]
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            handler.wfile.write(b"" if reply.hang_up else b"0\r\n\r\n")
        else:
            handler.wfile.write(body)

    def _reset(self, handler: BaseHTTPRequestHandler) -> None:
        """Close so that the other side gets a reset: the descriptor goes when the handler's files do."""
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.server.shutdown_request = handler.server.close_request  # type: ignore[method-assign]  # no FIN first


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that went away is what many tests are about."""
