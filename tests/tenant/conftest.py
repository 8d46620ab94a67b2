"""A TLS server whose authority nobody knows but the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from loopback import LoopbackServer, tls_context


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def corporate_bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    bundle = tmp_path / "corporate authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return bundle


@pytest.fixture
def tls_server(authority: trustme.CA) -> Iterator[str]:
    server = LoopbackServer(tls_context(authority, "localhost"))
    yield server.url.replace("127.0.0.1", "localhost")
    server.close()
