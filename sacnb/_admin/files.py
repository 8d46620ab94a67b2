"""Search the file repository: stories, models and whatever else SAC keeps as files."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sacnb._admin.logs import moment
from sacnb._arguments import flag, text
from sacnb._endpoints import FILES_PATH
from sacnb._odata.page import cut_page, read_pages
from sacnb.errors import BadAnswer

if TYPE_CHECKING:
    import polars as pl

    from sacnb._wire.message import Answer
    from sacnb._wire.session import SacSession

__all__ = ["read_files"]

# The names of the properties are those of a public client, and partly of SAP's examples.
_TEXTS: Final = {
    "id": "resourceId",
    "name": "name",
    "description": "description",
    "type": "resourceType",
    "subtype": "resourceSubtype",
    "created_by": "createdBy",
    "changed_by": "modifiedBy",
    "folder": "folderType",
}
_TIMES: Final = {"created": "createdTime", "changed": "modifiedTime"}


def read_files(session: SacSession, kind: object, changed_since: object, *, of_all: object) -> pl.DataFrame:
    """Return the files as ``Admin.files`` says. SAC sends them in pages of 50, with links."""
    import polars as pl

    terms = []
    wanted = text("kind", kind)
    if wanted:
        terms.append("resourceType eq '{}'".format(wanted.replace("'", "''")))
    if changed_since is not None:
        terms.append(f"modifiedTime gt {moment('changed_since', changed_since)}")
    options = {"$filter": " and ".join(terms)} if terms else {}
    if flag("of_all", of_all):
        options["applyManagePrivilege"] = "true"
    # A plus for a blank is refused (reported from a live tenant).
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    url = FILES_PATH + (f"?{query}" if query else "")
    rows = read_pages(lambda at: session.fetch("GET", at, operation="list files", check=_check), url, session.limits)
    ids = [_text(row, "resourceId") for row in rows]
    if len(set(ids)) < len(ids):
        raise BadAnswer(
            "The pages of the file repository repeat files: somebody changed files meanwhile.", hint="Run it again."
        )
    found = {name: pl.Series([_text(row, source) for row in rows], dtype=pl.String) for name, source in _TEXTS.items()}
    times: Any = pl.Datetime("us", "UTC")
    found |= {name: pl.Series([_time(row, source) for row in rows], dtype=times) for name, source in _TIMES.items()}
    return pl.DataFrame(found)


def _check(answer: Answer) -> None:
    cut_page(answer.body)  # raises where the page is cut short, so that it is asked for again


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadAnswer(f"The property {name} of a file is {value!r}; expected text.", column=name)


def _time(row: dict[str, Any], name: str) -> datetime | None:
    value = _text(row, name)
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise BadAnswer(f"The property {name} of a file is {value!r}; expected a time.", column=name) from None
    if found.tzinfo is None:
        raise BadAnswer(f"The property {name} of a file is {value!r}, a time without a zone.", column=name)
    return found
