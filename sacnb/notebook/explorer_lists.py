"""The lists of the explorer: what is put into them, and what is chosen of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sacnb._odata.schema import is_version
from sacnb.notebook.choice import Choice

if TYPE_CHECKING:
    from sacnb._odata.schema import Schema
    from sacnb.notebook.catalogue import KnownModels
    from sacnb.notebook.explorer_view import ExplorerView

__all__ = ["ExplorerLists"]

_NAMES_SHOWN = 10


class ExplorerLists:
    """Fills the lists from what is known, and reads them. ``filters`` holds the members chosen, by dimension.

    ``is_filling`` is true while lists change by themselves, which is no choice.
    """

    def __init__(self, view: ExplorerView, known: KnownModels) -> None:
        self._view = view
        self._known = known
        self.filters: dict[str, tuple[str, ...]] = {}
        self.is_filling = False

    def fill_models(self) -> None:
        """List the models, once they are known, and choose the first one that was asked for."""
        part = self._view.model
        if len(part.options) > 1 or self._known.entries is None:
            return
        named = [(f"{one.name} ({one.id})" if one.name else one.id, one.id) for one in self._known.entries]
        first = self._known.first
        if first is not None and first not in {one for _, one in named}:
            named.append((first, first))  # not listed, and perhaps there all the same

        def fill() -> None:
            part.options = [*part.options, *named]
            part.value = first

        self._quietly(fill)

    def fill(self, schema: Schema) -> None:
        """List what a model has, with everything chosen."""
        self._quietly(lambda: self._fill(schema))

    def _fill(self, schema: Schema) -> None:
        view, version = self._view, _version(schema)
        dates = {column.name for column in schema.date_columns}
        for part, columns in ((view.dims, schema.dimensions), (view.measures, schema.measures)):
            with part.hold_sync():
                part.options = [(one.label or one.name, one.name) for one in columns]
                part.value = [one.name for one in columns]
        tree = self._known.members(schema.provider_id, version)
        view.versions.options = [] if tree is None else tree.options()[0]
        others = [one for one in schema.dimensions if one.name not in dates and one.name != version]
        view.filtered.options = [("no dimension", None), *((one.label or one.name, one.name) for one in others)]
        view.since.value = view.until.value = ""
        view.grain.value = None

    def list_members(self) -> None:
        """List the members of the dimension to filter by, as far as the search lets them through."""
        if self.is_filling:
            return
        view = self._view
        dimension = view.filtered.value
        tree = self._known.members(view.model.value, dimension)
        chosen = self.filters.get(dimension, ()) if dimension is not None else ()
        options, matching = ([], 0) if tree is None else tree.options(view.search.value, chosen=chosen)
        on_show = {member for _, member in options}

        def fill() -> None:
            # At once: a click in between would be taken for all that is chosen.
            with view.members.hold_sync():
                view.members.options = options
                view.members.value = [one for one in chosen if one in on_show]

        self._quietly(fill)
        said = [] if tree is None else [f"{matching:,} of {len(tree):,} members"]
        if tree is not None and matching > len(options):
            said = [f"{said[0]}; the first {len(options):,} are listed: search for others"]
        view.say(found=said)

    def keep_members(self) -> bool:
        """Take over what is chosen of the members on show; what the search hides stays chosen. True for a choice."""
        view = self._view
        dimension = view.filtered.value
        if self.is_filling or dimension is None or self._known.members(view.model.value, dimension) is None:
            return False
        on_show = {member for _, member in view.members.options}
        hidden = [one for one in self.filters.get(dimension, ()) if one not in on_show]
        self.filters[dimension] = (*hidden, *view.members.value)
        return True

    def choice(self, model_id: str) -> Choice:
        """What is chosen of this model, whose schema is there."""
        view, schema = self._view, self._known.schema(model_id)
        assert schema is not None  # noqa: S101 - the lists are filled from it
        where: dict[str, tuple[str, ...]] = {}
        version = _version(schema)
        if version is not None and view.versions.value:
            where[version] = tuple(view.versions.value)
        for dimension, members in self.filters.items():
            tree = self._known.members(model_id, dimension)
            if members and tree is not None:
                where[dimension] = tree.ends(members)
        return Choice(
            model_id=model_id,
            dims=_kept(view.dims),
            measures=_kept(view.measures),
            where=tuple(where.items()),
            since=view.since.value.strip() or None,
            until=view.until.value.strip() or None,
            grain=view.grain.value,
            agg=view.agg.value,
        )

    def filters_in_words(self, model_id: str) -> list[str]:
        """The members that are chosen, a line for each dimension."""
        lines = []
        for dimension, members in self.filters.items():
            tree = self._known.members(model_id, dimension)
            if members and tree is not None:
                shown = [tree.label(one) for one in members[:_NAMES_SHOWN]]
                more = [f"{len(members) - _NAMES_SHOWN:,} more"] if len(members) > _NAMES_SHOWN else []
                lines.append(f"{dimension}: {', '.join([*shown, *more])}")
        return lines

    def _quietly(self, change: Callable[[], None]) -> None:
        """Change lists without taking it for a choice."""
        self.is_filling = True
        try:
            change()
        finally:
            self.is_filling = False


def _kept(part: Any) -> tuple[str, ...] | None:
    """What is chosen of a list; ``None`` for all of it."""
    return None if len(part.value) == len(part.options) else tuple(part.value)


def _version(schema: Schema) -> str | None:
    return next((one.name for one in schema.dimensions if is_version(one.name)), None)
