"""Answer requests out of a cassette, and say what is missing."""

from __future__ import annotations

import copy
import threading
from datetime import datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from sacnb._endpoints import REPLAY_TENANT_URL
from sacnb._wire.redact import MASK, redact_url
from sacnb.errors import ReplayError
from sacnb.replay.keys import nearest, shown_request
from sacnb.replay.library import Cassette, Request, Response, is_token, key_of_request, next_answer
from sacnb.replay.responses import origin_of, request_of, response_to
from sacnb.replay.scrub import TOKEN_REPLY

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

_TOKEN: Final[Response] = {
    "status": {"code": 200, "message": "OK"},
    "headers": {"Content-Type": ["application/json;charset=UTF-8"]},
    "body": {"string": TOKEN_REPLY},
}


class Player:
    """Answers out of ``cassette``; ``name`` is for messages, ``recorded_at`` for the Date of the answers.

    Answers come back as they were recorded, but for what a cassette cannot hold: each token reply has a token of its
    own, since a token that is handed out again after a 401 is taken for a broken token service, and links lead to the
    host that was asked. A request for a token of which nothing was recorded (the tenant was connected before the
    recording began) is answered too, since a token says nothing.
    """

    def __init__(self, cassette: Cassette, *, name: str, recorded_at: datetime) -> None:
        self._cassette = cassette
        self._name = name
        self._date = format_datetime(recorded_at, usegmt=True)
        # vcrpy counts what was played, in a dictionary without a lock.
        self._lock = threading.Lock()
        self._tokens = 0
        self.requests = 0

    def answer(self, adapter: HTTPAdapter, prepared: requests.PreparedRequest) -> requests.Response:
        """The recorded answer. Raises ReplayError where there is none."""
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
        """The positions in the cassette of what was played."""
        with self._lock:
            return tuple(sorted(self._cassette.play_counts))

    def _missing(self, request: Request) -> ReplayError:
        near = nearest(key_of_request(request), (key_of_request(each) for each in self._cassette.requests))
        shown = shown_request(request.method, request.uri)
        lines = "".join(f"\n  {line}" for line in near)
        return ReplayError(
            f"The cassette {self._name!r} has no answer to {shown}."
            + (f" Recorded was:{lines}\n" if near else " Nothing like it was recorded."),
            method=request.method,
            url=redact_url(request.uri),
            nearest=near,
            hint="If the code has changed, record the cassette again.",
        )

    @staticmethod
    def _give_token(response: Response, number: int) -> None:
        token = b"replayed-token-%d" % number
        field = b'"access_token":"%s"'
        response["body"]["string"] = response["body"]["string"].replace(field % MASK.encode(), field % token)

    @staticmethod
    def _lead_back(request: Request, response: Response) -> None:
        """Have links point to the host that was asked, which is not the placeholder where a tenant was connected."""
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
