"""The sandbox in a process of its own, with models of several sizes and pages that are made beforehand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

PAGE_ROWS: Final = 50_000
# The sandbox remembers the pages it was asked for, packed: ten million rows, asked for in several ways.
_MEMORY_BYTES: Final = 4 << 30
_NEXT_LINK: Final = re.compile(rb'"@odata\.nextLink":"([^"]*)"')
_TAIL_BYTES: Final = 4096


@dataclass(frozen=True)
class Target:
    """What leads to the sandbox, and what is to be pulled from it."""

    tenant_url: str
    token_url: str
    client_id: str
    client_secret: str
    model: str = ""
    rows: int = 0

    @property
    def facts_url(self) -> str:
        """The facts of the model, in pages of the usual size."""
        return f"{self.tenant_url}/api/v1/dataexport/providers/sac/{self.model}/FactData?pagesize={PAGE_ROWS}"

    @property
    def is_small(self) -> bool:
        """Whether this is the model that is pulled to warm up."""
        return self.rows <= 1000


def bearer(target: Target) -> Any:
    """A plain requests session with a token; it does not look for proxies, as sacnb does not on loopback."""
    import requests

    session = requests.Session()
    session.trust_env = False
    answer = session.post(
        target.token_url,
        {"grant_type": "client_credentials"},
        auth=(target.client_id, target.client_secret),
        timeout=60,
    )
    session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    session.headers["Accept-Encoding"] = "gzip"
    session.headers["x-sap-sac-custom-auth"] = "true"
    return session


def packed(session: Any, url: str) -> bytes:
    """A page as it comes over the wire."""
    with session.get(url, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        data: bytes = answer.raw.read(decode_content=False)
        return data


def unpacked(data: bytes) -> tuple[bytes, str | None]:
    """A page, and the link to the next one, which SAC puts at its end."""
    body = zlib.decompress(data, 16 + zlib.MAX_WBITS)
    found = _NEXT_LINK.search(body, max(0, len(body) - _TAIL_BYTES))
    return body, found[1].decode() if found else None


class Server:
    """The sandbox's process, as the harness sees it."""

    def __init__(self, process: subprocess.Popen[str], about: dict[str, Any]) -> None:
        self._process = process
        self._models: dict[int, str] = {int(rows): name for rows, name in about.pop("models").items()}
        self._about = about
        self._warm: set[str] = set()

    def target(self, rows: int) -> Target:
        """What a measurement needs to pull so many rows."""
        return Target(**self._about, model=self._models[rows], rows=rows)

    def set_latency(self, latency_ms: float) -> None:
        """Hold every answer back for so long from now on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(latency_ms / 1000) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def warm(self, url: str) -> tuple[int, int]:
        """Have every page from this address on made and packed, and return their bytes, packed and not."""
        self.set_latency(0)
        sent = size = 0
        following: str | None = url
        with bearer(self.target(next(iter(self._models)))) as session:
            while following is not None:
                data = packed(session, following)
                body, following = unpacked(data)
                sent, size = sent + len(data), size + len(body)
        return sent, size


@contextmanager
def serving(sizes: dict[str, int], environ: dict[str, str]) -> Iterator[Server]:
    """A sandbox with a model of each of these sizes."""
    command = [sys.executable, "-m", "benchmarks.server", json.dumps(sizes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()  # which is how it knows


def main(sizes: dict[str, int]) -> None:
    """Serve until stdin ends; each line of it is a latency in seconds."""
    from dataclasses import replace

    from sacnb import sandbox
    from sacnb.sandbox.models.scale import scale

    models = [replace(scale(rows), provider_id=name) for name, rows in sizes.items()]
    with sandbox.start(models=models, max_page_size=PAGE_ROWS, memory_bytes=_MEMORY_BYTES) as one:
        about = asdict(Target(one.tenant_url, one.token_url, one.client_id, one.client_secret))
        del about["model"], about["rows"]
        about["models"] = {rows: name for name, rows in sizes.items()}
        print(json.dumps(about), flush=True)
        for line in sys.stdin:
            one.latency_s = json.loads(line)
            print("done", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
