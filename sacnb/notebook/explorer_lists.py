"""The lists of the explorer: their entries, and the user's choice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from sacnb._odata.schema import is_version
from sacnb._rendering import printable
from sacnb.errors import QueryError
from sacnb.notebook.choice import Choice
from sacnb.notebook.session import Catalogue, texts

if TYPE_CHECKING:
    import polars as pl

    from sacnb._odata.schema import Column, Schema
    from sacnb._tenant import Tenant
    from sacnb.notebook.explorer_view import ExplorerView
    from sacnb.notebook.session import Path

__all__ = ["ExplorerLists", "KnownModels", "MemberTree"]

_MAX_NAMES = 10
# Longer lists keep the browser busy, and nobody reads them; the search finds the rest.
MAX_OPTIONS: Final = 500
_INDENT: Final = "\u00a0" * 4


class MemberTree:
    """The members of a dimension in the order of their hierarchy, each below its parent.

    *members* is the frame of ``model.members()``. A parent stands for all leaves below it, because facts are stored at
    leaves.
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
        """Return ``Durable goods (31)``."""
        text = self._texts.get(member, member)
        return printable(member if text == member else f"{text} ({member})")

    def options(self, search: str = "", *, chosen: Collection[str] = ()) -> tuple[list[tuple[str, str]], int]:
        """Return labels and ids of the members whose label contains *search*, with their ancestors; and how many match.

        Returns at most ``MAX_OPTIONS`` members, and all that are *chosen*.
        """
        wanted = search.strip().casefold()
        matching = [one for one in self._levels if not wanted or wanted in self.label(one).casefold()]
        shown = {*matching[:MAX_OPTIONS], *(one for one in chosen if one in self._levels)}
        if wanted:
            shown |= {above for one in tuple(shown) for above in self._ancestors(one)}
        return [(self._indented(one), one) for one in self._levels if one in shown], len(matching)

    def leaves(self, members: Iterable[str]) -> tuple[str, ...]:
        """Return the leaves of *members*, in the order of the hierarchy."""
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

    def _ancestors(self, member: str) -> list[str]:
        above: list[str] = []
        parent = self._parents[member]
        while parent is not None and parent not in above:
            above.append(parent)
            parent = self._parents[parent]
        return above

    def _walk(self) -> dict[str, int]:
        """Return the level of each member, in the order of the hierarchy; members of a cycle come last, as roots."""
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


class KnownModels:
    """The part of a catalogue that the explorer has loaded, in the order in which it needs it.

    What failed is not loaded again before ``retry``. ``first`` is the model to begin with.
    """

    def __init__(self, tenant: Tenant, *, first: str | None = None) -> None:
        self._catalogue = Catalogue(tenant)
        self.first = first
        self._ready: set[str] = set()
        self._trees: dict[Path, MemberTree] = {}
        self._failed: set[Path] = set()

    def models(self) -> dict[str, str] | None:
        """Return the name of each model by its id, if they are loaded."""
        frame = self._catalogue.models()
        return None if frame is None else texts(frame, "id", "name")

    def schema(self, model_id: str | None) -> Schema | None:
        """Return the schema of a model, if it and the model's versions are loaded."""
        return self._catalogue.schema(model_id) if model_id is not None and model_id in self._ready else None

    def members(self, model_id: str | None, dimension: str | None) -> MemberTree | None:
        """Return the members of a dimension, if they are loaded."""
        return self._trees.get((model_id, dimension)) if model_id is not None and dimension is not None else None

    def labels(self, model_id: str, schema: Schema) -> dict[str, pl.DataFrame]:
        """Return the loaded members by dimension, for the labels of charts."""
        found = {one.name: self._catalogue.members(model_id, one.name) for one in schema.dimensions}
        return {name: frame for name, frame in found.items() if frame is not None and "description" in frame.columns}

    def wants(self, model_id: str | None, dimension: str | None) -> bool:
        """Return whether something of these is neither loaded nor failed."""
        return self._next(model_id, dimension) is not None

    def retry(self) -> None:
        """Load again what failed, if it is wanted."""
        self._failed.clear()

    def load(self, model_id: str | None, dimension: str | None) -> None:
        """Load the next thing that is wanted. Raises what ``Catalogue.read`` raises."""
        wanted = self._next(model_id, dimension)
        if wanted is None:
            return
        try:
            self._load(wanted)
        except Exception:
            self._failed.add(wanted)
            raise

    def _next(self, model_id: str | None, dimension: str | None) -> Path | None:
        """Return what to load next: the list of models, then a model, then the members of a dimension."""
        is_listed = self._catalogue.models() is not None
        wanted: list[tuple[Path, bool]] = [((), is_listed)]
        model = model_id or (None if is_listed else self.first)
        if model is not None:
            wanted.append(((model,), model in self._ready))
            if dimension is not None:
                wanted.append(((model, dimension), (model, dimension) in self._trees))
        return next((one for one, is_loaded in wanted if not is_loaded and one not in self._failed), None)

    def _load(self, wanted: Path) -> None:
        if len(wanted) > 1:
            self._load_members(*wanted)
            return
        self._catalogue.read(wanted)
        if not wanted:
            return
        (model,) = wanted
        schema = self._catalogue.schema(model)
        assert schema is not None  # noqa: S101 - it has just been read
        for column in schema.dimensions:
            if is_version(column.name):
                self._load_versions(model, column.name)
        self._ready.add(model)

    def _load_versions(self, model: str, dimension: str) -> None:
        try:
            self._load_members(model, dimension)
        except QueryError:
            # Without master data the versions cannot be listed, but the model can still be explored.
            return

    def _load_members(self, model: str, dimension: str) -> None:
        self._catalogue.read((model, dimension))
        members = self._catalogue.members(model, dimension)
        if members is None or "id" not in members.columns:
            columns = [] if members is None else members.columns
            raise QueryError(
                f"The master data of {dimension!r} has no ids; its columns are {', '.join(columns)}.",
                hint=f"Filter in Python: model.facts(where={{{dimension!r}: ...}})",
            )
        self._trees[model, dimension] = MemberTree(members)


