"""Answer HTTP requests as Snowflake's control host and ingest host do, which are one address here."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import secrets
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import pyarrow as pa
from aiohttp import web

from sacnb.sandbox.snowflake.files import STAGE, Stage
from sacnb.sandbox.snowflake.misbehaviours import Rules
from sacnb.sandbox.snowflake.signing import Signatures
from sacnb.sandbox.snowflake.store import Channel, Refused, Store

__all__ = ["App", "Seen"]

# On the wire, so after compression; the limits page of the documentation.
_MAX_APPEND_BYTES: Final = 4 * 1024 * 1024
_SESSION_HEADER: Final = "x-snowflake-session"
_PIPE: Final = re.compile(
    r"/v2/streaming/(?P<data>data/)?databases/(?P<db>[^/]+)/schemas/(?P<schema>[^/]+)/pipes/(?P<pipe>[^/:]+)"
    r"(?:(?P<verb>:bulk-channel-status|:pipe-info)|/channels/(?P<channel>[^/]+)(?P<rows>/rows|/filebuffer)?)"
)
_KINDS: Final = {
    ("GET", "/v2/streaming/hostname"): "hostname",
    ("POST", "/oauth/token"): "token",
    ("POST", "/telemetry/send/sessionless"): "telemetry",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came, without its body and its tokens."""

    kind: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    bytes: int
    status: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, read."""

    kind: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    pipe: str = ""
    channel: str = ""

    @property
    def bearer(self) -> str | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return value if scheme == "Bearer" else None

    @property
    def token_type(self) -> str | None:
        return self.headers.get("X-Snowflake-Authorization-Token-Type")

    def fields(self) -> dict[str, Any]:
        """Return the JSON object in the body. Raises Refused."""
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Refused(400, "INVALID_REQUEST", "The body is no JSON object.")
        return value


class App:
    """The request handler; work for the processor runs in threads."""

    def __init__(self, store: Store, signatures: Signatures, rules: Rules, *, host: str) -> None:
        self.seen: list[Seen] = []
        self.counts: Counter[str] = Counter()
        self._store = store
        self._signatures = signatures
        self._rules = rules
        self._host = host
        self._stage = Stage()
        self._sessions: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Forget the requests seen so far."""
        with self._lock:
            self.seen.clear()
            self.counts.clear()
            self._sessions.clear()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = bytearray()
        try:
            async for chunk in request.content.iter_any():
                body += chunk
        except ConnectionResetError:  # the client left before its request was whole
            return web.Response()
        asked = _read(request, bytes(body))
        strikes = self._strikes(asked)
        if (slow := strikes("slow")) is not None:
            await asyncio.sleep(float(slow.get("seconds", 0.2)))
        if strikes("lost_request") is not None:
            return self._hang_up(request, asked)
        headers: dict[str, str] = {}
        try:
            self._refuse(strikes)
            status, answer = 200, await asyncio.to_thread(self._answer, asked, strikes, headers)
            if strikes("error_after") is not None:
                status, answer = 500, b'{"code":"INTERNAL_ERROR","message":"An internal error occurred."}'
        except Refused as refused:
            status, answer = refused.status, refused.body
            headers |= getattr(refused, "headers", {})
        if strikes("lost_answer") is not None:
            return self._hang_up(request, asked)
        self._note(asked, status)
        kind = "application/json" if answer[:1] in {b"{", b"["} else "text/plain"
        headers["Date"] = format_datetime(datetime.now(UTC), usegmt=True)
        return web.Response(status=status, body=answer, headers=headers, content_type=kind)

    def _strikes(self, asked: _Asked) -> Any:
        def strikes(name: str) -> Mapping[str, Any] | None:
            options = self._rules.take(name, asked.kind)
            if options is not None:
                with self._lock:
                    self.counts[f"misbehaved_{name}"] += 1
            return options

        return strikes

    def _hang_up(self, request: web.BaseRequest, asked: _Asked) -> web.StreamResponse:
        self._note(asked, 0)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # never sent: the connection is gone

    def _note(self, asked: _Asked, status: int) -> None:
        shown = {name: value for name, value in asked.headers.items() if name.lower() != "authorization"}
        with self._lock:
            self.counts[f"{asked.kind}_requests"] += 1
            self.counts[f"status_{status}"] += 1
            self.counts["bytes"] += len(asked.body)
            self.seen.append(Seen(asked.kind, asked.method, asked.path, asked.query, shown, len(asked.body), status))

    def _refuse(self, strikes: Any) -> None:
        """Raise what a misbehaviour answers before anything is done."""
        for name, status in (("error_500", 500), ("error_503", 503)):
            if strikes(name) is not None:
                raise Refused(status, "INTERNAL_ERROR", "An internal error occurred.")
        for name in ("throttle", "throttle_seconds", "throttle_date"):
            if (options := strikes(name)) is not None:
                raise _Throttled(name, float(options.get("seconds", 1)))
        if strikes("expired_token") is not None:
            raise Refused(401, "390318", "OAuth access token expired.")
        if strikes("forbidden") is not None:
            raise Refused(403, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", "Insufficient privileges.")

    def _answer(self, asked: _Asked, strikes: Any, headers: dict[str, str]) -> bytes:
        if asked.kind in {"hostname", "token"}:
            self._signatures.admit_user(asked.bearer, asked.token_type)
            return self._admission(asked, as_json=strikes("documented_answers") is not None)
        if asked.kind == "telemetry":
            return b'{"data":"","code":"0","message":"","success":true}'
        if asked.kind == "stage":  # signed for the storage, which does not ask for Snowflake's tokens
            self._stage.put(asked.path, asked.body, asked.headers.get("Content-Encoding", ""))
            headers["ETag"] = f'"{secrets.token_hex(16)}"'
            return b""
        if asked.kind == "other":
            raise Refused(404, "NOT_FOUND", f"{asked.path} does not exist.")
        self._signatures.admit_scoped(asked.bearer, asked.token_type, self._host)
        if asked.kind == "append":
            self._interfere(asked, strikes)
            return self._append(asked, strikes, headers)
        if asked.kind == "append_files":
            fragments = self._stage.fragments(asked.body)
            return _json(self._store.append_files(asked.pipe, asked.channel, asked.query, fragments))
        return self._manage(asked, strikes)

    def _manage(self, asked: _Asked, strikes: Any) -> bytes:
        match asked.kind:
            case "open":
                if strikes("open_in_progress") is not None:
                    raise Refused(409, "ERR_OPEN_CHANNEL_IN_PROGRESS", "Another open is in progress.")
                return _json(self._store.open(asked.pipe, asked.channel, asked.fields()))
            case "status":
                names = asked.fields().get("channel_names")
                if not isinstance(names, list):
                    raise Refused(400, "INVALID_REQUEST", "channel_names is missing.")
                found = _json(self._store.statuses(asked.pipe, [str(name) for name in names]))
                # The reference names this field differently here; the SDK does not, and fails without it.
                as_documented = strikes("documented_answers") is not None
                return found.replace(b'"rows_error_count"', b'"rows_errors"') if as_documented else found
            case "drop":
                flag = asked.query.get("fail_on_uncommitted_rows") == "true"
                self._store.drop(asked.pipe, asked.channel, fail_on_uncommitted=flag)
                return b""
            case _:
                return _json(self._stage.about(asked.headers.get("Host", "")))

    def _admission(self, asked: _Asked, *, as_json: bool) -> bytes:
        if asked.kind == "hostname":
            return _json({"hostname": self._host}) if as_json else self._host.encode()
        form = {name: values[0] for name, values in parse_qs(asked.body.decode("latin-1")).items()}
        token = self._signatures.exchange(form.get("grant_type", ""), form.get("scope", ""), self._host)
        with self._lock:
            self.counts["scoped_tokens"] += 1
        return _json({"token": token}) if as_json else token.encode()

    def _interfere(self, asked: _Asked, strikes: Any) -> None:
        """Do to a channel what somebody else may do at any time."""
        changes = {
            "second_writer": _open_elsewhere,
            "stale_token": _open_elsewhere,
            "invalid_channel": _invalidate,
            "dropped_channel": lambda channels, channel: channels.pop(channel.name.upper()),
        }
        for name, change in changes.items():
            if strikes(name) is not None:
                self._store.change(asked.pipe, asked.channel, change)

    def _append(self, asked: _Asked, strikes: Any, headers: dict[str, str]) -> bytes:
        if len(asked.body) > _MAX_APPEND_BYTES:
            raise Refused(413, "REQUEST_ENTITY_TOO_LARGE", "The request is larger than 4 MB.")
        if asked.headers.get("Content-Type", "").partition(";")[0] != "application/x-ndjson":
            raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "Send application/x-ndjson.")
        delayed = strikes("delayed_commit")
        answer = self._store.append(
            asked.pipe,
            asked.channel,
            asked.query,
            _unpacked(asked),
            never=strikes("never_commit") is not None,
            polls=self._store.polls if delayed is None else int(delayed.get("polls", 3)),
            spoil=strikes("row_errors") is not None,
        )
        self._follow_session(asked, headers)
        return _json(answer)

    def _follow_session(self, asked: _Asked, headers: dict[str, str]) -> None:
        """Give a channel a session header, and count whether the next append brings it back."""
        key = (asked.pipe, asked.channel)
        with self._lock:
            before = self._sessions.get(key)
            if before is not None:
                echoed = asked.headers.get(_SESSION_HEADER) == before
                self.counts["sessions_echoed" if echoed else "sessions_missing"] += 1
            self._sessions[key] = headers[_SESSION_HEADER] = secrets.token_hex(8)


