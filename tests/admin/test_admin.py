"""Users, teams and jobs are read to the last page, typed, and refused where the pages do not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sacnb._admin.admin import Admin
from sacnb._settings.variables import Limits
from sacnb._tenant import Tenant
from sacnb.errors import BadAnswer, NotFoundError, QueryError
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


NAIVE = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)


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
    jobs = tenant.admin.jobs()
    assert jobs.drop("created").rows() == [(report.job_id, "US_EMPLOYMENT", "COMPLETED", "factData", "technical")]
    assert jobs["created"].str.starts_with("2").all()


def test_the_log_is_read_to_its_last_page_and_from_its_end(
    sandbox: Sandbox, connect_to: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = connect_to(sandbox).admin
    monkeypatch.setattr("sacnb._admin.logs.MOST_ROWS", 100)
    log = admin.activities()
    assert (log.height, set(log.dtypes)) == (250, {pl.String})
    assert log["timestamp"].is_sorted()
    assert log.row(7, named=True)["fileName"] == "Model, 7"
    assert admin.activities(limit=3).equals(log.tail(3))
    assert sandbox.counts["directory_requests"] == 4


def test_statistics_are_narrowed_by_time(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    admin = connect_to(sandbox).admin
    at = datetime(2026, 11, 1, 1, tzinfo=UTC)
    found = admin.statistics("planningVersion", since=at, until=at + timedelta(minutes=9))
    assert found["timestamp"].to_list() == [f"2026-11-01T01:0{minute}:00.000Z" for minute in range(10)]


def test_files_are_read_to_the_last_link_and_narrowed(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    admin = connect_to(sandbox).admin
    files = admin.files()
    assert (files.height, files["id"].n_unique(), sandbox.counts["directory_requests"]) == (90, 90, 2)
    assert admin.files(of_all=True).height == 120
    since = datetime(2026, 11, 1, 20, tzinfo=UTC)
    stories = admin.files("STORY", changed_since=since, of_all=True)
    assert stories.height == 33
    assert stories["changed"].min() > since  # type: ignore[operator]
    assert stories.schema["changed"] == pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a,b\n1,2\n3,4,5\n", "is not CSV"),
        (b"a\n1\n2\n3\n", "do not fit together: page 1 has 3 rows"),
        (b"<!DOCTYPE html><html>log in</html>", "A web page came for activities"),
        (b'{"error": "no"}', "is not CSV"),
    ],
)
def test_logs_that_do_not_fit_are_refused(body: bytes, message: str) -> None:
    session = SimpleNamespace(fetch=lambda *_, **__: SimpleNamespace(body=body))
    with pytest.raises(BadAnswer, match=message):
        Admin(session).activities(limit=2)  # type: ignore[arg-type]
    session.fetch = lambda *_, **__: SimpleNamespace(body=b"")
    assert Admin(session).activities().is_empty()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda admin: admin.statistics("versions"), "kind must be 'backend' or"),
        (lambda admin: admin.statistics("user", since=NAIVE), "since must be a datetime with a zone"),
        (lambda admin: admin.activities(limit=0), "limit must be a whole number of at least 1"),
        (lambda admin: admin.activities(limit=100_001), "limit must be at most 100,000"),
        (lambda admin: admin.files(changed_since="2026-01-01"), "changed_since must be a datetime"),
        (lambda admin: admin.files(of_all="yes"), "of_all must be True or False"),
    ],
)
def test_arguments_are_checked_before_anything_is_asked(ask: Callable[[Admin], Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        ask(admin())


@pytest.mark.parametrize("bad", [{"a": 1}, ["a"], 5, True])
def test_an_id_of_a_file_is_text(bad: Any) -> None:
    session = SimpleNamespace(
        fetch=lambda *_, **__: SimpleNamespace(
            body=json.dumps({"value": [{"resourceId": bad}]}).encode(), status=200, url="https://a.test/files"
        ),
        limits=Limits(),
    )
    with pytest.raises(BadAnswer, match="The property resourceId of a file"):
        Admin(session).files()  # type: ignore[arg-type]


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
