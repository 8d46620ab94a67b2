"""Answers as requests has them, made from what stands in a cassette."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

from sacnb.errors import ReplayError
from sacnb.replay.keys import shown_request
from sacnb.replay.library import Request, Response, make_request

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter


def request_of(prepared: requests.PreparedRequest) -> Request:
    """A prepared request in vcrpy's form. Raises ReplayError for a body that is read while it is sent."""
    method, url, body = prepared.method or "GET", prepared.url or "", prepared.body
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes | None):
        raise ReplayError(
            f"{shown_request(method, url)} sends a body that is read while it is sent; a cassette needs it whole.",
            method=method,
            hint="Send bytes.",
        )
    return make_request(method, url, body, {name: _header(value) for name, value in prepared.headers.items()})


def _header(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def response_to(
    adapter: HTTPAdapter, prepared: requests.PreparedRequest, response: Response, *, original: Any = None
) -> requests.Response:
    """What ``adapter`` returns for ``response``; ``original`` is the answer of http.client, for the cookies in it."""
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
    """The values of a header, whatever the case of its name."""
    return [value for key, values in headers.items() if key.lower() == name.lower() for value in values]


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
