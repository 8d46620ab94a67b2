"""A tracked result equals a full read after any change and any fault; a warning says where all rows were read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from changing import KEYS, REGIONS, amount_of, first_rows, row, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacnb._tenant import Model, Tenant
from sacnb._track.track import Track
from sacnb.errors import Cancelled, QueryError, RepeatedKeysWarning, ServerError, TrackingWarning
from sacnb.sandbox import Sandbox

pytestmark = pytest.mark.filterwarnings("error::sacnb.errors.SacWarning")


_before: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _counted(changing: Sandbox) -> None:
    _before.clear()
    _before.update(changing.counts)


def requests(sandbox: Sandbox, kind: str) -> int:
    """The number of requests of a kind since the test began."""
    return sandbox.counts[f"{kind}_requests"] - _before[f"{kind}_requests"]


@contextmanager
def all_rows_read(because: str) -> Iterator[None]:
    with pytest.warns(TrackingWarning, match=because):
        yield


def fresh(model: Model) -> set[tuple[Any, ...]]:
    return rows_of(model.facts().fetch(progress=None))


def test_the_first_refresh_reads_all_rows_and_the_next_only_changes(
    track: Track, model: Model, changing: Sandbox
) -> None:
    assert len(track.refresh()) == 24
    assert track.changed is None
    changing.change(
        "CHANGING",
        [row("North", amount="123456789012345678901234.1234567"), row("North", "202409", None, None)],
        deleted=[row("O'Brien, (West)"), row("A%41"), row("#", "202402")],
    )
    before = requests(changing, "facts")
    result = track.refresh()
    assert requests(changing, "delta") == 1
    assert requests(changing, "facts") - before <= 1  # the count
    assert rows_of(result) == fresh(model)
    assert amount_of(result, "North", "202401") == Decimal("123456789012345678901234.1234567")
    assert track.changed is not None
    assert track.deleted is not None
    assert (len(track.changed), track.deleted.columns) == (2, list(KEYS))
    assert sorted(track.deleted["Region"]) == ["#", "A%41", "O'Brien, (West)"]


def test_the_cached_result_is_the_merged_one(track: Track, model: Model, changing: Sandbox, tenant: Tenant) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="7")])
    result = track.refresh()
    kept = tenant.cache.load(model.facts(page_size=5).cache_key)
    assert kept == result
    assert len(tenant.cache.entries()) == 1
    changing.misbehave("error_500")
    said: list[str] = []
    assert rows_of(model.facts(page_size=5).refresh(announce=said.append)) == rows_of(result)
    assert len(said) == 1


def test_nothing_changed(track: Track, changing: Sandbox, time: Any) -> None:
    first = track.refresh()
    time.advance(60)
    second = track.refresh()
    assert second.table == first.table
    assert second.info.last_refresh_time > first.info.last_refresh_time
    assert track.changed is not None
    assert track.changed.is_empty()


def test_another_process_goes_on_with_the_link(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="7")])
    other = model.track(page_size=5)
    assert rows_of(other.refresh()) == fresh(model)
    assert requests(changing, "delta") == 1


def test_a_filter_is_tracked_with_its_rows(model: Model, changing: Sandbox) -> None:
    track = model.track(where={"Region": "North"}, since="2024-02")
    assert len(track.refresh()) == 3
    changing.change("CHANGING", [row("North", "202402", "9"), row("#", "202402", "9")], deleted=[row("North")])
    assert rows_of(track.refresh()) == rows_of(model.facts(where={"Region": "North"}, since="2024-02").fetch())
    assert requests(changing, "delta") == 1


CHANGES = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "delete"]),
            st.sampled_from(REGIONS),
            st.sampled_from(["202401", "202402", "202405"]),
            st.sampled_from([None, "0", "-1.5", "0.0000001", "99999999999999999999.9999999"]),
            st.sampled_from([None, 0, 5]),
        ),
        max_size=8,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_every_result_equals_a_full_read(model: Model, changing: Sandbox, steps: list[list[tuple[Any, ...]]]) -> None:
    track = model.track(page_size=4)
    changing.change("CHANGING", first_rows())
    track.refresh()
    for step in steps:
        for what, region, date, amount, units in step:
            one = row(region, date, amount, units)
            changing.change("CHANGING", [] if what == "delete" else [one], deleted=[one] if what == "delete" else [])
        assert rows_of(track.refresh()) == fresh(model)
    assert track.changed is not None
    track.stop()


# -- faults ------------------------------------------------------------------------------------------------------------


def many_changes(sandbox: Sandbox) -> None:
    """12 changed rows and 2 deleted ones: three pages."""
    sandbox.change(
        "CHANGING",
        [row(region, f"2024{month:02}", "77.5", 7) for month in (1, 2) for region in REGIONS],
        deleted=[row("North", "202403"), row("#", "202404")],
    )


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        *(("reset_mid_body", 0), ("truncated_json", 1), ("error_500", 2), ("html_login", 1)),
        *(pytest.param("reset_mid_body", after, marks=pytest.mark.long) for after in (1, 2)),
    ],
)
def test_a_failing_page_leaves_the_last_good_result_and_its_link(
    track: Track, model: Model, changing: Sandbox, fault: str, after: int
) -> None:
    before = rows_of(track.refresh())
    many_changes(changing)
    changing.misbehave(fault, on="delta", after=after)
    said: list[str] = []
    result = track.refresh(announce=said.append)
    assert (rows_of(result), result.stale, len(said)) == (before, True, 1)
    changing.behave()
    full_reads = requests(changing, "facts")
    assert rows_of(track.refresh()) == fresh(model)
    assert track.changed is not None
    assert requests(changing, "facts") - full_reads <= 6  # the count, and the full read of this test


def test_a_fault_that_passes_is_retried(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    many_changes(changing)
    changing.misbehave("reset_mid_body", on="delta", after=1, times=1)
    assert rows_of(track.refresh()) == fresh(model)


@pytest.mark.parametrize("fault", ["delta_page_repeated", "delta_page_missing", "delta_pages_swapped"])
def test_pages_in_disorder_never_end_in_other_rows(track: Track, model: Model, changing: Sandbox, fault: str) -> None:
    track.refresh()
    many_changes(changing)
    changing.misbehave(fault, times=None if fault == "delta_pages_swapped" else 1)
    if fault == "delta_pages_swapped":
        assert rows_of(track.refresh()) == fresh(model)
        return
    with all_rows_read("counts|total"):
        assert rows_of(track.refresh()) == fresh(model)


@pytest.mark.parametrize(("status", "after"), [(410, 0), (404, 1), (400, 2)])
def test_an_expired_link_is_followed_by_a_full_read(
    track: Track, model: Model, changing: Sandbox, after: int, status: int
) -> None:
    track.refresh()
    many_changes(changing)
    changing.misbehave("delta_expired", after=after, status=status)
    with all_rows_read(f"answered {status}, as one that has expired"):
        assert rows_of(track.refresh()) == fresh(model)
    changing.behave()
    changing.change("CHANGING", [row("North", amount="8")])
    assert rows_of(track.refresh()) == fresh(model)  # tracked again
    assert track.changed is not None


def test_subscriptions_that_expired(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    changing.expire_subscriptions()
    with all_rows_read("410"):
        track.refresh()
    assert model.subscriptions().height == 1


def lose_changes(track: Track, sandbox: Sandbox) -> None:
    """Let the link be asked in vain, so that it brings nothing when it is asked again."""
    sandbox.misbehave("error_500", on="delta", after=1)
    assert track.refresh(announce=lambda _: None).stale
    sandbox.behave()
    sandbox.misbehave("delta_forgets")


@pytest.mark.parametrize(("deletes", "noticed_by"), [(True, "counts 22 rows, and there are 24"), (False, "total of")])
def test_a_link_that_was_used_up_is_noticed(
    track: Track, model: Model, changing: Sandbox, deletes: bool, noticed_by: str
) -> None:
    track.refresh()
    if deletes:
        many_changes(changing)
    else:
        changing.change("CHANGING", [row(region, amount="8") for region in REGIONS])
    lose_changes(track, changing)
    with all_rows_read(noticed_by):
        assert rows_of(track.refresh()) == fresh(model)


def test_a_delta_link_that_is_ignored_returns_all_rows(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="8")], deleted=[row("#")])
    changing.misbehave("delta_ignored")
    with all_rows_read("no link to the changes after it"):
        assert rows_of(track.refresh()) == fresh(model)


def test_deletions_in_the_form_of_odata_4_01(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    many_changes(changing)
    changing.misbehave("delta_removed_form")
    assert rows_of(track.refresh()) == fresh(model)
    assert track.changed is not None


def test_a_row_that_leaves_measures_out_is_not_guessed_at(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="1.25", units=99)])
    changing.misbehave("delta_rows_partial")
    with all_rows_read("leaves out 'Amount'"):
        assert rows_of(track.refresh()) == fresh(model)


def test_sac_that_tracks_nothing(track: Track, model: Model, changing: Sandbox) -> None:
    changing.misbehave("delta_link_missing")
    for _ in range(2):
        with all_rows_read("sent no link to the changes"):
            assert rows_of(track.refresh()) == fresh(model)


def test_a_link_to_another_host_is_not_followed(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    for on in ("delta", "facts"):
        changing.change("CHANGING", [row("North", amount="8")])
        changing.misbehave("delta_link_cross_origin", on=on)
        with all_rows_read("elsewhere.invalid"):
            assert rows_of(track.refresh()) == fresh(model)
        changing.expire_subscriptions()


def test_keys_with_several_records_are_read_whole_each_time(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="8")], append=True)
    for _ in range(2):
        with pytest.warns(RepeatedKeysWarning), all_rows_read("cannot be merged by key"):
            result = track.refresh()
        assert amount_of(result, "North", "202401") == Decimal("9.25")
    assert model.subscriptions().height == 0
    changing.change("CHANGING", [row("North", amount="8")])
    assert rows_of(track.refresh()) == fresh(model)
    assert rows_of(track.refresh()) == fresh(model)
    assert model.subscriptions().height == 1


def test_a_first_read_that_failed_resumes_and_catches_up(track: Track, model: Model, changing: Sandbox) -> None:
    changing.misbehave("error_500", on="facts", after=2)
    with pytest.raises(ServerError):
        track.refresh()
    changing.behave()
    before = requests(changing, "facts")
    changing.change("CHANGING", [row("North", amount="99")])  # of the first page, which was read before
    assert rows_of(track.refresh()) == fresh(model)
    assert requests(changing, "facts") - before < 10  # four pages of five, the counts, and the read of this test
    changing.change("CHANGING", [row("#", amount="5")])
    assert rows_of(track.refresh()) == fresh(model)
    assert track.counts == (1, 0)


def test_somebody_writes_during_a_full_read(track: Track, model: Model, changing: Sandbox) -> None:
    def write_meanwhile(_: object) -> None:
        changing.change("CHANGING", [row("North", amount="99")])

    assert rows_of(track.refresh(progress=write_meanwhile)) == fresh(model)
    changing.change("CHANGING", [row(region, amount="8") for region in REGIONS])
    lose_changes(track, changing)
    with all_rows_read("total of"):  # the totals are compared all the same
        track.refresh()


# -- checks ------------------------------------------------------------------------------------------------------------


def test_check_compares_with_a_full_read(track: Track, changing: Sandbox, tenant: Tenant) -> None:
    track.refresh()
    changing.change("CHANGING", [row("North", amount="8")])
    before = requests(changing, "facts")
    track.refresh(check=True)
    assert requests(changing, "facts") - before >= 5
    assert track.changed is not None


def test_a_full_read_follows_every_so_many_merges(model: Model, changing: Sandbox) -> None:
    track = model.track(page_size=5, check_every=2)
    reads = []
    for _ in range(5):
        before = requests(changing, "facts")
        track.refresh()
        reads.append(requests(changing, "facts") - before >= 5)
    assert reads == [True, False, True, False, True]


def test_lost_changes_that_keep_the_totals_are_found_by_the_check(model: Model, changing: Sandbox) -> None:
    track = model.track(page_size=1)
    track.refresh()
    swapped = [row("North", "202401", "2.25", 2), row("North", "202402", "1.25", 1)]
    changing.change("CHANGING", swapped)
    lose_changes(track, changing)
    assert rows_of(track.refresh()) != fresh(model)  # which neither count nor totals can tell
    with all_rows_read("4 rows differ between the merged result and a full read"):
        assert rows_of(track.refresh(check=True)) == fresh(model)


def test_changes_during_the_check_are_no_difference(track: Track, model: Model, changing: Sandbox) -> None:
    track.refresh()
    pages = 0

    def write_meanwhile(_: object) -> None:
        nonlocal pages
        pages += 1
        if pages == 1:  # rows of the first page, which was read before, and of the last one
            changing.change("CHANGING", [row("North", amount="8"), row("Süd = 南", "202404", "8")])

    assert rows_of(track.refresh(check=True, progress=write_meanwhile)) == fresh(model)
    assert pages > 1
    assert track.counts == (2, 0)


def test_rows_that_nothing_proves_are_told_of(
    track: Track, changing: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    changing.misbehave("forbidden", on="aggregation")
    track.refresh()
    changing.misbehave("count_left_out")
    track.refresh()
    assert "gave neither a row count nor a total" in caplog.text


# -- the state ---------------------------------------------------------------------------------------------------------


def state_file(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "cache" / ".tracks").glob("*.json")
    return found


def test_the_state_is_private_and_carries_a_digest(
    track: Track, model: Model, tmp_path: Path, changing: Sandbox
) -> None:
    track.refresh()
    path = state_file(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    values = json.loads(path.read_bytes())
    assert values["link"].startswith("/api/v1/dataexport/")
    path.write_text(path.read_text().replace("deltaid=first", "deltaid=other"))
    changing.change("CHANGING", [row("North", amount="8")])
    assert rows_of(track.refresh()) == fresh(model)  # as the first time, all rows
    assert track.changed is None


def test_a_plain_refresh_in_between_is_not_merged_into(
    track: Track, model: Model, changing: Sandbox, time: Any
) -> None:
    track.refresh()
    time.advance(5)
    changing.change("CHANGING", [row("North", amount="8")])
    model.facts(page_size=5).refresh()
    with all_rows_read("replaced by another refresh"):
        assert rows_of(track.refresh()) == fresh(model)


def test_a_cleared_cache_is_filled_by_a_full_read(track: Track, model: Model, tenant: Tenant) -> None:
    track.refresh()
    tenant.cache.clear()
    assert rows_of(track.refresh()) == fresh(model)
    assert track.changed is None
    assert model.subscriptions().height == 1


def test_a_damaged_result_is_replaced(track: Track, model: Model, tenant: Tenant) -> None:
    track.refresh()
    (entry,) = tenant.cache.entries()
    entry.path.write_bytes(entry.path.read_bytes()[:-20])
    with all_rows_read("cannot be used"):
        assert rows_of(track.refresh()) == fresh(model)


def test_two_refreshes_at_once(model: Model, changing: Sandbox, in_threads: Callable[..., list[Any]]) -> None:
    model.track(page_size=5).refresh()
    many_changes(changing)
    found = in_threads(3, lambda _: rows_of(model.track(page_size=5).refresh()))
    assert found == [fresh(model)] * 3


def test_waiting_for_another_refresh_can_be_cancelled(track: Track, model: Model, tmp_path: Path) -> None:
    from filelock import FileLock

    track.refresh()
    (lock,) = (tmp_path / "cache" / ".tracks").glob("*.lock")
    with FileLock(lock), pytest.raises(Cancelled):
        track.refresh(cancelled=lambda: True)


# -- subscriptions -----------------------------------------------------------------------------------------------------


def test_subscriptions_are_listed_and_deleted(track: Track, model: Model, tenant: Tenant) -> None:
    assert model.subscriptions().is_empty()
    track.refresh()
    listed = model.subscriptions()
    assert listed["entity_set"].to_list() == ["FactData"]
    assert listed["external_id"].to_list() == [None]
    assert tenant.model("US_EMPLOYMENT").subscriptions().is_empty()
    model.delete_subscription(listed["id"][0])
    assert model.subscriptions().is_empty()
    with all_rows_read("404"):
        track.refresh()


def test_an_unknown_subscription(model: Model) -> None:
    with pytest.raises(LookupError, match="no subscription 'x'"):
        model.delete_subscription("x")


def test_stop_deletes_the_subscription_and_forgets_the_link(track: Track, model: Model, tenant: Tenant) -> None:
    assert track.stop() is False
    track.refresh()
    track.refresh()
    assert model.subscriptions().height == 2  # a chain
    assert track.stop() is True
    assert model.subscriptions().is_empty()
    assert len(tenant.cache.entries()) == 1
    assert len(track.refresh()) == 24
    assert track.changed is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"dims": ["Date"]}, "fewer dimensions"),
        ({"limit": 5}, "a limit"),
        ({"order_by": "Date"}, "an order"),
        ({"where": {"Units": 1}}, "a filter on more than dimensions"),
    ],
)
def test_what_cannot_be_tracked_is_refused(model: Model, facts: dict[str, Any], why: str) -> None:
    with pytest.raises(QueryError, match=why):
        model.facts(**facts).track()


@pytest.mark.parametrize("every", [0, -1, 1.5, "x", True])
def test_arguments_are_checked_at_the_door(model: Model, every: Any) -> None:
    with pytest.raises(QueryError, match="check_every"):
        model.track(check_every=every)
