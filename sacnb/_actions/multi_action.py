"""Multi-actions: start one, follow its run, and read its messages.

A start is sent once: there is no list of runs, so after a lost answer nobody could tell whether the action runs. Facts
are those of SAP's Multi-Actions API; it takes named users only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

from sacnb._arguments import callback, required_text, seconds
from sacnb._endpoints import multi_action_path
from sacnb._odata.envelope import refuse_half_characters
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb.errors import (
    ActionError,
    BadAnswer,
    Cancelled,
    ForbiddenError,
    NoAnswerError,
    NotFoundError,
    QueryError,
    RequestError,
    ServerError,
)

if TYPE_CHECKING:
    import polars as pl

    from sacnb._wire.session import SacSession

__all__ = ["MemberPath", "MultiAction", "Run", "read_parameters"]

_POLLS_S: Final = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0)
_RUNNING, _SUCCESSFUL, _FAILED = "running", "successful", "failed"
# SAC's numbers, and what to do. Those of a run stand in its messages, those of a refusal in the error's code.
# Of an Int64.
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_HINTS: Final = {
    501000515: "The member does not exist, or this user may not see it. Ids are case-sensitive; with a hierarchy, pass "
    "sacnb.MemberPath with all levels.",
    502004003: "Look at the messages before it. The steps before the failed one have written, and stay.",
    596000996: "Copy the id from the Starter API URL of the multi-action, where Allow External API Access is ticked.",
    596000998: "SAC lets named users run it, never a technical user: connect(auth='authorization_code'), and "
    "tenant.login(). The user also needs the right to execute it.",
    599000999: "Compare names and types of the parameters with those in the designer of the multi-action.",
}


@dataclass(frozen=True, slots=True, init=False)
class MemberPath:
    """A member within a hierarchy, as multi-actions take it: every level from the top, such as ``(all)``, year, month.

    ``MemberPath("(all)", "2026", "202601", hierarchy="YM")``. That a path is a list of its own within the members is
    how SAP's examples read; unconfirmed on a tenant.
    """

    __module__ = "sacnb"

    levels: tuple[str, ...]
    hierarchy: str

    def __init__(self, *levels: str, hierarchy: str) -> None:
        object.__setattr__(self, "levels", tuple(required_text("a level of MemberPath", level) for level in levels))
        object.__setattr__(self, "hierarchy", required_text("hierarchy", hierarchy))
        if not levels:
            raise QueryError("MemberPath needs the levels of the member.", hint='MemberPath("(all)", "2026", ...)')


@dataclass(frozen=True, slots=True)
class Run(Previewed):
    """A run of a multi-action: its id, and how it stood when it was last asked."""

    __module__ = "sacnb"

    action_id: str
    id: str
    status: str
    """``running``, ``successful`` or ``failed``; other words of SAC stay as they are."""
    started: str | None
    """When it began, in UTC as SAC writes it."""
    _messages: tuple[Mapping[str, Any], ...] = field(repr=False)
    _session: SacSession | None = field(repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # A session is not pickled. An error about a run in a worker arrives without it.
        return (Run, (self.action_id, self.id, self.status, self.started, self._messages, None))

    @property
    def is_over(self) -> bool:
        """True once the run was successful or failed."""
        return self.status in {_SUCCESSFUL, _FAILED}

    @property
    def messages(self) -> pl.DataFrame:
        """SAC's messages: severity, code (Int64), message, parameters (a list of their ids)."""
        import polars as pl

        texts: Any = dict.fromkeys(("severity", "code", "message"), pl.String)
        schema = {**texts, "code": pl.Int64, "parameters": pl.List(pl.String)}
        rows = [(_text(one, "severity"), _number(one), _text(one, "message"), _named(one)) for one in self._messages]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def refresh(self) -> Run:
        """Return the run as it stands now. Raises NotFoundError, AuthError, RequestError and BadAnswer."""
        answer = self._connected().fetch(
            "GET", multi_action_path(self.action_id, self.id), operation="ask multi-action"
        )
        found = _object(answer.body)
        result = found.get("executionResult")
        messages = result.get("messages") if isinstance(result, Mapping) else None
        return Run(
            self.action_id,
            self.id,
            (_text(found, "status") or "unknown").lower(),
            _text(found, "utcStartDate"),
            tuple(one for one in messages if isinstance(one, Mapping)) if isinstance(messages, list) else (),
            self._session,
        )

    def wait(self, *, timeout_s: float = 3600.0, cancelled: Callable[[], bool] | None = None) -> Run:
        """Wait until the run is over, and return it.

        ``cancelled`` is polled between requests; returning true ends the wait, not the run: SAC has no way to stop one.

        Raises ActionError for a failed run, and after *timeout_s* seconds, when it may still be running; its ``run``
        is the run. Raises Cancelled, and what ``refresh`` raises.
        """
        limit_s, cancelled = seconds("timeout_s", timeout_s) or 0.0, callback("cancelled", cancelled)
        session = self._connected()
        end, turn, run = session.clock() + limit_s, 0, self
        while True:
            run = run.refresh()
            if run.status == _SUCCESSFUL:
                return run
            if run.status == _FAILED:
                raise _failed(run)
            if session.clock() >= end:
                raise ActionError(
                    f"The run {run.id} of {run.action_id!r} is not over after {limit_s:g} s (status: {run.status}).",
                    run=run,
                    hint="It is still running in SAC. Wait for it: error.run.wait()",
                )
            if cancelled is not None and cancelled():
                raise Cancelled(f"The wait for the run {run.id} was stopped; the run continues in SAC.")
            session.sleep(_POLLS_S[min(turn, len(_POLLS_S) - 1)])
            turn += 1

    def _connected(self) -> SacSession:
        if self._session is None:
            raise QueryError(f"The run {self.id} came from another process, and has no connection here.")
        return self._session

    def _preview(self) -> Preview:
        said = "; ".join(filter(None, (_text(one, "message") for one in self._messages)))
        facts = {"multi-action": self.action_id, "run": self.id, "status": self.status, "started": self.started or ""}
        return fact_table("Run of a multi-action", {**facts, **({"messages": said} if said else {})})


