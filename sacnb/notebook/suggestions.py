"""What can stand where the cursor is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sacnb._odata.schema import Schema
    from sacnb.notebook.catalogue import Catalogue

__all__ = ["Knowledge", "Suggestions", "beginning_with"]

_VALUES: Final = (str, int, float, Decimal, date, list, tuple)
_OF_IPYTHON: Final = frozenset({"In", "Out"})


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Texts for the place of ``fragment``, which ends at the cursor; each with a word or two of what it is."""

    fragment: str
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known, within the time there is: nothing is known of a tenant before one is connected."""

    catalogue: Catalogue | None
    until: float
    variables: Mapping[str, Any] = field(default_factory=dict)

    def models(self) -> Mapping[str, str]:
        """Ids of models, and their names."""
        found = self.catalogue.models(self.until) if self.catalogue is not None else None
        return {model: name or "model" for model, name in (found or {}).items()}

    def columns(self, model: str, *roles: str) -> Mapping[str, str]:
        """Columns of a model with one of the roles (or any), and which it is."""
        schema = self._schema(model)
        columns = schema.columns if schema is not None else ()
        return {column.name: column.role for column in columns if not roles or column.role in roles}

    def dates(self, model: str) -> Mapping[str, str]:
        """Date columns of a model."""
        schema = self._schema(model)
        return {date.name: date.grain or "date" for date in schema.date_columns} if schema is not None else {}

    def members(self, model: str, dimension: str) -> Mapping[str, str]:
        """Ids of a dimension's members, and their descriptions."""
        if self.catalogue is None or dimension not in self.columns(model, "dimension"):
            return {}
        found = self.catalogue.members(model, dimension, self.until) or {}
        return {member: description or "member" for member, description in found.items()}

    def values(self) -> Mapping[str, str]:
        """The user's variables that SQL can take as values, and their types."""
        return self._variables_that(lambda value: isinstance(value, _VALUES))

    def dictionaries(self) -> Mapping[str, str]:
        """The user's dictionaries."""
        return self._variables_that(lambda value: isinstance(value, Mapping))

    def _variables_that(self, fit: Callable[[object], bool]) -> Mapping[str, str]:
        ours = {name: value for name, value in self.variables.items() if name not in _OF_IPYTHON and name[0] != "_"}
        return {name: type(value).__name__ for name, value in ours.items() if fit(value)}

    def _schema(self, model: str) -> Schema | None:
        # Only of models that are there: a name that is still being typed is not worth a question.
        if self.catalogue is None or model not in self.models():
            return None
        return self.catalogue.schema(model, self.until)


def beginning_with(prefix: str, texts: Mapping[str, str] | Iterable[str], what: str = "") -> dict[str, str]:
    """Those that begin with ``prefix``, in any case of letters; if none does, those that have it somewhere."""
    described = texts if isinstance(texts, Mapping) else dict.fromkeys(texts, what)
    wanted = prefix.casefold()
    found = {text: kind for text, kind in described.items() if text.casefold().startswith(wanted)}
    return found or {text: kind for text, kind in described.items() if wanted in text.casefold()}
