"""A dimension's members as a list to choose from: indented by their hierarchy, and searchable."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MOST_OPTIONS", "MemberTree"]

# More would keep the browser busy, and nobody reads them: the search is for that.
MOST_OPTIONS: Final = 500
_INDENT: Final = "\u00a0" * 4


class MemberTree:
    """Members in the order of their hierarchy, each below its parent.

    ``members`` is the frame of ``model.members()``. A member that has others below it stands for all of those at the
    ends of its branches, since facts are kept there.
    """

    def __init__(self, members: pl.DataFrame) -> None:
        ids: list[str] = members["id"].to_list()
        parents = members["parent"].to_list() if "parent" in members.columns else [None] * len(ids)
        texts = members["description"].to_list() if "description" in members.columns else [None] * len(ids)
        known = set(ids)
        self._texts = {one: text for one, text in zip(ids, texts, strict=True) if text}
        self._parents = {one: parent if parent in known else None for one, parent in zip(ids, parents, strict=True)}
        self._children: dict[str | None, list[str]] = {}
        for one, parent in self._parents.items():
            self._children.setdefault(parent, []).append(one)
        self._levels = self._walk()

    def __len__(self) -> int:
        return len(self._levels)

    def label(self, member: str) -> str:
        """``Durable goods (31)``."""
        text = self._texts.get(member, member)
        return member if text == member else f"{text} ({member})"

    def options(self, search: str = "", *, chosen: Collection[str] = ()) -> tuple[list[tuple[str, str]], int]:
        """Labels and ids of the members whose label has ``search`` in it and of those above them; and how many match.

        At most ``MOST_OPTIONS``, and all that are ``chosen``.
        """
        wanted = search.strip().casefold()
        matching = [one for one in self._levels if not wanted or wanted in self.label(one).casefold()]
        shown = {*matching[:MOST_OPTIONS], *(one for one in chosen if one in self._levels)}
        if wanted:
            shown |= {above for one in tuple(shown) for above in self._above(one)}
        return [(self._indented(one), one) for one in self._levels if one in shown], len(matching)

    def ends(self, members: Iterable[str]) -> tuple[str, ...]:
        """The members at the ends of the branches of these ones, in the order of the hierarchy."""
        found: set[str] = set()
        open_ = list(members)
        seen = set(open_)
        while open_:
            one = open_.pop()
            below = self._children.get(one, [])
            if not below:
                found.add(one)
            open_ += [child for child in below if child not in seen]
            seen.update(below)
        return tuple(one for one in self._levels if one in found)

    def _indented(self, member: str) -> str:
        below = " ▾" if self._children.get(member) else ""
        return f"{_INDENT * self._levels[member]}{self.label(member)}{below}"

    def _above(self, member: str) -> list[str]:
        above: list[str] = []
        parent = self._parents[member]
        while parent is not None and parent not in above:
            above.append(parent)
            parent = self._parents[parent]
        return above

    def _walk(self) -> dict[str, int]:
        """The level of each member, in the order of the hierarchy; members of a circle come last, as roots."""
        levels: dict[str, int] = {}
        for start in (*self._children.get(None, []), *self._parents):
            open_ = [(start, 0)]
            while open_:
                one, level = open_.pop()
                if one in levels:
                    continue
                levels[one] = level
                open_ += [(child, level + 1) for child in reversed(self._children.get(one, []))]
        return levels
