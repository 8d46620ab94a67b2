"""Read users, teams, jobs, logs and files of a tenant into frames; nothing here changes any of them.

Users and teams come by SCIM (RFC 7643, RFC 7644), whose attribute names ignore case. The attributes that SAC fills are
not all known, so an attribute that is absent reads as null, and one of another type is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sacnb._admin.files import read_files
from sacnb._admin.logs import MOST_ROWS, STATISTICS, moment, read_log
from sacnb._arguments import one_of, required_text, whole_number
from sacnb._endpoints import ACTIVITIES_PATH, SCIM2_ROOT, SCIM_ROOT, STATISTICS_ROOT
from sacnb._odata.envelope import refuse_half_characters
from sacnb._wire.session import SacSession
from sacnb._write.service import list_jobs
from sacnb.errors import BadAnswer, NotFoundError, QueryError

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

__all__ = ["Admin"]

_PAGE: Final = 100
_ACCEPT: Final = "application/scim+json, application/json"


class Admin:
    """Users, teams, import jobs, logs and files of a tenant as frames; ``tenant.admin`` makes one. It only reads."""

    __module__ = "sacnb"

    def __init__(self, session: SacSession) -> None:
        self._session = session

    def __repr__(self) -> str:
        return "Admin(users(), teams(), jobs(), activities(), statistics(kind), files())"

    def users(self) -> pl.DataFrame:
        """Return the users: ``id``, ``user_name``, ``display_name``, ``email``, ``is_active``, ``teams``, ``roles``.

        The last two are lists of names, or of ids where SAC gives no name. The client needs the grant *User
        Provisioning* (its name is unconfirmed).

        Raises AuthError, RequestError, and BadAnswer, also where users changed during the read.
        """
        import polars as pl

        columns: dict[str, Any] = {
            "id": pl.String,
            "user_name": pl.String,
            "display_name": pl.String,
            "email": pl.String,
            "is_active": pl.Boolean,
            "teams": pl.List(pl.String),
            "roles": pl.List(pl.String),
        }
        rows = [
            (
                one["id"],
                _text(one, "username"),
                _text(one, "displayname"),
                _email(one),
                _flag(one, "active"),
                _names(one, "groups"),
                _names(one, "roles"),
            )
            for one in self._resources("Users")
        ]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def teams(self) -> pl.DataFrame:
        """Return the teams: ``id``, ``name``, and ``members``, a list of ids of users.

        Needs and raises what ``users()`` does.
        """
        import polars as pl

        columns: dict[str, Any] = {"id": pl.String, "name": pl.String, "members": pl.List(pl.String)}
        rows = [
            (one["id"], _text(one, "displayname"), _names(one, "members", "value")) for one in self._resources("Groups")
        ]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def activities(self, *, limit: int | None = None) -> pl.DataFrame:
        """Return the log of what users did, the oldest entry first, or with *limit* the last ones.

        The columns are SAC's own, all String: SAP's guide does not name them. The client needs the right to read the
        log; the name of the grant is unconfirmed.

        Raises AuthError, RequestError and BadAnswer; QueryError for a *limit* that is none.
        """
        return read_log(self._session, ACTIVITIES_PATH, "activities", limit=_limit(limit))

    def statistics(
        self,
        kind: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Return one of SAC's statistics, such as "planningVersion": how large the versions of models are.

        The columns are SAC's own, all String: SAP's guide does not name them.

        Args:
            kind: "backend", "client", "dataManagement", "error", "license", "licenseConcurrent", "planningDataAction",
                "planningVersion", "resource", "resourceRecentAccess", "user", "userAdoption", "userLive" or
                "userSession".
            since: The beginning, with its zone.
            until: The end, with its zone.
            limit: The maximum number of rows; then the last ones.

        Raises what ``activities`` raises; QueryError for arguments.
        """
        chosen = one_of("kind", required_text("kind", kind), STATISTICS)
        params = {
            name: moment(argument, value)
            for name, argument, value in (("from", "since", since), ("till", "until", until))
            if value is not None
        }
        path = f"{STATISTICS_ROOT}/{chosen}"
        return read_log(self._session, path, f"statistics of {chosen}", limit=_limit(limit), params=params)

    def files(
        self, kind: str | None = None, *, changed_since: datetime | None = None, of_all: bool = False
    ) -> pl.DataFrame:
        """Return the files of the file repository: ``id``, ``name``, ``type``, who made and changed them, and when.

        Args:
            kind: SAC's type of the file, such as "STORY", "ANALYTIC_MODEL" or "PLANNINGSEQUENCE" (a multi-action).
            changed_since: Only files that were changed after this time, with its zone.
            of_all: Also the files of others, for users with the right *Manage* on public and private files.

        The client needs the grant *File Repository Read*. Raises AuthError, RequestError and BadAnswer; QueryError for
        arguments.
        """
        return read_files(self._session, kind, changed_since, of_all=of_all)

    def jobs(self) -> pl.DataFrame:
        """Return the import jobs that SAC lists: ``id``, ``model``, ``status``, ``type``, ``owner`` and ``created``.

        The client needs the grant *Data Import Service*. Raises AuthError, RequestError and BadAnswer.
        """
        import polars as pl

        names = {"id": "jobid", "model": "modelid", "status": "jobstatus", "type": "importtype", "owner": "owner"}
        names["created"] = "createdtime"
        rows = [tuple(_text(job, name) for name in names.values()) for job in list_jobs(self._session)]
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def _resources(self, kind: str) -> list[dict[str, Any]]:
        try:
            return self._read(f"{SCIM_ROOT}/{kind}", kind)
        except NotFoundError:
            # Tenants differ in the generation of SCIM that they serve.
            return self._read(f"{SCIM2_ROOT}/{kind}", kind)

    def _read(self, path: str, kind: str) -> list[dict[str, Any]]:
        """Read all pages. RFC 7644 keeps no state between pages, so that each is compared with those before it."""
        found: dict[str, dict[str, Any]] = {}
        expected: int | None = None
        while expected is None or len(found) < expected:
            params = {"startIndex": str(len(found) + 1), "count": str(_PAGE)}
            answer = self._session.fetch("GET", path, operation=f"list {kind}", params=params, accept=_ACCEPT)
            total, page = _page(answer.body, kind)
            fresh = {one["id"]: one for one in page if one["id"] not in found}
            is_whole = len(fresh) == len(page) and (page or not total) and len(found) + len(page) <= total
            if not is_whole or expected not in {None, total}:
                raise BadAnswer(
                    f"The pages of {kind} do not fit together: {len(found):,} were read, then came {len(page):,}, of "
                    f"them {len(fresh):,} new, of {total:,} in all; expected {expected or total:,}.",
                    hint=f"Somebody may have changed {kind} meanwhile: run it again.",
                )
            expected = total
            found |= fresh
        return list(found.values())


