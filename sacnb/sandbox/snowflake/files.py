"""Read the files in which Snowflake's SDK sends many rows: put into a stage in the way of S3, encrypted with our key.

Found by trying, with version 1.9.1: a file is NDJSON in zstd, encrypted by AES in counter mode under the key of
``pipe-info`` itself, with an IV for each fragment, which comes with the request that appends the file.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sacnb.sandbox.snowflake.lines import filled
from sacnb.sandbox.snowflake.store import Refused

__all__ = ["STAGE", "Stage"]

# Where the SDK puts its files; the rest of the address is the simulator's own.
STAGE: Final = "/bucket/prefix/"


class Stage:
    """The files that are not appended yet, and the key for them; safe for threads."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._files: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def about(self, host: str) -> dict[str, Any]:
        """Return what the SDK wants to know before it opens a channel; the stage is *host*."""
        stage = {
            "expiry_time_ms": int((time.time() + 3600) * 1000),
            "location_type": "S3",
            "use_s3_regional_url": False,
            "location": STAGE.removeprefix("/"),
            "storage_endpoint": host,
            "region": "eu-central-1",
            "creds": {"AWS_KEY_ID": "none", "AWS_SECRET_KEY": "none", "AWS_TOKEN": "none"},
        }
        key = base64.b64encode(self._key).decode()
        return {
            "status_code": 0,
            "message": "Success",
            "rowset_stage_location": stage,
            "durable_stage_location": stage,
            "encryption_info": {"pipe_key": key, "pipe_key_id": 1, "diversifier": "none"},
            "parameter_overrides": {},
        }

    def put(self, path: str, body: bytes, encoding: str) -> None:
        """Keep a file. Raises Refused."""
        content = _unchunked(body) if encoding == "aws-chunked" else body
        with self._lock:
            self._files[path] = content

    def fragments(self, body: bytes) -> list[tuple[str, bytes]]:
        """Return the last offset and the lines of each fragment that a request appends, and let go of the files.

        Raises Refused.
        """
        try:
            listed = json.loads(body)
            paths = {f"/{one['file_path']}" for one in listed}
            with self._lock:
                files = {path: self._files[path] for path in paths}
            found = [self._read(one, files[f"/{one['file_path']}"]) for one in listed]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise Refused(400, "INVALID_REQUEST", f"The fragments cannot be read: {error!r}") from None
        with self._lock:
            for path in paths:
                self._files.pop(path, None)
        return found

    def _read(self, fragment: Mapping[str, Any], content: bytes) -> tuple[str, bytes]:
        start = fragment["fragment_start_byte_offset"]
        part = content[start : start + fragment["fragment_length_bytes"]]
        iv = base64.b64decode(fragment["iv_base64"], validate=True)
        packed = Cipher(algorithms.AES(self._key), modes.CTR(iv)).decryptor().update(part)
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            lines = bytes(stream.read())
        rows = filled(lines)
        if rows != fragment["fragment_row_count"]:
            raise ValueError(f"{rows} rows in place of {fragment['fragment_row_count']}")
        return str(fragment["fragment_end_offset_token"]), lines


def _unchunked(body: bytes) -> bytes:
    """Return the content of a body in S3's chunks: their sizes in hexadecimal before them, and trailers at the end."""
    content, at = bytearray(), 0
    try:
        while True:
            end = body.index(b"\r\n", at)
            size = int(body[at:end].partition(b";")[0], 16)
            if not size:
                return bytes(content)
            at = end + 2
            content += body[at : at + size]
            at += size + 2
    except ValueError:
        raise Refused(400, "INVALID_REQUEST", "The body is not in chunks.") from None
