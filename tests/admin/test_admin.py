"""Users, teams and jobs are read to the last page, typed, and refused where the pages do not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sacnb._admin.admin import Admin
from sacnb._tenant import Tenant
from sacnb.errors import BadAnswer, NotFoundError
from sacnb.sandbox import Sandbox


class Answers:
    """A session that answers with documents in turn, and remembers what it was asked for."""

    def __init__(self, *documents: Any) -> None:
        self.documents = list(documents)
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    def fetch(self, _method: str, path: str, *, params: Mapping[str, str], **_: Any) -> Any:
        self.asked.append((path, params))
        document = self.documents.pop(0)
        if isinstance(document, Exception):
            raise document
        return SimpleNamespace(body=json.dumps(document).encode())


def admin(*documents: Any) -> Admin:
    return Admin(Answers(*documents))  # type: ignore[arg-type]


def page(total: object, *ids: object) -> dict[str, Any]:
    return {"totalResults": total, "Resources": [{"id": one} for one in ids]}


def test_users_are_read_to_the_last_page(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    users = connect_to(sandbox).admin.users()
    assert users.height == users["id"].n_unique() == 230
    assert users.schema["teams"] == pl.List(pl.String)
    assert users.row(9) == (
        "user-10", "USER010", "User 10", "user010@example.com", False, ["Controllers"], ["PROFILE:sap.epm:Viewer"],
    )  # fmt: skip
    assert sandbox.counts["directory_requests"] == 3


def test_teams_name_their_members(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    tenant = connect_to(sandbox)
    teams = tenant.admin.teams()
    assert teams.select("id", "name").rows() == [
        ("team-0", "Planners"), ("team-1", "Controllers"), ("team-2", "Readers"),
    ]  # fmt: skip
    assert sorted(teams.explode("members")["members"]) == sorted(tenant.admin.users()["id"])


def test_jobs_are_those_that_sac_lists(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    tenant = connect_to(sandbox)
    assert tenant.admin.jobs().is_empty()
    plan = pl.DataFrame({"Date": ["201507"], "Sector": ["31"], "Employees": [12350.5]})
    report = tenant.model("US_EMPLOYMENT").write(plan, version="public.Plan")
    assert tenant.admin.jobs().rows() == [(report.job_id, "US_EMPLOYMENT", "COMPLETED")]


def test_names_ignore_case_and_what_is_absent_is_null() -> None:
    one = {
        "ID": "1",
        "USERNAME": "A",
        "emails": [{"value": "x@example.com"}, {"value": "y@example.com", "primary": True}],
    }
    users = admin({"totalresults": 1, "resources": [one]}).users()
    assert users.rows() == [("1", "A", None, "y@example.com", None, [], [])]


def test_the_other_generation_of_scim_is_asked_after_a_404() -> None:
    answers = Answers(NotFoundError("404"), page(1, "1"))
    assert Admin(answers).teams().height == 1  # type: ignore[arg-type]
    assert [path for path, _ in answers.asked] == ["/api/v1/scim/Groups", "/api/v1/scim2/Groups"]


def test_a_tenant_without_users_is_no_error() -> None:
    assert admin({"totalResults": 0}).users().is_empty()


@pytest.mark.parametrize(
    "pages",
    [
        [page(3, "1", "2"), page(3, "1", "2")],  # startIndex is ignored
        [page(3, "1", "2"), page(3)],  # the last one was deleted meanwhile
        [page(3, "1", "2"), page(4, "3", "4")],  # one was added meanwhile
        [page(2, "1", "1")],
        [page(1, "1", "2")],
        [page(True, "1")],
        [page("1", "1")],
        [page(1, None)],
        [page(1, "")],
        [page(1, 7)],
        [{"Resources": []}],
        [[]],
        [{"totalResults": 1, "Resources": ["1"]}],
        [{"totalResults": 1, "Resources": [{"id": "1", "active": "yes"}]}],
        [{"totalResults": 1, "Resources": [{"id": "1", "emails": "x@example.com"}]}],
        [{"totalResults": 1, "Resources": [{"id": "1", "roles": [7]}]}],
    ],
)
def test_answers_that_do_not_fit_are_refused(pages: list[Any]) -> None:
    with pytest.raises(BadAnswer):
        admin(*pages).users()
