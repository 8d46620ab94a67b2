"""The list of members: in the order of the hierarchy, searchable, limited, for any master data."""

from __future__ import annotations

import polars as pl
import pytest

from sacnb.notebook.explorer_lists import MAX_OPTIONS, MemberTree


def tree(*rows: tuple[str, str | None, str | None]) -> MemberTree:
    return MemberTree(pl.DataFrame(rows, schema=["id", "description", "parent"], orient="row"))


def ids(made: MemberTree, search: str = "") -> list[str]:
    return [one for _, one in made.options(search)[0]]


def test_each_member_stands_below_its_parent_whatever_order_they_come_in() -> None:
    made = tree(("b1", None, "b"), ("a", "All", None), ("b", "Branch", "a"), ("c", "Branch", "a"))
    assert made.options() == (
        [
            ("All (a) ▾", "a"),
            ("\u00a0" * 4 + "Branch (b) ▾", "b"),
            ("\u00a0" * 8 + "b1", "b1"),
            ("\u00a0" * 4 + "Branch (c)", "c"),
        ],
        4,
    )


def test_a_search_keeps_the_ancestors_of_a_match() -> None:
    made = tree(("a", "All", None), ("b", "Branch", "a"), ("x", "Leaf", "b"), ("c", "Other", "a"))
    assert ids(made, " LEAF ") == ["a", "b", "x"]
    assert made.options("leaf")[1] == 1
    assert ids(made, "nothing") == []


@pytest.mark.parametrize(
    "rows",
    [
        [("a", None, "b"), ("b", None, "a")],
        [("a", None, "a")],
        [("a", None, "gone")],
        [("root", None, None), ("a", None, "b"), ("b", None, "a"), ("c", None, "b")],
    ],
    ids=["cycle", "own parent", "unknown parent", "cycle beside a root"],
)
def test_a_broken_hierarchy_loses_no_member_and_ends(rows: list[tuple[str, str | None, str | None]]) -> None:
    made = tree(*rows)
    assert sorted(ids(made)) == sorted(row[0] for row in rows)
    assert len(made) == len(rows)
    made.leaves([row[0] for row in rows])


def test_a_parent_stands_for_its_leaves() -> None:
    made = tree(("a", None, None), ("b", None, "a"), ("x", None, "b"), ("y", None, "b"), ("z", None, "a"))
    assert made.leaves(["b"]) == ("x", "y")
    assert made.leaves(["z", "b", "x"]) == ("x", "y", "z")
    assert made.leaves(["x"]) == ("x",)


def test_a_long_list_shows_its_first_members_and_the_chosen_ones() -> None:
    made = MemberTree(pl.DataFrame({"id": [f"{i:05}" for i in range(2000)]}))
    options, matching = made.options(chosen=["01999"])
    assert (len(options), matching, options[-1]) == (MAX_OPTIONS + 1, 2000, ("01999", "01999"))
    assert len(made.options("0199")[0]) == 11