def _limit(limit: object) -> int | None:
    found = whole_number("limit", limit, least=1)
    if found is not None and found > MOST_ROWS:
        raise QueryError(f"limit must be at most {MOST_ROWS:,}, got {found:,}.", hint="Without it, all rows are read.")
    return found


def _page(body: bytes, kind: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the number of all resources, and those of this page with the names of their attributes in lower case."""
    try:
        refuse_half_characters(body, found := json.loads(body))
        document = _lower(found)
        total = document["totalresults"]
        resources = [_lower(one) for one in document.get("resources") or ()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadAnswer(f"The list of {kind} is not a list of SCIM ({error!r}).") from None
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise BadAnswer(f"The list of {kind} has totalResults {total!r}; expected a number of resources.")
    for one in resources:
        if not _text(one, "id"):
            raise BadAnswer(f"The list of {kind} has an entry without an id.", column="id")
    return total, resources


def _lower(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): one for name, one in value.items()}


def _text(about: Mapping[str, Any], name: str) -> str | None:
    value = about.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadAnswer(f"The attribute {name} is {value!r}; expected text.", column=name)


def _flag(about: Mapping[str, Any], name: str) -> bool | None:
    value = about.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise BadAnswer(f"The attribute {name} is {value!r}; expected true or false.", column=name)


def _entries(about: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the values of a multi-valued attribute; a plain text stands for an object with that value."""
    values = about.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(one, str | dict) for one in values):
        raise BadAnswer(f"The attribute {name} is {type(values).__name__}; expected a list of values.", column=name)
    return [{"value": one} if isinstance(one, str) else _lower(one) for one in values]


def _names(about: Mapping[str, Any], name: str, *attributes: str) -> list[str]:
    found = []
    for entry in _entries(about, name):
        texts = [_text(entry, attribute) for attribute in attributes or ("display", "value")]
        found += [text for text in texts if text][:1]
    return found


def _email(about: Mapping[str, Any]) -> str | None:
    entries = _entries(about, "emails")
    chosen = next((one for one in entries if one.get("primary") is True), entries[0] if entries else {})
    return _text(chosen, "value")