@dataclass(frozen=True, slots=True)
class MultiAction:
    """A multi-action, by its id. SAC has no list of them; the designer shows the id in the *Starter API URL*."""

    __module__ = "sacnb"

    id: str
    _session: SacSession = field(repr=False)

    @classmethod
    def of(cls, session: SacSession, action_id: str) -> Self:
        """Return the multi-action with this id; nothing is asked."""
        return cls(required_text("action_id", action_id), session)

    def find(self, run_id: str) -> Run:
        """Return a run that was started before, as it stands now. Raises NotFoundError, AuthError and RequestError."""
        return Run(self.id, required_text("run_id", run_id), "unknown", None, (), self._session).refresh()

    def run(self, parameters: Mapping[str, Any] | None = None) -> Run:
        """Start the multi-action, and return its run at once; ``run.wait()`` waits for its end.

        Steps commit one by one: where one fails, those before it have written, and SAC takes nothing back. A step with
        *publish* publishes all that is unpublished in that version.

        Args:
            parameters: values by the ids of the parameters: a member id or a list of them, a ``MemberPath`` or a list
                of them, or a number.

        Raises QueryError for a value of another type; ActionError where no answer came, so that it may be running;
        ForbiddenError where the user may not run it, or is a technical one; NotFoundError, AuthError, RequestError.
        """
        values = [{"parameterId": name, "value": _value(name, value)} for name, value in _named_values(parameters)]
        try:
            answer = self._session.fetch(
                "POST",
                multi_action_path(self.id),
                operation="start multi-action",
                json={"parameterValues": values},
                idempotent=False,
            )
            found = _object(answer.body)
        except (NoAnswerError, ServerError, BadAnswer) as error:
            raise ActionError(
                f"No answer came to the start of {self.id!r}, so it may be running.",
                hint="SAC has no list of runs: look at its effect, or at the job monitor of SAC, before you start it "
                "again.",
                outcome=error.outcome,
            ) from error
        except RequestError as error:
            error.hint = _hint(error) or error.hint
            raise
        run_id = _text(found, "executionId")
        if run_id is None:
            raise BadAnswer(f"SAC started {self.id!r} and named no run: {sorted(found)}.")
        return Run(self.id, run_id, _RUNNING, None, (), self._session)


