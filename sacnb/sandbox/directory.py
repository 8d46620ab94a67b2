"""Users and teams by SCIM, and the logs beside them: lists in pages, read only, of people who do not exist.

The form is that of RFC 7643 and RFC 7644. The attributes that SAC adds are left out.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qs

from sacnb.sandbox.directory_logs import log_answer
from sacnb.sandbox.exchange import Answer, Exchange, Refusal

__all__ = ["SCIM_ROOT", "directory_answer"]

SCIM_ROOT: Final = "/api/v1/scim"
_MOST: Final = 100
_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_USERS: Final = 230
_TEAMS: Final = ("Planners", "Controllers", "Readers")


def _user(number: int) -> dict[str, Any]:
    name = f"USER{number:03}"
    team = number % len(_TEAMS)
    return {
        "id": f"user-{number}",
        "userName": name,
        "displayName": f"User {number}",
        "active": number % 10 != 0,
        "emails": [{"value": f"{name.lower()}@example.com", "primary": True}],
        "groups": [{"value": f"team-{team}", "display": _TEAMS[team]}],
        "roles": ["PROFILE:sap.epm:Viewer"],
    }


def _team(number: int) -> dict[str, Any]:
    members = [{"value": f"user-{user}"} for user in range(1, _USERS + 1) if user % len(_TEAMS) == number]
    return {"id": f"team-{number}", "displayName": _TEAMS[number], "members": members}


def directory_answer(exchange: Exchange) -> Answer:
    """Answer a request for users, teams, logs or files."""
    if exchange.method != "GET":
        raise Refusal(405, "The sandbox only reads users and teams.")
    if not exchange.path.startswith(SCIM_ROOT + "/"):
        return log_answer(exchange)
    match exchange.path.removeprefix(SCIM_ROOT + "/"):
        case "Users":
            resources = [_user(number) for number in range(1, _USERS + 1)]
        case "Groups":
            resources = [_team(number) for number in range(len(_TEAMS))]
        case _:
            raise Refusal(404, f"{exchange.path} does not exist.")
    options = parse_qs(exchange.query)
    try:
        start = max(1, int(options.get("startIndex", ["1"])[0]))
        count = min(_MOST, max(0, int(options.get("count", [str(_MOST)])[0])))
    except ValueError:
        raise Refusal(400, "startIndex and count are whole numbers.") from None
    page = resources[start - 1 : start - 1 + count]
    document = {
        "schemas": [_LIST],
        "totalResults": len(resources),
        "itemsPerPage": len(page),
        "startIndex": start,
        "Resources": page,
    }
    return Answer(200, json.dumps(document).encode(), content_type="application/scim+json")
