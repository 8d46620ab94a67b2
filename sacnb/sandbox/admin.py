"""The paths by which another process steers a running sandbox.

``GET /sandbox/misbehaviours`` lists what is switched on, ``POST`` switches on (``{"name": ..., options}``),
``DELETE`` switches all off, ``DELETE /sandbox/misbehaviours/<name>`` one. ``GET /sandbox/counts`` gives the counters.
They ask for no token: the sandbox is for one machine, and holds nothing that is not public.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sacnb.sandbox.exchange import Answer
from sacnb.sandbox.journal import Journal
from sacnb.sandbox.problems import Refusal
from sacnb.sandbox.rules import Rules

__all__ = ["Admin"]

_MISBEHAVIOURS: Final = "/sandbox/misbehaviours"


class Admin:
    """Answers the administrative paths."""

    def __init__(self, rules: Rules, journal: Journal) -> None:
        self._rules = rules
        self._journal = journal

    def answer(self, method: str, path: str, content_type: str, body: bytes) -> Answer:
        """Carry out one request.

        Raises:
            Refusal: 400 for a misbehaviour or option that does not exist, 404 for another path, 405, 415.
        """
        try:
            match method, path:
                case "GET", "/sandbox/counts":
                    return _json(dict(self._journal.counts()))
                case "GET", "/sandbox/misbehaviours":
                    pass
                case "POST", "/sandbox/misbehaviours":
                    self._switch_on(content_type, body)
                case "DELETE", "/sandbox/misbehaviours":
                    self._rules.switch_off()
                case "DELETE", _ if path.startswith(f"{_MISBEHAVIOURS}/"):
                    self._rules.switch_off(path.removeprefix(f"{_MISBEHAVIOURS}/"))
                case _, "/sandbox/counts" | "/sandbox/misbehaviours":
                    raise Refusal(405, f"The method {method} is not allowed.")
                case _:
                    raise Refusal(404, f"There is no {path}; there is {_MISBEHAVIOURS} and /sandbox/counts.")
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        return _json({"misbehaviours": self._rules.describe()})

    def _switch_on(self, content_type: str, body: bytes) -> None:
        if content_type != "application/json":
            # A form of a web page elsewhere cannot send this type, so no page in a browser can steer the sandbox.
            raise Refusal(415, "Send application/json.")
        wanted = json.loads(body)
        if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
            raise Refusal(400, 'Send an object with a "name", such as {"name": "error_500", "times": 1}.')
        self._rules.switch_on(wanted.pop("name"), wanted)


def _json(document: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(document).encode())
