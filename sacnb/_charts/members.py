"""Choose the members that a chart shows, and their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import polars as pl

from sacnb._arguments import mapping, texts_by_id
from sacnb._charts.style import COLOURS, version_order, version_text
from sacnb._odata.schema import Schema, is_version
from sacnb.errors import ContractError, UnknownNameError

__all__ = [
    "MEASURE",
    "Labels",
    "cut",
    "in_order",
    "listed",
    "named",
    "outstanding",
    "plain",
    "shortened",
    "texts_of",
    "with_texts",
]

# Labels of members by dimension: a mapping of ids to texts, or the frame of ``model.members()``.
Labels: TypeAlias = Mapping[str, Mapping[str, str] | pl.DataFrame]

MEASURE = "dim_measure"
_MOST_CHARS: Final = 40
_MOST_CUT: Final = 12  # letters of a word that is cut


def plain(text: str) -> str:
    """Return *text* as one line; Vega breaks it, or does not draw it at all, at a line end."""
    return " ".join(text.split())


# Characters that XML, and so an SVG, cannot hold: vl-convert ends the process, a notebook's kernel, where it meets one.
_UNDRAWABLE: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")


def drawable(text: str) -> str:
    r"""Return *text* with the characters that cannot be drawn written out: ``\x1b``."""
    return _UNDRAWABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def listed(words: Sequence[str]) -> str:
    """Join words as ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def named(schema: Schema) -> dict[str, str]:
    """Return the name of each column in a chart: its label if it has one."""
    return {f"dim_{one.name}": plain(one.label or one.name) for one in schema.columns} | {MEASURE: "Measure"}


def texts_of(labels: Labels | None, known: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return *labels* by the columns of a tidy frame; *known* are the dimensions.

    Raises:
        UnknownNameError: A dimension is unknown.
        ContractError: A frame has no columns ``id`` and ``description``.
        QueryError: The labels are not a mapping, or those of a dimension neither a mapping of ids to texts nor a frame.
    """
    texts: dict[str, dict[str, str]] = {}
    for dimension, given in mapping("labels", labels).items():
        if dimension not in known:
            raise UnknownNameError("dimension", dimension, known, where="the result")
        if isinstance(given, pl.DataFrame):
            if not {"id", "description"} <= set(given.columns):
                columns = listed(given.columns or ["none"])
                raise ContractError(
                    f"The labels of {dimension!r} need the columns id and description, got {columns}.",
                    hint=f"Pass model.members({dimension!r}), or a mapping of ids to texts.",
                )
            texts[f"dim_{dimension}"] = {
                str(member): str(text) for member, text in given.select("id", "description").rows() if text
            }
        else:
            texts[f"dim_{dimension}"] = texts_by_id(f"labels[{dimension!r}]", given)
    return texts


def with_texts(frame: pl.DataFrame, columns: Iterable[str], texts: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Replace ids by labels; members with the same label keep their id beside it."""
    for column in columns:
        ids = frame[column].unique().drop_nulls().sort().to_list()
        shown = {one: plain(texts.get(column, {}).get(one, one)) or one for one in ids}
        if is_version(column) and column not in texts:
            shown = {one: version_text(one) for one in ids}
        seen = list(shown.values())
        unique = {one: text if seen.count(text) == 1 else f"{text} ({one})" for one, text in shown.items()}
        frame = frame.with_columns(pl.col(column).replace_strict(unique, default=None, return_dtype=pl.String))
    return frame


def in_order(frame: pl.DataFrame, column: str) -> list[str]:
    """Return the members of a column: versions in report order, others by name."""
    members = [str(one) for one in frame[column].unique().drop_nulls()]
    order: Callable[[str], Any] = version_order if is_version(column) else str
    return sorted(members, key=order)


def outstanding(frame: pl.DataFrame, column: str) -> list[str]:
    """Return the members that have colours of their own: all, or the largest if there are more than colours.

    Versions keep the order of reports, so that the actual never turns grey.
    """
    members = in_order(frame, column)
    if len(members) <= len(COLOURS):
        return members
    most = len(COLOURS) - 1  # readers tell seven colours and grey apart
    if is_version(column):
        return members[:most]
    largest = _by_size(frame.filter(pl.col(column).is_not_null()), column)[column].head(most).to_list()
    return [member for member in members if member in largest]


def shortened(texts: Sequence[str]) -> dict[str, str]:
    """Return a short form of each long text, cut in the middle so that no two forms are the same."""
    room = _MOST_CHARS - 1
    long = [text for text in dict.fromkeys(texts) if len(text) > _MOST_CHARS]
    taken = {text for text in texts if len(text) <= _MOST_CHARS}

    def forms(head: int, between: str) -> dict[str, str]:
        # Whole words if there is a space near, else any letters.
        made = {}
        for text in long:
            begin, end = text[:head], text[len(text) - room + head :]
            if between and between in begin[-_MOST_CUT:]:
                begin = begin.rpartition(between)[0]
            if between and between in end[:_MOST_CUT]:
                end = end.partition(between)[2]
            made[text] = f"{begin.rstrip()}…{end.lstrip()}"
        return made

    def distinct(made: Mapping[str, str]) -> dict[str, str]:
        seen = list(made.values())
        return {text: short for text, short in made.items() if seen.count(short) == 1 and short not in taken}

    # Cut in the middle if that will do, and elsewhere if texts differ there. What no cut tells apart stays whole.
    heads = sorted(range(room + 1), key=lambda head: abs(2 * head - room))
    return max((distinct(forms(head, at)) for at in (" ", "") for head in heads), key=len) if long else {}


def _by_size(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    size = pl.col("value").abs().sum()
    return frame.group_by(column).agg(size).sort(["value", column], descending=[True, False])


def cut(frame: pl.DataFrame, column: str, most: int, *, other: bool) -> tuple[pl.DataFrame, str]:
    """Keep the members with the largest values; return the rows and a note if others are left out.

    With *other* they become one more member, the sum of their values.
    """
    count = frame[column].n_unique()
    if count <= most:
        return frame, ""
    what = column.removeprefix("dim_")
    ranked = _by_size(frame, column)
    if not other:
        kept = frame.filter(pl.col(column).is_in(ranked.head(most)[column].implode()))
        return kept, (
            f"The {most} largest of {count:,} members of {what} are shown. The rest is left out, because it may not be "
            "additive."
        )
    top = ranked.head(most - 1)[column].to_list()
    rest = f"Other ({count - len(top):,} members)"
    keys = [name for name in frame.columns if name != "value"]
    renamed = frame.with_columns(pl.when(pl.col(column).is_in(top)).then(pl.col(column)).otherwise(pl.lit(rest)))
    summed = renamed.sort(keys).group_by(keys, maintain_order=True).agg(pl.col("value").sum())
    return summed, f"The {len(top)} largest of {count:,} members of {what} are shown, and the sum of the others."
