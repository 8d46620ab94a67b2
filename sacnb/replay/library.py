"""Convert between vcrpy and requests: the only file that imports vcrpy, which is optional and has no types.

vcrpy stores the requests and answers, looks them up, and calls the scrubber before it saves. Its patches of the HTTP
libraries are left out (``skip_patchers``): they restore the real connection classes, for all threads, whenever a
connection is made. Of 30 replays with 8 threads that way 27 reached the network. ``sacnb.replay.session`` replaces
``HTTPAdapter.send`` of requests instead, which needs no such moment.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import urllib3

from sacnb.errors import MissingExtraError, ReplayError
from sacnb.replay.keys import RequestKey, is_token_request, key_of, shown_request

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

# A request and an answer in vcrpy's form.
Request = Any
Response = dict[str, Any]
Cassette = Any
SaveHook = Callable[[Request, Response], tuple[Request, Response]]


class Persister(Protocol):
    """Loads and saves the content of a cassette; vcrpy calls it."""

    def load_cassette(self, _path: object, serializer: object) -> tuple[list[Request], list[Response]]:
        """Return the requests and the answers. Raises ``not_found()`` if there are none."""

    def save_cassette(self, _path: object, interactions: dict[str, Any], serializer: object) -> None:
        """Save the ``requests`` and ``responses``."""


def _load() -> Any:
    try:
        vcr = importlib.import_module("vcr")
        patchers = importlib.import_module("vcr.patch")
    except ImportError as error:
        raise MissingExtraError("replay", "Recording and replay") from error
    if not hasattr(patchers, "PATCHER_NAMES"):
        raise MissingExtraError("replay", f"Recording and replay (vcrpy 9.4 or newer, not {vcr.__version__})")
    return vcr


def open_cassette(
    path: Path, persister: Persister, *, before_save: SaveHook | None
) -> AbstractContextManager[Cassette]:
    """Return a context in which vcrpy holds the cassette; with *before_save* it records, and saves on leaving.

    Raises MissingExtraError if vcrpy is not installed or too old.
    """
    vcr = _load()
    machine = vcr.VCR(
        record_mode=vcr.mode.NONE if before_save is None else vcr.mode.ALL,
        match_on=["same_request"],
        skip_patchers=vcr.patch.PATCHER_NAMES,
        before_save_interaction=before_save,
        record_on_exception=False,
    )
    machine.register_matcher("same_request", _same_request)
    machine.register_persister(persister)
    context: AbstractContextManager[Cassette] = machine.use_cassette(str(path))
    return context


def _same_request(asked: Request, recorded: Request) -> bool:
    return key_of_request(asked) == key_of_request(recorded)


def key_of_request(request: Request) -> RequestKey:
    """Return the key of a vcrpy request, computed once: replaying a thousand pages compares it a million times."""
    memo = getattr(request, "sacnb_key", None)
    if memo is not None and memo[0] is request.uri and memo[1] is request.body:
        known: RequestKey = memo[2]
        return known
    key = key_of(request.method, request.uri, request.headers.get("Content-Type"), request.body or b"")
    request.sacnb_key = (request.uri, request.body, key)
    return key


def is_token(request: Request) -> bool:
    """Return whether a vcrpy request asks for a token."""
    return is_token_request(request.method, request.headers.get("Content-Type"), request.body or b"")


def make_request(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Request:
    """Return a request in vcrpy's form."""
    _load()
    return importlib.import_module("vcr.request").Request(method, url, body, headers)


def not_found() -> Exception:
    """Return the error with which a persister reports that there is no cassette yet."""
    error: Exception = importlib.import_module("vcr.persisters.filesystem").CassetteNotFoundError()
    return error


def next_answer(cassette: Cassette, request: Request) -> Response | None:
    """Return the next answer to *request*: each once, in the order recorded, then the last one again and again.

    ``None`` if there is no answer. vcrpy's own repeats start over with the first answer, so that a job that was
    "running" and then "done" would never be done.
    """
    none_left: type[Exception] = importlib.import_module("vcr.errors").UnhandledHTTPRequestError
    answer: Response | None
    try:
        answer = cassette.play_response(request)
    except none_left:
        try:
            answer = cassette.responses_of(request)[-1]
        except none_left:
            answer = None
    return answer


def request_of(prepared: requests.PreparedRequest) -> Request:
    """Return a prepared request in vcrpy's form. Raises ReplayError for a body that is read while it is sent."""
    method, url, body = prepared.method or "GET", prepared.url or "", prepared.body
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes | None):
        raise ReplayError(
            f"{shown_request(method, url)} sends a body that is read while it is sent; a cassette needs all of it.",
            method=method,
            hint="Send bytes: data=file.read()",
        )
    return make_request(method, url, body, {name: _header(value) for name, value in prepared.headers.items()})


def _header(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def response_to(
    adapter: HTTPAdapter, prepared: requests.PreparedRequest, response: Response, *, original: Any = None
) -> requests.Response:
    """Return *response* as *adapter* returns it; *original* is the answer of http.client, for its cookies."""
    body, method = response["body"]["string"], prepared.method or "GET"
    headers = urllib3.HTTPHeaderDict()
    for name, values in response["headers"].items():
        for value in values:
            headers.add(name, value)
    if method != "HEAD":
        headers["Content-Length"] = str(len(body))
    raw = urllib3.HTTPResponse(
        body=BytesIO(body),
        headers=headers,
        status=response["status"]["code"],
        reason=response["status"]["message"],
        preload_content=False,
        decode_content=False,
        original_response=original,
        request_method=method,
        request_url=prepared.url,
    )
    return adapter.build_response(prepared, raw)


def values_of(headers: Mapping[str, list[str]], name: str) -> list[str]:
    """Return the values of a header; the case of its name does not matter."""
    return [value for key, values in headers.items() if key.lower() == name.lower() for value in values]


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
