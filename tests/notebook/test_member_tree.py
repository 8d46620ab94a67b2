"""Members to choose from: in the order of their hierarchy, searched, never too many, whatever the master data are."""

from __future__ import annotations

import polars as pl
import pytest

from sacnb.notebook.member_tree import MOST_OPTIONS, MemberTree


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


def test_a_search_keeps_what_stands_above_a_match() -> None:
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
    ids=["circle", "own parent", "parent that is not there", "circle beside a root"],
)
def test_a_broken_hierarchy_loses_no_member_and_ends(rows: list[tuple[str, str | None, str | None]]) -> None:
    made = tree(*rows)
    assert sorted(ids(made)) == sorted(row[0] for row in rows)
    assert len(made) == len(rows)
    made.ends([row[0] for row in rows])


def test_a_member_stands_for_the_ends_of_its_branches() -> None:
    made = tree(("a", None, None), ("b", None, "a"), ("x", None, "b"), ("y", None, "b"), ("z", None, "a"))
    assert made.ends(["b"]) == ("x", "y")
    assert made.ends(["z", "b", "x"]) == ("x", "y", "z")
    assert made.ends(["x"]) == ("x",)


def test_of_very_many_the_first_are_listed_and_what_is_chosen() -> None:
    made = MemberTree(pl.DataFrame({"id": [f"{i:05}" for i in range(2000)]}))
    options, matching = made.options(chosen=["01999"])
    assert (len(options), matching, options[-1]) == (MOST_OPTIONS + 1, 2000, ("01999", "01999"))
    assert len(made.options("0199")[0]) == 11
