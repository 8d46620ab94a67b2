"""Let requests through, one at a time, and keep what was asked and answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Final

import requests
import urllib3

from sacnb._wire.message import UndecodableBody, read_body
from sacnb.replay.known import Known
from sacnb.replay.library import Cassette, Response
from sacnb.replay.responses import request_of, response_to, values_of

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

# Of the body as it was sent; what is kept and handed on is decoded, and whole.
_ENVELOPE_HEADERS: Final = frozenset({"content-encoding", "content-length"})


class Recorder:
    """Records into ``cassette``, and has ``known`` learn what must be scrubbed later.

    One lock is held from before a request is sent until its answer is read to the end: however many threads ask, the
    tenant sees one after the other, and so does the cassette. Who asked gets what will be replayed: the decoded body.
    """

    def __init__(self, cassette: Cassette, known: Known) -> None:
        self._cassette = cassette
        self._known = known
        self._lock = threading.Lock()
        self.requests = 0

    def answer(
        self, adapter: HTTPAdapter, prepared: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        """The answer of the real tenant, recorded. Raises what sending and reading raise; then nothing is recorded."""
        request = request_of(prepared)
        with self._lock:
            self.requests += 1
            real = send()
            response = _received(real)
            if _decode(response):
                self._known.learn(request, response)
                self._cassette.append(request, response)
        return response_to(adapter, prepared, response, original=getattr(real.raw, "_original_response", None))


def _received(real: requests.Response) -> Response:
    """The answer in vcrpy's form, its body as it was sent. Raises the errors of requests where it breaks off."""
    headers: dict[str, list[str]] = {}
    for name, value in real.raw.headers.items():
        if name.lower() != "transfer-encoding":  # of how it was sent; the body is here
            headers.setdefault(name, []).append(value)
    try:
        body, _ = read_body(real.raw, "")
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    finally:
        real.close()
    return {
        "status": {"code": real.status_code, "message": real.reason or ""},
        "headers": headers,
        "body": {"string": body},
    }


def _decode(response: Response) -> bool:
    """Decode the body in place, and drop the headers that spoke of what was sent.

    False where it cannot be decoded: then it is handed on as it came, for whoever asked to say what is wrong with it.
    """
    headers, body = response["headers"], response["body"]
    try:
        decoded, _ = read_body(BytesIO(body["string"]), next(iter(values_of(headers, "content-encoding")), ""))
    except UndecodableBody:
        return False
    body["string"] = decoded
    for name in [name for name in headers if name.lower() in _ENVELOPE_HEADERS]:
        del headers[name]
    return True
