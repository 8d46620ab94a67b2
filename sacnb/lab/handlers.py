"""The routes of the Jupyter server. ``docs/lab_api.yaml`` describes them, and tests compare.

Each demands the server's own authentication, and Jupyter's XSRF token of a browser. SAC is asked in threads, so that
the server answers others meanwhile; a client that leaves stops what was asked for it.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from sacnb._auth.token import utc_now
from sacnb._tenant.awaiting import in_thread
from sacnb.errors import QueryError, SacError, UnknownNameError
from sacnb.lab.answers import Reply, error_json, refused, token_json, when
from sacnb.lab.browse import members_json, model_json, models_json
from sacnb.lab.jobs import Job, Jobs
from sacnb.lab.relay import check_tenant, relay
from sacnb.lab.tenants import Held, Tenants, take_secrets

__all__ = ["ROUTES", "Lab", "add_routes"]

_log = logging.getLogger("sacnb.lab")

# A browser or a kernel that waits longer asks again; a proxy on the way would give up.
_ENSURE_WAIT_S: Final = 10.0
_MOST_BODY_BYTES: Final = 200_000


@dataclass(slots=True)
class Lab:
    """State that the routes share: the tenants, the jobs, and the token refreshes that are running."""

    tenants: Tenants
    jobs: Jobs = field(default_factory=Jobs)
    ensure_wait_s: float = _ENSURE_WAIT_S
    refreshing: dict[tuple[str, str | None, bool], asyncio.Future[Reply]] = field(default_factory=dict)

    def close(self) -> None:
        """Stop what is running, and close the connections."""
        self.jobs.close()
        self.tenants.close()


def add_routes(app: web.Application, lab: Lab | None = None) -> None:
    """Add the routes to a Jupyter server's application."""
    if lab is None:
        lab = Lab(Tenants(secrets=take_secrets(os.environ)))
        atexit.register(lab.close)
    base = url_path_join(app.settings["base_url"], "sacnb")
    app.add_handlers(".*$", [(url_path_join(base, path), handler, {"lab": lab}) for path, handler in ROUTES])


def in_background(work: Callable[[], Reply]) -> asyncio.Future[Reply]:
    """Run *work* in a thread; cancelling the future stops its requests."""
    return asyncio.ensure_future(in_thread(lambda _: work()))


class _Handler(APIHandler):
    """A route: ``answer`` runs its work and sends JSON, whatever happens."""

    auth_resource = "sacnb"

    def initialize(self, lab: Lab) -> None:
        self.lab = lab
        self.asked: asyncio.Future[Reply] | None = None

    def on_connection_close(self) -> None:
        if self.asked is not None:
            self.asked.cancel()
        super().on_connection_close()

    async def answer(self, work: Callable[[], Reply]) -> None:
        """Run *work* in a thread, stopped when the client leaves, and send its reply."""
        self.asked = in_background(work)
        try:
            await self.send(self.asked)
        except asyncio.CancelledError:
            if not self.asked.cancelled():  # it is the server that ends
                raise

    async def send(self, reply: asyncio.Future[Reply]) -> None:
        """Send a reply, or the error in its place."""
        try:
            found = await reply
        except SacError as error:
            found = refused(error)
        except Exception as error:  # noqa: BLE001 - logged, and shown without its text
            _log.exception("%s %s failed.", self.request.method, self.request.path)
            found = refused(SacError(f"A program error: {type(error).__name__}.", hint="The server's log has more."))
        self.set_status(found.status)
        self.set_header("Cache-Control", "no-store")
        for name, value in found.headers.items():
            self.set_header(name, value)
        await self.finish(json.dumps(found.body, ensure_ascii=False))

    def fields(self, **kinds: type) -> dict[str, Any]:
        """Return the fields of the JSON body; those that are missing are ``None``. Raises QueryError."""
        if len(self.request.body) > _MOST_BODY_BYTES:
            raise QueryError(f"The body has more than {_MOST_BODY_BYTES:,} bytes.")
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise QueryError("The body is not JSON.") from None
        if not isinstance(body, Mapping) or not set(body) <= set(kinds):
            raise QueryError(f"The body must be an object with {', '.join(kinds)}.")
        for name, value in body.items():
            if value is not None and type(value) is not kinds[name]:
                raise QueryError(f"{name} must be of type {kinds[name].__name__}.")
        return {name: body.get(name) for name in kinds}

    def query(self, name: str) -> str:
        """Return a parameter of the address; empty where it is missing."""
        return str(self.get_query_argument(name, ""))

    @property
    def is_fresh(self) -> bool:
        """Return whether lists are to be read again."""
        return self.query("fresh") == "1"


