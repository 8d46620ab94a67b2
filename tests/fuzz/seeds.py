"""Inputs that are made anew, since today's code writes them, and those of the samples."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from sacnb._files import dump_with_digest
from sacnb._results.files import write_parquet
from sacnb.replay.document import About, to_text
from sacnb.replay.library import make_request

SAMPLES: Final = Path(__file__).parents[1] / "samples"
_OF_SAMPLES: Final = {
    "metadata": ("*metadata*.xml",),
    "envelope": ("des_namespaces.json", "des_providers.json", "des_service_document.json"),
    "page": ("des_factdata_row*.json",),
    "changes": ("des_factdata_delta*",),
    "replies": ("dis_model*.json",),
    "others": ("resource*.json",),
    "token": ("oauth*.json",),
    "problem": ("oauth_error*.json",),
}


def made(target: str) -> list[bytes]:
    """Return inputs for a target, always in the same order."""
    found = [path for pattern in _OF_SAMPLES.get(target, ()) for path in sorted(SAMPLES.glob(pattern))]
    return [*(path.read_bytes() for path in found), *_WRITTEN.get(target, list)()]


def _kept() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.parquet"
        write_parquet(pa.table({"Date": ["202601", "202602"], "Amount": [1, 2]}), {"sacnb.query": "x"}, path)
        return [path.read_bytes()]


def _states() -> list[bytes]:
    page = {"file": "page-0-0.arrow", "sha256": "0" * 64, "rows": 3, "first_row": 0, "index": 0, "link": "/F?at=1"}
    segment = {"run": "r", "segment": 0, "announced": 9, "parts": [], "pages": [page], "next_index": 1, "next_row": 3}
    return [dump_with_digest(segment), json.dumps(segment).encode(), dump_with_digest({"format": 1, "link": "/x"})]


def _cassettes() -> list[bytes]:
    about = About("sandbox", datetime(2026, 3, 1, tzinfo=UTC))
    request = make_request(
        "GET", "https://replay.invalid/api/v1/dataexport/x?$top=1", None, {"Accept": "application/json"}
    )
    response = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Content-Type": ["application/json"]},
        "body": {"string": b'{"value":[{"a":1},{"a":2}]}'},
    }
    return [to_text(about, [(request, response)]).encode()]  # type: ignore[list-item]


def _packed() -> list[bytes]:
    body = b'{"value":[' + b'{"a":1},' * 50 + b"{}]}"
    many = io.BytesIO()
    many.write(gzip.compress(body, mtime=0) + gzip.compress(b"", mtime=0) + b"\0\0")
    return [gzip.compress(body, mtime=0), many.getvalue(), zlib.compress(body), gzip.compress(bytes(300_000), mtime=0)]


def _claims() -> bytes:
    about = {"exp": 1772366400, "user_name": "u", "email": "u@example.com"}
    parts = (json.dumps(each).encode() for each in ({"alg": "none"}, about))
    return b".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts), b"x"])


def _secrets() -> list[bytes]:
    nested = {"access_token": _claims().decode(), "nested": {"client_secret": 'x"y'}}
    return [json.dumps(nested).encode()]


def _headers() -> list[bytes]:
    return [b'Basic realm="y", ' + b"Bearer" + b" error=insufficient_scope"]


_WRITTEN: Final = {
    "token": lambda: [_claims()],
    "secrets": _secrets,
    "headers": _headers,
    "kept": _kept,
    "state": _states,
    "cassette": _cassettes,
    "packed": _packed,
}
