"""Whatever SAC says about the number of rows is compared, and empty pages come to an end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sacnb._connections import Interrupt
from sacnb._http import SeenLinks
from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Schema
from sacnb._pull.collect import pull
from sacnb._pull.count import count_rows
from sacnb._pull.plan import Job, Plan
from sacnb._pull.source import PageSource, Start
from sacnb._settings.variables import Limits
from sacnb._wire.retry import RetryPlan
from sacnb._wire.telemetry import Telemetry
from sacnb.errors import BadAnswer, RequestError, RowCountWarning

SIZE = 10


class Tenant:
    """A session that answers with the pages of a model, a link from each to the next, as ``change`` changes them.

    ``count_alone`` is the answer to ``/$count``, and a refusal without one.
    """

    limits = Limits()

    def __init__(
        self,
        pages: int,
        change: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda _, page: page,
        *,
        count_alone: bytes | None = None,
        takes_s: float = 0.0,
    ) -> None:
        self._pages = pages
        self._change = change
        self._count_alone = count_alone
        self._takes_s = takes_s
        self.now_s = 0.0
        self.asked: list[str] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def fetch(self, _: str, url: str, **options: Any) -> Any:
        self.asked.append(url)
        self.now_s += self._takes_s
        if "/$count" in url:
            if self._count_alone is None:
                raise RequestError("not acceptable", status=406)
            return SimpleNamespace(body=self._count_alone, url=url, status=200 if self._count_alone else 204)
        found = re.search(r"at=(\d+)", url)
        number = int(found[1]) if found else 0
        page: dict[str, Any] = {
            "value": [{"Name": f"{number}-{row}", "Amount": row} for row in range(SIZE)],
            "@odata.count": self._pages * SIZE,
            "@des.entitiesInPage": str(SIZE),
        }
        if number + 1 < self._pages:
            page["@odata.nextLink"] = f"/F?at={number + 1}"
        changed = self._change(number, page)
        answer = SimpleNamespace(
            body=json.dumps(changed).encode() if changed else b"", url=url, status=200 if changed else 204
        )
        if options.get("check"):
            options["check"](answer)
        return answer


def job_for(tenant: Tenant, **options: Any) -> Job:
    columns = (
        Column("Name", "Edm.String", "dimension"),
        Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
    )
    context: Any = SimpleNamespace(session=tenant, telemetry=Telemetry(), retry_plan=RetryPlan(deadline_s=60))
    return Job(
        context=context,
        tenant_url="https://acme.invalid",
        schema=Schema("GIVEN", "FactData", columns),
        query=Query("GIVEN"),
        **options,
    )


def rows_of(tenant: Tenant, **options: Any) -> int:
    job = job_for(tenant, **options)
    return int(pull(job, Plan.of(job.query, job.schema, job.tenant_url)).num_rows)


def without_count(_: int, page: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in page.items() if name != "@odata.count"}


def short(number: int, page: dict[str, Any]) -> dict[str, Any]:
    return {**without_count(number, page), "value": page["value"][: SIZE - (number == 2)]}


def successor(number: int, page: dict[str, Any]) -> dict[str, Any]:
    """Page 2 is answered with the body of page 3."""
    if number != 2:
        return without_count(number, page)
    rows = [{**row, "Name": row["Name"].replace("2-", "3-")} for row in page["value"]]
    return {**without_count(number, page), "value": rows, "@odata.nextLink": "/F?at=4"}


# -- what pages say --------------------------------------------------------------------------------------------------


def test_whole_pages_are_taken() -> None:
    assert rows_of(Tenant(6)) == 60


def test_a_page_with_fewer_rows_than_it_says_is_asked_for_again_and_then_refused() -> None:
    tenant = Tenant(6, short)
    with pytest.raises(BadAnswer, match=r"holds 9 rows, and says itself that it has 10"):
        rows_of(tenant)
    assert sum("at=2" in url for url in tenant.asked) == 2


def test_a_page_that_was_short_once_is_mended() -> None:
    times = 0

    def once(number: int, page: dict[str, Any]) -> dict[str, Any]:
        nonlocal times
        times += number == 2
        return short(number, page) | {"@odata.count": 60} if times == 1 else page

    assert rows_of(Tenant(6, once)) == 60


@pytest.mark.parametrize("said", ["null", "", "ten", None])
def test_a_number_of_rows_that_cannot_be_read_is_none(said: str | None) -> None:
    assert rows_of(Tenant(3, lambda _, page: {**page, "@des.entitiesInPage": said})) == 30


# -- the count that pages do not hold --------------------------------------------------------------------------------


def test_without_a_count_in_the_pages_slash_count_is_compared() -> None:
    assert rows_of(Tenant(6, without_count, count_alone=b"60")) == 60
    with pytest.raises(BadAnswer, match="SAC announced 60 rows of GIVEN/FactData and sent 50"):
        rows_of(Tenant(6, successor, count_alone=b"\xef\xbb\xbf60"))


def test_slash_count_is_asked_with_the_filter_and_nothing_else() -> None:
    tenant = Tenant(2, without_count, count_alone=b"20")
    rows_of(tenant)
    (asked,) = (url for url in tenant.asked if "/$count" in url)
    assert asked.endswith("/FactData/$count")


@pytest.mark.parametrize(("count_alone", "counted"), [(b"7", 7), (b"", None)])
def test_no_content_holds_no_count(count_alone: bytes, counted: int | None) -> None:
    tenant = Tenant(1, lambda _, page: {}, count_alone=count_alone)
    assert count_rows(job_for(tenant), [None]) == [counted]


def test_the_user_is_warned_where_sac_sends_no_count_at_all() -> None:
    with pytest.warns(RowCountWarning, match=r"no row count for GIVEN/FactData.*50 rows of 5 pages"):
        assert rows_of(Tenant(6, successor)) == 50


def test_a_single_page_needs_no_count_and_no_request_for_one() -> None:
    tenant = Tenant(1, without_count)
    assert rows_of(tenant) == 10
    assert len(tenant.asked) == 1


def test_without_check_count_there_is_no_extra_request_and_no_warning() -> None:
    tenant = Tenant(6, successor)
    assert rows_of(tenant, check_count=False) == 50
    assert len(tenant.asked) == 5


def test_no_advice_turns_the_check_off() -> None:
    with pytest.raises(BadAnswer) as caught:
        rows_of(Tenant(6, lambda number, page: {**successor(number, page), "@odata.count": 60}))
    assert "check_count" not in str(caught.value)


# -- pages without rows ----------------------------------------------------------------------------------------------


def empty(number: int, page: dict[str, Any]) -> dict[str, Any]:
    return {"value": [], "@odata.count": 5, "@odata.nextLink": f"/F?at={number + 1}"}


def test_empty_pages_before_between_and_after_are_taken() -> None:
    def some_empty(number: int, page: dict[str, Any]) -> dict[str, Any]:
        bare = {name: value for name, value in page.items() if name != "@des.entitiesInPage"}
        return bare | {"@odata.count": 30} | ({"value": []} if number in {0, 2, 4} else {})

    assert rows_of(Tenant(6, some_empty)) == 30


def test_empty_pages_without_an_end_are_given_up_by_their_number() -> None:
    tenant = Tenant(10**9, empty)
    with pytest.raises(BadAnswer, match=r"1,000 pages without a row .* \(SAC_MAX_EMPTY_PAGES\)"):
        rows_of(tenant)
    assert len(tenant.asked) == 1000


def test_empty_pages_without_an_end_are_given_up_at_the_deadline() -> None:
    tenant = Tenant(10**9, empty, takes_s=7)
    with pytest.raises(BadAnswer, match=r"in 63 seconds.* \(SAC_DEADLINE_S\)"):
        rows_of(tenant)
    assert len(tenant.asked) == 9


def test_the_time_in_which_the_caller_uses_a_page_does_not_count() -> None:
    tenant = Tenant(5, lambda number, page: empty(number, page) if number == 1 else page)
    job = job_for(tenant)
    (segment,) = Plan.of(job.query, job.schema, job.tenant_url).segments
    for _ in PageSource(job.context, job.tenant_url, stop=Interrupt()).pages(segment, Start(None)):
        tenant.now_s += 1000
    assert len(tenant.asked) == 5


def test_the_links_that_were_followed_are_known_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacnb._http._MAX_SEEN", 100)
    seen = SeenLinks()
    for number in range(1000):
        seen.add(f"/F?at={number}" + "x" * 1000)
        seen.add(f"/F?at={number}" + "x" * 1000)
    assert sum(f"/F?at={number}" + "x" * 1000 in seen for number in range(1000)) == 100
    assert "/F?at=999" + "x" * 1000 in seen


def test_a_link_that_leads_back_is_refused() -> None:
    with pytest.raises(BadAnswer, match="leads back"):
        rows_of(Tenant(6, lambda number, page: {**page, "@odata.nextLink": "/F?at=1"} if number == 3 else page))
