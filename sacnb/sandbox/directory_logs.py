"""Activities, statistics and the file repository: pages of CSV, and of OData with links.

Paths, parameters and the size of a page are those of SAP's guide, the properties of files those of a public client. The
columns of the CSV are unconfirmed: they are the keys by which SAP's guide sorts them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, quote

from sacnb.sandbox.exchange import Answer, Exchange, Refusal

__all__ = ["ACTIVITIES_PATH", "FILES_PATH", "STATISTICS_ROOT", "log_answer"]

ACTIVITIES_PATH: Final = "/api/v1/audit/activities/exportActivities"
STATISTICS_ROOT: Final = "/api/v1/monitoring"
FILES_PATH: Final = "/api/v1/filerepository/Resources"
_COLUMNS: Final = ("timestamp", "userName", "activity", "type", "fileName", "status", "description")
_BEGAN: Final = datetime(2026, 11, 1, tzinfo=UTC)
_ACTIVITIES: Final = 250
_MOST: Final = 100_000
_FILES: Final = 120
_FILES_A_PAGE: Final = 50
_TERM: Final = re.compile(r"(resourceType) eq '((?:[^']|'')*)'|(modifiedTime) gt (\S+)")


def log_answer(exchange: Exchange) -> Answer:
    """Answer a request for activities, statistics or files."""
    options = {name: values[0] for name, values in parse_qs(exchange.query, keep_blank_values=True).items()}
    if exchange.path == FILES_PATH:
        return _files(exchange, options)
    if "json" in exchange.headers.get("Accept", ""):
        raise Refusal(406, "Not Acceptable")  # seen on a live tenant
    if exchange.path not in {ACTIVITIES_PATH, f"{STATISTICS_ROOT}/planningVersion"}:
        raise Refusal(404, f"{exchange.path} does not exist.")
    return _csv(options)


def _csv(options: dict[str, str]) -> Answer:
    try:
        size, index = int(options.get("pageSize", _MOST)), int(options.get("pageIndex", 1))
    except ValueError:
        raise Refusal(400, "pageSize and pageIndex are whole numbers.") from None
    if not 1 <= size <= _MOST or index < 1:
        raise Refusal(400, "pageSize is 1 to 100,000, and pageIndex at least 1.")
    rows = [_activity(number) for number in range(_ACTIVITIES)]
    since, until = options.get("from", ""), options.get("till", "9999")
    rows = [row for row in rows if since <= row[0] <= until]
    if options.get("sortDescending", "").upper() == "TRUE":
        rows.reverse()
    out = io.StringIO()
    csv.writer(out).writerows([_COLUMNS, *rows[(index - 1) * size : index * size]])
    return Answer(200, out.getvalue().encode(), content_type="text/csv")


def _activity(number: int) -> tuple[str, ...]:
    at = (_BEGAN + timedelta(minutes=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    user = f"USER{number % 9:03}"
    return (at, user, "Update", "Planning", f"Model, {number}", "Successful", 'changed "Plan"')


def _file(number: int) -> dict[str, Any]:
    at = (_BEGAN + timedelta(hours=number)).isoformat(timespec="seconds").replace("+00:00", "Z")
    kinds = ("STORY", "ANALYTIC_MODEL", "PLANNINGSEQUENCE")
    return {
        "resourceId": f"{number:032X}",
        "name": f"File {number}",
        "description": None,
        "resourceType": kinds[number % len(kinds)],
        "resourceSubtype": "",
        "createdTime": _BEGAN.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "createdBy": "USER001",
        "modifiedTime": at,
        "modifiedBy": "USER002",
        "folderType": "PRIVATE" if number % 4 == 0 else "PUBLIC",
    }


def _files(exchange: Exchange, options: dict[str, str]) -> Answer:
    found = [_file(number) for number in range(_FILES)]
    if options.get("applyManagePrivilege") != "true":
        found = [one for one in found if one["folderType"] == "PUBLIC"]
    if terms := options.get("$filter"):
        if "+" in exchange.query:
            raise Refusal(400, "The query is malformed.")
        for term in terms.split(" and "):
            match = _TERM.fullmatch(term)
            if match is None:
                raise Refusal(400, "The query is malformed.")
            if match[1]:
                found = [one for one in found if one["resourceType"] == match[2].replace("''", "'")]
            else:
                found = [one for one in found if one["modifiedTime"] > match[4]]
    start = int(options.get("$skip", "0"))
    document: dict[str, Any] = {"@odata.context": "$metadata#Resources", "value": found[start:][:_FILES_A_PAGE]}
    if start + _FILES_A_PAGE < len(found):
        rest = {name: value for name, value in options.items() if name != "$skip"}
        query = "&".join(f"{name}={quote(value)}" for name, value in {**rest, "$skip": str(start + 50)}.items())
        document["@odata.nextLink"] = f"{exchange.origin}{FILES_PATH}?{query}"
    return Answer(200, json.dumps(document).encode())
