"""Answer requests from a cassette, or send them one at a time and record the answers."""

from __future__ import annotations

import copy
import shlex
import threading
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from io import BytesIO
from typing import TYPE_CHECKING, Final

import requests
import urllib3

from sacnb._endpoints import REPLAY_TENANT_URL
from sacnb._redact import MASK, redact_url
from sacnb._wire.message import UndecodableBody, read_body
from sacnb.errors import ReplayError
from sacnb.replay.keys import nearest, shown_request
from sacnb.replay.library import (
    Cassette,
    Request,
    Response,
    is_token,
    key_of_request,
    next_answer,
    origin_of,
    request_of,
    response_to,
    values_of,
)
from sacnb.replay.scrub import TOKEN_REPLY, Known

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

_TOKEN: Final[Response] = {
    "status": {"code": 200, "message": "OK"},
    "headers": {"Content-Type": ["application/json;charset=UTF-8"]},
    "body": {"string": TOKEN_REPLY},
}


class Player:
    """Answers from ``cassette``; ``name`` is for messages, ``recorded_at`` for the Date of the answers.

    Answers are returned as recorded, with two exceptions: each token reply has a token of its own, because the same
    token again after a 401 looks like a broken token service, and links lead to the host that was asked. A token
    request without a recorded answer (the tenant was connected before the recording began) gets a made-up token.
    """

    def __init__(self, cassette: Cassette, *, name: str, recorded_at: datetime) -> None:
        self._cassette = cassette
        self._name = name
        self._date = format_datetime(recorded_at, usegmt=True)
        # vcrpy counts the answers it has played in a dictionary without a lock.
        self._lock = threading.Lock()
        self._tokens = 0
        self.requests = 0

    def answer(self, adapter: HTTPAdapter, prepared: requests.PreparedRequest) -> requests.Response:
        """Return the recorded answer. Raises ReplayError if there is none."""
        request = request_of(prepared)
        with self._lock:
            self.requests += 1
            found = next_answer(self._cassette, request)
            if found is None and not is_token(request):
                raise self._missing(request)
            response = copy.deepcopy(found or _TOKEN)
            if is_token(request):
                self._tokens += 1
                self._give_token(response, self._tokens)
        self._lead_back(request, response)
        response["headers"]["Date"] = [self._date]
        return response_to(adapter, prepared, response)

    @property
    def used(self) -> tuple[int, ...]:
        """The positions of the answers that were played."""
        with self._lock:
            return tuple(sorted(self._cassette.play_counts))

    def _missing(self, request: Request) -> ReplayError:
        near = nearest(key_of_request(request), (key_of_request(each) for each in self._cassette.requests))
        shown = shown_request(request.method, request.uri)
        lines = "".join(f"\n  {line}" for line in near)
        return ReplayError(
            f"The cassette {self._name!r} has no answer to {shown}."
            + (f" The nearest recorded requests:{lines}\n" if near else " Nothing like it was recorded."),
            method=request.method,
            url=redact_url(request.uri),
            nearest=near,
            hint="If the code has changed, record again: "
            f"sacnb replay record NOTEBOOK.ipynb --cassette {shlex.quote(self._name)}",
        )

    @staticmethod
    def _give_token(response: Response, number: int) -> None:
        token = b"replayed-token-%d" % number
        field = b'"access_token":"%s"'
        response["body"]["string"] = response["body"]["string"].replace(field % MASK.encode(), field % token)

    @staticmethod
    def _lead_back(request: Request, response: Response) -> None:
        """Make links point to the host that was asked, if that is not the placeholder of a replay."""
        asked = origin_of(request.uri)
        if asked == REPLAY_TENANT_URL:
            return
        body = response["body"]["string"]
        for slashes in ("//", "\\/\\/"):
            old, new = (origin.replace("//", slashes).encode() for origin in (REPLAY_TENANT_URL, asked))
            body = body.replace(old, new)
        response["body"]["string"] = body
        for values in response["headers"].values():
            values[:] = [value.replace(REPLAY_TENANT_URL, asked) for value in values]


# These describe the body as it was sent; the recorded body is decoded and complete.
_ENVELOPE_HEADERS: Final = frozenset({"content-encoding", "content-length"})


class Recorder:
    """Records in ``cassette``, and tells ``known`` the secrets to remove before it is saved.

    One lock is held from the request to the end of its answer, so the tenant and the cassette see the requests of all
    threads one after the other. The caller gets the answer that a replay will give: with the decoded body.
    """

    def __init__(self, cassette: Cassette, known: Known) -> None:
        self._cassette = cassette
        self._known = known
        self._lock = threading.Lock()
        self.requests = 0

    def answer(
        self, adapter: HTTPAdapter, prepared: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        """Return the tenant's answer and record it. If sending or reading raises, nothing is recorded."""
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
    """Return the answer in vcrpy's form, its body as it was sent. Raises the errors of requests if it ends early."""
    headers: dict[str, list[str]] = {}
    for name, value in real.raw.headers.items():
        if name.lower() != "transfer-encoding":  # the body is complete now
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
    """Decode the body in place, and drop the headers that describe how it was sent.

    Return false for a body that cannot be decoded: the caller gets it unchanged, and reports what is wrong with it.
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
