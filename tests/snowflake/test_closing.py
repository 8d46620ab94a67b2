"""The simulator closes connections whose clients do not: none is left to the garbage collector of another test."""

from __future__ import annotations

import gc
import socket
import ssl
import urllib.parse

from sacnb.sandbox import snowflake


def test_a_silent_client_keeps_no_connection_open() -> None:
    with snowflake.start() as simulator:
        address = urllib.parse.urlsplit(simulator.url)
        context = ssl.create_default_context(cafile=str(simulator.ca_file))
        client = context.wrap_socket(
            socket.create_connection((address.hostname, address.port)), server_hostname=address.hostname
        )
        client.sendall(b"GET /v2/streaming/hostname HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1) == b"H"
    gc.collect()  # a transport that is open warns, which is an error here
    client.close()