class ExplorerLists:
    """Fills the lists with what is loaded, and reads the choice from them.

    ``filters`` holds the chosen members by dimension. ``is_filling`` is true while the program changes a list, which is
    not a choice.
    """

    def __init__(self, view: ExplorerView, known: KnownModels) -> None:
        self._view = view
        self._known = known
        self.filters: dict[str, tuple[str, ...]] = {}
        self.is_filling = False

    def fill_models(self) -> None:
        """List the models once they are loaded, and choose the one to begin with."""
        part, models = self._view.model, self._known.models()
        if len(part.options) > 1 or models is None:
            return
        named = [(printable(f"{name} ({one})" if name else one), one) for one, name in models.items()]
        first = self._known.first
        if first is not None and first not in models:
            named.append((printable(first), first))  # SAC may have a model that it does not list

        def fill() -> None:
            part.options = [*part.options, *named]
            part.value = first

        self._quietly(fill)

    def fill(self, schema: Schema) -> None:
        """List the columns of a model, with all of them chosen."""
        self._quietly(lambda: self._fill(schema))

    def _fill(self, schema: Schema) -> None:
        view, version = self._view, _version(schema)
        dates = {column.name for column in schema.date_columns}
        for part, columns in ((view.dims, schema.dimensions), (view.measures, schema.measures)):
            with part.hold_sync():
                part.options = [(_label(one), one.name) for one in columns]
                part.value = [one.name for one in columns]
        tree = self._known.members(schema.provider_id, version)
        view.versions.options = [] if tree is None else tree.options()[0]
        others = [one for one in schema.dimensions if one.name not in dates and one.name != version]
        view.filtered.options = [("no dimension", None), *((_label(one), one.name) for one in others)]
        view.since.value = view.until.value = ""
        view.grain.value = None

    def list_members(self) -> None:
        """List the members of the chosen dimension that match the search."""
        if self.is_filling:
            return
        view = self._view
        dimension = view.filtered.value
        tree = self._known.members(view.model.value, dimension)
        chosen = self.filters.get(dimension, ()) if dimension is not None else ()
        options, matching = ([], 0) if tree is None else tree.options(view.search.value, chosen=chosen)
        on_show = {member for _, member in options}

        def fill() -> None:
            # In one message: a click in between would be taken for the whole choice.
            with view.members.hold_sync():
                view.members.options = options
                view.members.value = [one for one in chosen if one in on_show]

        self._quietly(fill)
        lines = [] if tree is None else [f"{matching:,} of {len(tree):,} members"]
        if tree is not None and matching > len(options):
            lines = [f"{lines[0]}; showing the first {len(options):,}, search for others"]
        view.show_lines(found=lines)
        view.show_members(are_listed=tree is not None)

    def keep_members(self) -> bool:
        """Read the chosen members, plus chosen ones that the search hides; return false if this is not a choice."""
        view = self._view
        dimension = view.filtered.value
        if self.is_filling or dimension is None or self._known.members(view.model.value, dimension) is None:
            return False
        on_show = {member for _, member in view.members.options}
        hidden = [one for one in self.filters.get(dimension, ()) if one not in on_show]
        self.filters[dimension] = (*hidden, *view.members.value)
        return True

    def choice(self, model_id: str) -> Choice:
        """Return the choice for this model, whose schema is loaded."""
        view, schema = self._view, self._known.schema(model_id)
        assert schema is not None  # noqa: S101 - the lists are filled from it
        where: dict[str, tuple[str, ...]] = {}
        version = _version(schema)
        if version is not None and view.versions.value:
            where[version] = tuple(view.versions.value)
        for dimension, members in self.filters.items():
            tree = self._known.members(model_id, dimension)
            if members and tree is not None:
                where[dimension] = tree.leaves(members)
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
        """Return the chosen members, one line per dimension."""
        lines = []
        for dimension, members in self.filters.items():
            tree = self._known.members(model_id, dimension)
            if members and tree is not None:
                shown = [tree.label(one) for one in members[:_MAX_NAMES]]
                more = [f"{len(members) - _MAX_NAMES:,} more"] if len(members) > _MAX_NAMES else []
                lines.append(f"{dimension}: {', '.join([*shown, *more])}")
        return lines

    def _quietly(self, change: Callable[[], None]) -> None:
        """Change lists without reading this as a choice."""
        self.is_filling = True
        try:
            change()
        finally:
            self.is_filling = False


def _kept(part: Any) -> tuple[str, ...] | None:
    """Return the choice in a list; ``None`` for all of it."""
    return None if len(part.value) == len(part.options) else tuple(part.value)


def _label(column: Column) -> str:
    return printable(column.label or column.name)


def _version(schema: Schema) -> str | None:
    return next((one.name for one in schema.dimensions if is_version(one.name)), None)