class _Throttled(Refused):
    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(429, "RATE_LIMIT", "Too many requests.")
        moment = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        self.headers = {
            "throttle": {},
            "throttle_seconds": {"Retry-After": f"{seconds:g}"},
            "throttle_date": {"Retry-After": moment},
        }[name]


def _open_elsewhere(_: dict[str, Channel], channel: Channel) -> None:
    channel.sequencer += 1
    channel.row_sequencer = 1
    channel.waiting.clear()


def _invalidate(_: dict[str, Channel], channel: Channel) -> None:
    channel.status = "ERR_CHANNEL_MUST_BE_REOPENED"


def _read(request: web.BaseRequest, body: bytes) -> _Asked:
    path, _, text = request.raw_path.partition("?")
    query = {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
    pipe = channel = ""
    kind = _KINDS.get((request.method, path), "other")
    if request.method == "PUT" and path.startswith(STAGE):
        kind = "stage"
    found = _PIPE.fullmatch(path)
    if found is not None:
        pipe = "/".join(unquote(found[name]).replace("/", "%2F") for name in ("db", "schema", "pipe"))
        channel = unquote(found["channel"] or "")
        kind = _kind_of(request.method, found)
    return _Asked(kind, request.method, path, query, request.headers, body, pipe, channel)


def _kind_of(method: str, found: re.Match[str]) -> str:
    if found["verb"]:
        return (
            {":bulk-channel-status": "status", ":pipe-info": "pipe_info"}[found["verb"]]
            if method == "POST"
            else "other"
        )
    if found["rows"]:
        kind = "append" if found["rows"] == "/rows" else "append_files"
        return kind if method == "POST" and found["data"] else "other"
    return {"PUT": "open", "DELETE": "drop"}.get(method, "other")


def _unpacked(asked: _Asked) -> bytes:
    encoding = asked.headers.get("Content-Encoding", "").lower()
    try:
        if encoding == "gzip":
            return gzip.decompress(asked.body)
        if encoding == "zstd":
            with pa.CompressedInputStream(pa.BufferReader(asked.body), "zstd") as stream:
                return bytes(stream.read())
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(400, "INVALID_REQUEST", f"The body cannot be unpacked: {error}") from None
    if encoding:
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", f"Unknown Content-Encoding {encoding}.")
    return asked.body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
