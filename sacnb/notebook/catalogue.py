"""What is known of a tenant's models, for those who cannot wait: completions on Tab."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sacnb.errors import SacError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._odata.schema import Schema
    from sacnb._tenant import Model, Tenant

__all__ = ["Catalogue"]

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
