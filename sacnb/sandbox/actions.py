"""Multi-actions: a start, and runs whose status can be asked for.

Paths, bodies, statuses and error numbers are SAP's (Multi-Actions API). Unconfirmed are the answer to a technical user,
which SAP says cannot run any, and the words of the messages.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import polars as pl

from sacnb.sandbox.exchange import Answer, Exchange
from sacnb.sandbox.imports_rows import as_frame
from sacnb.sandbox.model import Model
from sacnb.sandbox.query import decode
from sacnb.sandbox.relation import FrameRelation

__all__ = ["ACTIONS_ROOT", "GROW_PLAN", "ActionService", "action_kind"]

ACTIONS_ROOT: Final = "/api/v1/multiActions"
GROW_PLAN: Final = "t.SANDBOX:GROW_PLAN"
_UNKNOWN_MEMBER: Final = 501000515
_RUN_FAILED: Final = 502004003
_NOT_FOUND: Final = 596000996
_NOT_AUTHORISED: Final = 596000998
_BAD_BODY: Final = 599000999


def action_kind(method: str) -> str:
    """Return the kind of a request below ``ACTIONS_ROOT``: the word that counters and misbehaviours use."""
    return "action_start" if method == "POST" else "action_status"


class _Problem(Exception):
    """A message of SAC's: its number, its words, and the parameter that it is about."""

    def __init__(self, status: int, code: int, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message: dict[str, Any] = {"code": code, "severity": "ERROR", "message": message}
        if parameter is not None:
            self.message["details"] = [{"parameterId": parameter}]


_Step = Callable[[Model, Mapping[str, Any]], Model]


@dataclass(slots=True)
class _Run:
    id: str
    started: datetime
    status: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    polls_left: int = 0


class ActionService:
    """The paths below ``/api/v1/multiActions``. Called from worker threads, one request at a time."""

    def __init__(
        self,
        *,
        models: Callable[[], list[Model]],
        replace_model: Callable[[Model], None],
        is_named_user: Callable[[str], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._models = models
        self._replace_model = replace_model
        self._is_named_user = is_named_user
        self._now = now
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}

    def answer(self, exchange: Exchange, body: bytes) -> Answer:
        """Answer one request; refusals have the form of this API, a list of messages."""
        parts = [decode(part) for part in exchange.path.removeprefix(ACTIONS_ROOT).strip("/").split("/")]
        with self._lock:
            try:
                if not self._is_named_user(exchange.headers.get("Authorization", "")):
                    raise _Problem(403, _NOT_AUTHORISED, "You are not authorized to execute this multi action.")
                match exchange.method, parts:
                    case "POST", [action_id, "executions"]:
                        return self._start(exchange, action_id, body)
                    case "GET", [action_id, "executions", run_id]:
                        self._found(action_id)
                        return self._status(run_id)
                raise _Problem(404, _NOT_FOUND, "The multi action does not exist.")
            except _Problem as problem:
                return _json(problem.status, {"messages": [problem.message]})

    def _found(self, action_id: str) -> Model:
        model = next((one for one in self._models() if one.provider_id == "PLANNING"), None)
        if action_id != GROW_PLAN or model is None:
            raise _Problem(404, _NOT_FOUND, f"The multi action {action_id} does not exist, or you may not read it.")
        return model

    def _start(self, exchange: Exchange, action_id: str, body: bytes) -> Answer:
        parameters = _parameters(self._found(action_id), body)
        run = _Run(uuid.uuid4().hex, self._now(), "running")
        self._runs[run.id] = run
        slow, fails = exchange.take("action_is_slow"), exchange.take("action_fails")
        run.polls_left = slow["polls"] if slow else 1
        for number, step in enumerate(_STEPS, start=1):
            if fails and fails["step"] == number:
                run.messages = [
                    {"code": 502004000, "severity": "ERROR", "message": f"Step {number} has failed."},
                    {"code": _RUN_FAILED, "severity": "ERROR", "message": "The multi action could not be completed."},
                ]
                break
            # Each step commits by itself: what an earlier one wrote stays where a later one fails.
            self._replace_model(step(self._found(action_id), parameters))
        link = {"href": f"/{action_id}/executions/{run.id}", "rel": "STATUS"}
        return _json(202, {"executionId": run.id, "links": [link]})

    def _status(self, run_id: str) -> Answer:
        run = self._runs.get(run_id)
        if run is None:
            raise _Problem(404, _NOT_FOUND, f"The execution {run_id} does not exist.")
        if run.polls_left == 0:
            run.status = "failed" if run.messages else "successful"
        run.polls_left -= 1
        is_over = run.status != "running"
        document = {
            "executionId": run.id,
            "status": run.status,
            "utcStartDate": run.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "executionResult": {"messages": run.messages if is_over else []},
        }
        return _json(200, document)


def _parameters(model: Model, body: bytes) -> dict[str, Any]:
    """Return the parameters of ``GROW_PLAN``: a version to write, and the growth in percent."""
    try:
        given = json.loads(body)["parameterValues"]
        values = {one["parameterId"]: one["value"] for one in given}
    except (ValueError, KeyError, TypeError) as error:
        raise _Problem(400, _BAD_BODY, "The body of the request is invalid.") from error
    for name in ("TargetVersion", "Growth"):
        if name not in values:
            raise _Problem(400, _BAD_BODY, f"The parameter {name} has no value.", name)
    if unknown := sorted(values.keys() - {"TargetVersion", "Growth", "Year"}):
        raise _Problem(400, _BAD_BODY, f"There is no parameter {unknown[0]}.", unknown[0])
    versions = as_frame(model.dimensions["Version"].members)["ID"].to_list()
    (version,) = _members("TargetVersion", values["TargetVersion"], versions)
    try:
        growth = Decimal(str(values["Growth"]))
    except InvalidOperation as error:
        raise _Problem(400, _BAD_BODY, "The value of Growth is not a number.", "Growth") from error
    years: Sequence[str] = ()
    if "Year" in values:
        known = ["(all)", *{date[:4] for date in as_frame(model.facts)["Date"].unique()}]
        years = _members("Year", values["Year"], known)
    return {"version": version, "growth": growth, "years": years}


def _members(name: str, value: Any, known: Sequence[str]) -> list[str]:
    members = value.get("memberIds") if isinstance(value, dict) else None
    if not isinstance(members, list) or not members or "hierarchyId" not in value:
        raise _Problem(400, _BAD_BODY, f"The value of {name} has no memberIds.", name)
    # Within a hierarchy a member is the path that leads to it.
    last = [path[-1] if isinstance(path, list) and path else path for path in members]
    for member in last:
        if member not in known:
            raise _Problem(400, _UNKNOWN_MEMBER, f"The member {member} does not exist, or you may not see it.", name)
    return last


def _copy(model: Model, parameters: Mapping[str, Any]) -> Model:
    rows = as_frame(model.facts)
    chosen = _in_years(parameters["years"])
    copied = rows.filter((pl.col("Version") == "public.Actual") & chosen)
    copied = copied.with_columns(pl.lit(parameters["version"]).alias("Version"))
    kept = rows.filter(~((pl.col("Version") == parameters["version"]) & chosen))
    return _with_rows(model, pl.concat([kept, copied]))


def _grow(model: Model, parameters: Mapping[str, Any]) -> Model:
    rows = as_frame(model.facts)
    kind = rows.schema["SignedData"]
    touched = rows.filter((pl.col("Version") == parameters["version"]) & _in_years(parameters["years"]))
    factor = 1 + parameters["growth"] / 100
    unit = Decimal(1).scaleb(-7)
    grown = [None if one is None else (one * factor).quantize(unit) for one in touched["SignedData"].to_list()]
    kept = rows.join(touched, on=[c.name for c in model.facts.columns if c.key], how="anti")
    return _with_rows(model, pl.concat([kept, touched.with_columns(pl.Series("SignedData", grown, kind))]))


def _in_years(years: Sequence[str]) -> pl.Expr:
    return pl.lit(value=True) if not years or "(all)" in years else pl.col("Date").str.slice(0, 4).is_in(list(years))


def _with_rows(model: Model, rows: pl.DataFrame) -> Model:
    return replace(model, facts=FrameRelation(model.facts.columns, rows, model.facts.trims_decimals))


_STEPS: Final[tuple[_Step, ...]] = (_copy, _grow)


def _json(status: int, document: Mapping[str, Any]) -> Answer:
    return Answer(status, json.dumps(document).encode())
