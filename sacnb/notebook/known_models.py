"""What an explorer knows of a tenant's models, asked for once each, when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sacnb._charts.members import is_version
from sacnb.errors import QueryError
from sacnb.notebook.member_tree import MemberTree

if TYPE_CHECKING:
    import polars as pl

    from sacnb._odata.schema import Schema
    from sacnb._tenant import Model, Tenant

__all__ = ["Entry", "KnownModels"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model as the tenant lists it."""

    id: str
    name: str


class KnownModels:
    """The list of models, and of each that was looked at its schema and members. Loads in one thread at a time.

    What failed is not asked for again before ``try_again``.
    """

    def __init__(self, tenant: Tenant, *, first: str | None = None) -> None:
        self._tenant = tenant
        self.first = first
        self.entries: tuple[Entry, ...] | None = None
        self._models: dict[str, Model] = {}
        self._schemas: dict[str, Schema] = {}
        self._members: dict[tuple[str, str], pl.DataFrame] = {}
        self._trees: dict[tuple[str, str], MemberTree] = {}
        self._failed: set[tuple[str, ...]] = set()

    def schema(self, model_id: str | None) -> Schema | None:
        """The schema of a model, if it was loaded."""
        return self._schemas.get(model_id) if model_id is not None else None

    def members(self, model_id: str | None, dimension: str | None) -> MemberTree | None:
        """The members of a dimension, if they were loaded."""
        return self._trees.get((model_id, dimension)) if model_id is not None and dimension is not None else None

    def texts(self, model_id: str, schema: Schema) -> dict[str, pl.DataFrame]:
        """The members that were loaded, by dimension: what charts call them."""
        found = {one.name: self._members.get((model_id, one.name)) for one in schema.dimensions}
        return {name: frame for name, frame in found.items() if frame is not None and "description" in frame.columns}

    def wants(self, model_id: str | None, dimension: str | None) -> bool:
        """Whether something of these is neither there nor has failed."""
        return self._next(model_id, dimension) is not None

    def try_again(self) -> None:
        """Ask once more for what failed, if it is wanted."""
        self._failed.clear()

    def load(self, model_id: str | None, dimension: str | None) -> None:
        """Ask SAC for the next thing that is wanted. Raises what SAC's answer is worth."""
        wanted = self._next(model_id, dimension)
        if wanted is None:
            return
        try:
            self._load(wanted)
        except Exception:
            self._failed.add(wanted)
            raise

    def _next(self, model_id: str | None, dimension: str | None) -> tuple[str, ...] | None:
        """Nothing, a model, or a model and a dimension: what is to be loaded, in this order."""
        wanted: list[tuple[tuple[str, ...], bool]] = [((), self.entries is not None)]
        model = model_id or (self.first if self.entries is None else None)
        if model is not None:
            wanted.append(((model,), model in self._schemas))
            if dimension is not None:
                wanted.append(((model, dimension), (model, dimension) in self._trees))
        return next((one for one, is_there in wanted if not is_there and one not in self._failed), None)

    def _load(self, wanted: tuple[str, ...]) -> None:
        if not wanted:
            rows = self._tenant.models().select("id", "name").rows()
            self.entries = tuple(Entry(one, name) for one, name in rows)
            return
        model = self._models.setdefault(wanted[0], self._tenant.model(wanted[0]))
        if len(wanted) > 1:
            self._load_members(model, wanted[1])
            return
        schema = model.schema
        for column in schema.dimensions:
            if is_version(column.name):
                self._load_versions(model, column.name)
        self._schemas[model.id] = schema

    def _load_versions(self, model: Model, dimension: str) -> None:
        try:
            self._load_members(model, dimension)
        except QueryError:
            # Without master data the versions cannot be listed; the model can be explored all the same.
            return

    def _load_members(self, model: Model, dimension: str) -> None:
        members = model.members(dimension)
        if "id" not in members.columns:
            raise QueryError(
                f"The master data of {dimension!r} has no ids: its columns are {', '.join(members.columns)}.",
                hint="Filter in Python: facts(where={...}).",
            )
        self._members[model.id, dimension] = members
        self._trees[model.id, dimension] = MemberTree(members)
