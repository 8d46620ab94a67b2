"""Pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["picture", "rows_text", "table"]


def rows_text(rows: int) -> str:
    """A number of rows as people say it."""
    return f"{rows / 1_000_000:g} M" if rows >= 1_000_000 else f"{rows:,}"


def picture(name: str, words: str) -> str:
    """A picture for light and for dark paper; ``words`` say what is to be seen, for those who cannot see it."""
    return f"""<picture>
  <source media="(prefers-color-scheme: dark)" srcset="pictures/{name}_dark.png">
  <img alt="{words.replace("`", "")}" src="pictures/{name}_light.png" width="760">
</picture>"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every cell is text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