class StatusHandler(_Handler):
    """``GET status``: the tenants with their tokens, and the jobs. Connects to none."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        await self.answer(self._status)

    def _status(self) -> Reply:
        import sacnb

        found = []
        for entry in self.lab.tenants.list():
            held = self.lab.tenants.peek(entry["profile"])
            problem = entry.pop("problem", None)
            found.append(
                {
                    **entry,
                    "is_connected": held is not None,
                    "token": _token(held),
                    "last_refresh": None if held is None else _last_refresh(held),
                    "problem": None if problem is None else error_json(problem),
                }
            )
        jobs = [job.json() for job in self.lab.jobs.all()]
        return Reply({"version": sacnb.__version__, "tenants": found, "jobs": jobs})


class EnsureHandler(_Handler):
    """``POST token/ensure``: 200 with a token that was valid, 202 after or during a refresh, 503 without one."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        try:
            asked = self.fields(profile=str, force=bool, tenant_url=str)
        except QueryError as error:
            await self.send(_settled(refused(error)))
            return
        profile, force = asked["profile"] or "", bool(asked["force"])
        refreshing, key = self.lab.refreshing, (profile, asked["tenant_url"], force)
        running = refreshing.get(key)
        if running is None:
            # Not stopped when this client leaves: others may wait for the same refresh.
            running = in_background(lambda: self._ensure(profile, asked["tenant_url"], force=force))
            refreshing[key] = running
            running.add_done_callback(lambda ended: (refreshing.pop(key, None), ended.cancelled() or ended.exception()))
        done, _ = await asyncio.wait({running}, timeout=self.lab.ensure_wait_s)
        await self.send(running if done else _settled(self._still_running(profile)))

    def _ensure(self, profile: str, tenant_url: str | None, *, force: bool) -> Reply:
        held = self.lab.tenants.get(profile)
        check_tenant(held, tenant_url)
        guard = held.tenant._connection.context.guard
        result = guard.force() if force else guard.ensure()
        status = HTTPStatus.ACCEPTED if result.refresh_applied else HTTPStatus.OK
        # The token of this call: another thread may drop it from the guard meanwhile.
        token = token_json(result.token, held.now())
        body = _ensured(held, refresh_applied=result.refresh_applied, is_refreshing=False)
        return Reply({**body, "token": token}, status)

    def _still_running(self, profile: str) -> Reply:
        held = self.lab.tenants.peek(profile)
        body = _ensured(held, refresh_applied=False, is_refreshing=True, profile=profile)
        return Reply(body, HTTPStatus.ACCEPTED, {"Retry-After": "1"})


class SendHandler(_Handler):
    """``POST request/send``: one read of the tenant for a kernel, with the server's token."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        await self.answer(self._send)

    def _send(self) -> Reply:
        asked = self.fields(profile=str, path=str, accept=str, tenant_url=str)
        held = self.lab.tenants.get(asked["profile"] or "")
        check_tenant(held, asked["tenant_url"])
        return relay(held, asked["path"] or "", asked["accept"] or "application/json")


class ModelsHandler(_Handler):
    """``GET models?q=``: the models whose id, name or description has the text."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        profile, search, fresh = self.query("profile"), self.query("q"), self.is_fresh
        await self.answer(lambda: Reply(models_json(self.lab.tenants.get(profile), search, fresh=fresh)))


class ModelHandler(_Handler):
    """``GET models/{id}``: dimensions and measures; with ``dimension`` its members."""

    @web.authenticated
    @authorized
    async def get(self, model_id: str) -> None:
        profile, dimension, search = self.query("profile"), self.query("dimension"), self.query("q")
        fresh = self.is_fresh

        def read() -> Reply:
            held = self.lab.tenants.get(profile)
            if dimension:
                return Reply(members_json(held, model_id, dimension, search, fresh=fresh))
            return Reply(model_json(held, model_id, fresh=fresh))

        await self.answer(read)


class RefreshHandler(_Handler):
    """``POST refresh``: start a refresh of a model's facts into the cache."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        await self.answer(self._start)

    def _start(self) -> Reply:
        asked = self.fields(profile=str, model=str)
        if not (asked["model"] or "").strip():
            raise QueryError("model is missing: the id of a model.")
        held = self.lab.tenants.get(asked["profile"] or "")
        return Reply(self.lab.jobs.start(held, asked["model"]).json(), HTTPStatus.ACCEPTED)


class JobHandler(_Handler):
    """``GET jobs/{id}``: the state of a refresh; ``DELETE jobs/{id}`` cancels it."""

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        await self.answer(lambda: Reply(self._job(job_id).json()))

    @web.authenticated
    @authorized
    async def delete(self, job_id: str) -> None:
        def cancel() -> Reply:
            job = self._job(job_id)
            job.cancel()
            return Reply(job.json(), HTTPStatus.ACCEPTED)

        await self.answer(cancel)

    def _job(self, job_id: str) -> Job:
        job = self.lab.jobs.find(job_id)
        if job is None:
            raise UnknownNameError("refresh", job_id, where="this server")
        return job


def _settled(reply: Reply) -> asyncio.Future[Reply]:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    future.set_result(reply)
    return future


def _token(held: Held | None) -> dict[str, Any]:
    if held is None:
        return token_json(None, utc_now())
    return token_json(held.tenant._connection.context.guard.peek(), held.now())


def _ensured(held: Held | None, *, refresh_applied: bool, is_refreshing: bool, profile: str = "") -> dict[str, Any]:
    return {
        "profile": profile if held is None else held.profile,
        "token": _token(held),
        "refresh_applied": refresh_applied,
        "is_refreshing": is_refreshing,
        "last_refresh": None if held is None else _last_refresh(held),
        # Results are cached under it, and a kernel shares the cache; it is no secret.
        "principal": None if held is None else held.tenant._connection.principal,
    }


def _last_refresh(held: Held) -> dict[str, Any] | None:
    if held.last_refresh is None:
        return None
    event, at = held.last_refresh
    return {"reason": event.reason, "outcome": event.outcome, "error_kind": event.error_kind, "at": when(at)}


ROUTES: Final = (
    (r"/status", StatusHandler),
    (r"/token/ensure", EnsureHandler),
    (r"/request/send", SendHandler),
    (r"/models", ModelsHandler),
    (r"/models/([^/]+)", ModelHandler),
    (r"/refresh", RefreshHandler),
    (r"/jobs/([0-9a-f]+)", JobHandler),
)
