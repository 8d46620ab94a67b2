"""What is known of a tenant's models, for those who cannot wait: completions on Tab.

What an explorer knows of a tenant's models, asked for once each, when it is wanted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sacnb._odata.schema import is_version
from sacnb.errors import QueryError, SacError
from sacnb.notebook.member_tree import MemberTree

if TYPE_CHECKING:
    import polars as pl

    from sacnb._odata.schema import Schema
    from sacnb._tenant import Model, Tenant

__all__ = ["Catalogue", "Entry", "KnownModels"]

_log = logging.getLogger("sacnb.notebook")

_T = TypeVar("_T")
_Key = tuple[str, ...]

# A question that failed is not asked again at every Tab.
_ASK_AGAIN_AFTER_S: Final = 30.0


class Catalogue:
    """Remembers models, columns and members of one tenant; safe for threads.

    What is not known yet is asked in the background, once; ``until`` (on ``clock``, in seconds) is how long to wait for
    it, and ``None`` is given if that was not enough: the next time it will be there. What others learn of the tenant
    is handed in with ``learn_...``.
    """

    def __init__(self, tenant: Tenant, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._tenant = tenant
        self._lock = threading.Lock()
        self._known: dict[_Key, Any] = {}
        self._asked: dict[_Key, threading.Event] = {}
        self._failed_at: dict[_Key, float] = {}
        self._models: dict[str, Model] = {}

    def models(self, until: float) -> dict[str, str] | None:
        """The name of every model, by its id."""
        return self._ask(("models",), lambda: _texts(self._tenant.models(), "id", "name"), until)

    def schema(self, model_id: str, until: float) -> Schema | None:
        """The columns of a model."""
        return self._ask(("schema", model_id), lambda: self._model(model_id).schema, until)

    def members(self, model_id: str, dimension: str, until: float) -> dict[str, str] | None:
        """The description of every member of a dimension, by its id."""
        key = ("members", model_id, dimension)
        return self._ask(key, lambda: _texts(self._model(model_id).members(dimension), "id", "description"), until)

    def learn_models(self, models: pl.DataFrame) -> None:
        """Somebody listed the models."""
        self._learn(("models",), _texts(models, "id", "name"))

    def learn_schema(self, model_id: str, schema: Schema) -> None:
        """Somebody looked at a model."""
        self._learn(("schema", model_id), schema)

    def learn_members(self, model_id: str, dimension: str, members: pl.DataFrame) -> None:
        """Somebody listed the members of a dimension."""
        self._learn(("members", model_id, dimension), _texts(members, "id", "description"))

    def _model(self, model_id: str) -> Model:
        """One object for each model, since it keeps its ``$metadata``."""
        with self._lock:
            return self._models.setdefault(model_id, self._tenant.model(model_id))

    def _learn(self, key: _Key, value: object) -> None:
        with self._lock:
            self._known[key] = value

    def _ask(self, key: _Key, question: Callable[[], _T], until: float) -> _T | None:
        with self._lock:
            if key in self._known:
                known: _T = self._known[key]
                return known
            failed_at = self._failed_at.get(key)
            if failed_at is not None and self.clock() - failed_at < _ASK_AGAIN_AFTER_S:
                return None
            answered = self._asked.get(key)
            if answered is None:
                answered = self._asked[key] = threading.Event()
                # A daemon: whoever closes the notebook does not wait for a completion.
                threading.Thread(
                    target=self._answer, args=(key, question, answered), name="sacnb-catalogue", daemon=True
                ).start()
        answered.wait(max(until - self.clock(), 0.0))
        return self._known.get(key)

    def _answer(self, key: _Key, question: Callable[[], object], answered: threading.Event) -> None:
        try:
            self._learn(key, question())
        except SacError as error:
            _log.info("No completions for %s: %s", " ".join(key), error)
            self._failed_at[key] = self.clock()
        finally:
            with self._lock:
                del self._asked[key]
            answered.set()


def _texts(frame: pl.DataFrame, key: str, value: str) -> dict[str, str]:
    """Two columns of texts as a mapping; a value that is null or has no column is empty, and no key gives nothing."""
    if key not in frame.columns:
        return {}
    values = frame[value].to_list() if value in frame.columns else [None] * len(frame)
    return {name: text or "" for name, text in zip(frame[key].to_list(), values, strict=True) if name is not None}


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
