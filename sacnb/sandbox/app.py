"""Handle every HTTP request: the tenant's own, and those that steer the sandbox from another process.

``GET /sandbox/misbehaviours`` lists the misbehaviours that are switched on, ``POST`` switches one on (``{"name": ...,
options}``), ``DELETE`` switches all off, ``DELETE /sandbox/misbehaviours/<name>`` one. ``GET /sandbox/counts`` returns
the counters. ``POST /sandbox/changes`` changes rows (``{"model_id": ..., "rows": [...], "deleted": [...]}``, as
``Sandbox.change``). These paths need no token: the sandbox serves one machine and holds nothing secret.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from sacnb.sandbox.actions import ActionService
from sacnb.sandbox.directory import directory_answer
from sacnb.sandbox.exchange import Answer, Exchange, Refusal, deliver, forced_answer, pack, reset
from sacnb.sandbox.export import ExportService, Target, target
from sacnb.sandbox.imports import ImportService
from sacnb.sandbox.journal import Journal, SeenRequest
from sacnb.sandbox.login import LoginService
from sacnb.sandbox.misbehaviours import ACTIONS, IMPORTS, Rules
from sacnb.sandbox.oauth import Gate, TokenService, token_answer

__all__ = ["Admin", "App"]

_MISBEHAVIOURS: Final = "/sandbox/misbehaviours"


class Admin:
    """The paths below ``/sandbox/``."""

    def __init__(self, rules: Rules, journal: Journal, change: Callable[..., None]) -> None:
        self._rules = rules
        self._journal = journal
        self._change = change

    def answer(self, method: str, path: str, content_type: str, body: bytes) -> Answer:
        """Answer one request.

        Raises:
            Refusal: 400 for an unknown misbehaviour or option, 404 for an unknown path, 405, 415.
        """
        try:
            match method, path:
                case "GET", "/sandbox/counts":
                    return _json(dict(self._journal.counts()))
                case "GET", "/sandbox/misbehaviours":
                    pass
                case "POST", "/sandbox/misbehaviours":
                    wanted = _read(content_type, body, "name", '{"name": "error_500", "times": 1}')
                    self._rules.switch_on(wanted.pop("name"), wanted)
                case "POST", "/sandbox/changes":
                    wanted = _read(content_type, body, "model_id", '{"model_id": "US_EMPLOYMENT", "rows": []}')
                    self._change(**wanted)
                case "DELETE", "/sandbox/misbehaviours":
                    self._rules.switch_off()
                case "DELETE", _ if path.startswith(f"{_MISBEHAVIOURS}/"):
                    self._rules.switch_off(path.removeprefix(f"{_MISBEHAVIOURS}/"))
                case _, "/sandbox/counts" | "/sandbox/misbehaviours" | "/sandbox/changes":
                    raise Refusal(405, f"The method {method} is not allowed.")
                case _:
                    raise Refusal(404, f"{path} does not exist. Use {_MISBEHAVIOURS} or /sandbox/counts.")
        except (TypeError, ValueError) as error:
            raise Refusal(400, str(error)) from None
        return _json({"misbehaviours": self._rules.describe()})


def _read(content_type: str, body: bytes, needed: str, example: str) -> dict[str, Any]:
    if content_type != "application/json":
        # HTML forms cannot send this type, so a web page opened in a browser cannot steer the sandbox.
        raise Refusal(415, "Send application/json.")
    wanted = json.loads(body)
    if not isinstance(wanted, dict) or not isinstance(wanted.get(needed), str):
        raise Refusal(400, f'Send an object with a "{needed}", such as {example}.')
    return wanted


def _json(document: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(document).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The request handler. It runs on the event loop; work for the processor runs in ``executor``."""

    tokens: TokenService
    logins: LoginService
    export: ExportService
    imports: ImportService
    actions: ActionService
    gate: Gate
    rules: Rules
    journal: Journal
    executor: Executor
    now: Callable[[], datetime]
    latency_s: Callable[[], float]
    max_url_chars: int
    change: Callable[..., None]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        # Clients send a proxy the whole URL in the request line (RFC 9112, section 3.2.2).
        path, _, query = re.sub(r"^https?://[^/?]*", "", request.raw_path).partition("?")
        try:
            goal, malformed = target(request.method, path, query), None
        except Refusal as refusal:
            goal, malformed = Target("other"), refusal
        try:
            body = await request.read()
        except ConnectionResetError:  # the client left before its request was whole
            return web.Response()
        origin = f"{request.scheme}://{request.host}"
        exchange = Exchange(goal.kind, request.method, path, query, origin, request.headers, self.rules.take)
        if goal.kind == "admin":
            return await deliver(request, pack(exchange, self._administer(request, path, body), self.now))
        if latency_s := self.latency_s():
            await asyncio.sleep(latency_s)
        if exchange.strikes("reset_before_body") or exchange.strikes("token_down"):
            self._note(exchange, None)
            reset(request)
            return web.Response()  # never sent: the connection is gone
        answer = await self._answer(exchange, goal, malformed, body)
        if exchange.strikes("answer_lost"):  # the request has been carried out
            self._note(exchange, None)
            reset(request)
            return web.Response()
        parcel = pack(exchange, answer, self.now)
        # Log before sending, so that a client that has the answer finds it in the log.
        self._note(exchange, answer)
        return await deliver(request, parcel)

    async def _answer(self, exchange: Exchange, goal: Target, malformed: Refusal | None, body: bytes) -> Answer:
        try:
            forced = forced_answer(exchange, self.now)
            if forced is not None:
                return forced
            if goal.kind == "token":
                return await token_answer(exchange, self.tokens, self.logins, self.journal, body)
            if goal.kind == "authorize":
                return self.logins.authorize(exchange, body)
            self.gate.admit(exchange)
            if malformed is not None:
                raise malformed
            if len(exchange.path) + len(exchange.query) + 1 > self.max_url_chars:
                raise Refusal(414, f"The URI is longer than {self.max_url_chars} characters.")
            return self.gate.see_out(exchange, await self._serve(exchange, goal, body))
        except Refusal as refusal:
            as_object = exchange.strikes("error_message_object")
            return Answer(refusal.status, refusal.body(as_object=as_object), headers=refusal.headers)

    async def _serve(self, exchange: Exchange, goal: Target, body: bytes) -> Answer:
        if goal.kind == "csrf":
            return Answer(200, b"{}")
        try:
            work = asyncio.get_running_loop().run_in_executor(self.executor, self._work, exchange, goal, body)
        except RuntimeError as error:
            # At interpreter exit the thread pool refuses work while a request may still arrive.
            raise Refusal(503, "The sandbox is being closed") from error
        return await work

    def _work(self, exchange: Exchange, goal: Target, body: bytes) -> Answer:
        try:
            if goal.kind in IMPORTS:
                return self.imports.answer(exchange, body)
            if goal.kind in ACTIONS:
                return self.actions.answer(exchange, body)
            if goal.kind == "directory":
                return directory_answer(exchange)
            return self.export.answer(exchange, goal)
        except KeyboardInterrupt as error:  # polars raises Ctrl-C on whichever thread runs its next operation
            raise Refusal(503, "The sandbox was interrupted") from error

    def _administer(self, request: web.BaseRequest, path: str, body: bytes) -> Answer:
        try:
            return Admin(self.rules, self.journal, self.change).answer(request.method, path, request.content_type, body)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.body())

    def _note(self, exchange: Exchange, answer: Answer | None) -> None:
        self.journal.enter(
            SeenRequest(
                at=self.now(),
                kind=exchange.kind,
                method=exchange.method,
                path=exchange.path,
                # A client may put its secret into the query of a token request; that of a login holds its state.
                query="" if exchange.kind in {"token", "authorize"} else exchange.query,
                status=0 if answer is None else answer.status,
                rows=0 if answer is None else answer.rows,
                misbehaviours=tuple(exchange.struck),
            )
        )