def read_parameters(
    members: Sequence[tuple[str, str]], paths: Sequence[tuple[str, str]], numbers: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the parameters that were typed as texts: members, paths such as ``YM:(all)/2026/202601``, and numbers.

    Raises QueryError for text that is no number, a path without its hierarchy, and a parameter of two kinds.
    """
    found: dict[str, Any] = {}
    for name, member in members:
        found.setdefault(name, []).append(member)
    for name, path in paths:
        hierarchy, colon, levels = path.partition(":")
        if not (hierarchy and colon and levels):
            raise QueryError(f"{name}={path} is not a path.", hint=f"Write {name}=HIERARCHY:(all)/2026/202601.")
        if name in dict(members):
            raise QueryError(f"{name} is given as a member and as a path.")
        found.setdefault(name, []).append(MemberPath(*levels.split("/"), hierarchy=hierarchy))
    for name, number in numbers:
        if name in found:
            raise QueryError(f"{name} has more than one value.")
        try:
            found[name] = int(number) if number.lstrip("+-").isdecimal() else float(number)
        except ValueError:
            raise QueryError(f"{name}={number} is not a number.", hint=f"For a member: --member {name}=...") from None
    return found


def _named_values(parameters: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    if parameters is None:
        return []
    if not isinstance(parameters, Mapping):
        raise QueryError(f"parameters must be a mapping of ids to values, got a {type(parameters).__name__}.")
    return [(required_text("a parameter's id", name), value) for name, value in parameters.items()]


def _value(name: str, value: Any) -> Any:
    """Return the value of a parameter as SAC takes it."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise _unexpected(name, value)
        if isinstance(value, Decimal) and float(value) != value:
            raise QueryError(f"The parameter {name!r} is {value}, which has more digits than a number in JSON keeps.")
        return float(value) if isinstance(value, Decimal) else value
    members = [value] if isinstance(value, str | MemberPath) else value
    if isinstance(members, Mapping | bytes | bool | datetime) or not isinstance(members, Sequence) or not members:
        raise _unexpected(name, value)
    if all(isinstance(one, str) and one for one in members):
        return {"memberIds": list(members), "hierarchyId": None}
    paths = [one for one in members if isinstance(one, MemberPath)]
    hierarchies = {path.hierarchy for path in paths}
    if len(paths) == len(members) and len(hierarchies) == 1:
        return {"memberIds": [list(path.levels) for path in paths], "hierarchyId": hierarchies.pop()}
    raise _unexpected(name, value)


def _unexpected(name: str, value: object) -> QueryError:
    return QueryError(
        f"The parameter {name!r} is {value!r}; expected a member id, a MemberPath, a list of either in one hierarchy, "
        "or a finite number.",
        hint="A date is a member: its id, such as '202601', or a MemberPath.",
    )


def _failed(run: Run) -> ActionError:
    said = "; ".join(filter(None, (_text(one, "message") for one in run._messages))) or "SAC gave no reason."
    codes = [number for one in run._messages if (number := _number(one)) in _HINTS]
    return ActionError(
        f"The run {run.id} of {run.action_id!r} failed: {said}",
        run=run,
        hint=_HINTS[codes[0]] if codes and codes[0] is not None else _HINTS[502004003],
    )


def _hint(error: RequestError) -> str | None:
    """Return the remedy that belongs to SAC's number, or else to the status of the refusal."""
    if error.code and error.code.isdecimal() and int(error.code) in _HINTS:
        return _HINTS[int(error.code)]
    if isinstance(error, ForbiddenError):
        return _HINTS[596000998]
    return _HINTS[596000996] if isinstance(error, NotFoundError) else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("The answer of the multi-action is not JSON.") from error
    if not isinstance(found, dict):
        raise BadAnswer("The answer of the multi-action is not an object.")
    refuse_half_characters(body, found)
    return found


def _text(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) and value else None


def _number(message: Mapping[str, Any]) -> int | None:
    code = str(message.get("code"))
    return int(code) if _DIGITS.fullmatch(code) else None


def _named(message: Mapping[str, Any]) -> list[str]:
    details = message.get("details")
    found = [one.get("parameterId") for one in details or () if isinstance(one, Mapping)]
    return [one for one in found if isinstance(one, str)]
