"""The user's choice in the explorer, and code that returns the same frame: Python, and SQL if it means the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sacnb._endpoints import DEFAULT_NAMESPACE, FACT_DATA
from sacnb._odata.expression import And, Comparison, Expression, Membership

if TYPE_CHECKING:
    import polars as pl

    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.query import Query
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result
    from sacnb._tenant import Facts, Tenant

__all__ = ["Choice", "python_code", "sql_code"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, its columns and rows, and the grain of the frame; ``None`` keeps everything.

    ``where`` holds pairs of a dimension and the ids of its members. With a ``grain`` the frame is tidy.
    """

    __module__ = "sacnb.notebook"

    model_id: str
    namespace: str = DEFAULT_NAMESPACE
    dims: tuple[str, ...] | None = None
    measures: tuple[str, ...] | None = None
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    since: str | None = None
    until: str | None = None
    grain: Grain | None = None
    agg: Aggregation = "sum"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``model.facts()``, without those that are ``None``."""
        where = {name: ids[0] if len(ids) == 1 else list(ids) for name, ids in self.where}
        found: dict[str, Any] = {
            "where": where or None,
            "since": self.since,
            "until": self.until,
            "dims": None if self.dims is None else list(self.dims),
            "measures": None if self.measures is None else list(self.measures),
        }
        return {name: value for name, value in found.items() if value is not None}

    def facts(self, tenant: Tenant) -> Facts:
        """Return the query. Raises what ``model.facts()`` raises."""
        return tenant.model(self.model_id, self.namespace).facts(**self.arguments())

    def frame(self, result: Result) -> pl.DataFrame:
        """Return the frame of *result*: its rows, or tidy at the grain. Raises what ``Result.tidy`` raises."""
        return result.polars() if self.grain is None else result.tidy(self.grain, agg=self.agg).frame


_LINE_CHARS: Final = 100
_SIGNS: Final = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def python_code(choice: Choice, *, is_sandbox: bool = False, profile: str | None = None) -> str:
    """Return Python code that connects and stores the rows in ``result`` and the frame in ``frame``.

    Settings come from the profile, the environment or ``.env``, so the code contains neither the tenant's name nor a
    secret.
    """
    tenant = '"sandbox"' if is_sandbox else f"profile={profile!r}" if profile is not None else ""
    connect = f"sacnb.connect({tenant})"
    names = [repr(choice.model_id)] + (
        [f"namespace={choice.namespace!r}"] if choice.namespace != DEFAULT_NAMESPACE else []
    )
    arguments = [f"{name}={_literal(value, len(name) + 6)}" for name, value in choice.arguments().items()]
    facts = f"model.facts({', '.join(arguments)}).fetch()"
    if len(facts) > _LINE_CHARS or any("\n" in one for one in arguments):
        facts = "\n".join(["model.facts(", *(f"    {one}," for one in arguments), ").fetch()"])
    frame = "result.polars()"
    if choice.grain is not None:
        frame = f"result.tidy(grain={choice.grain!r}, agg={choice.agg!r}).frame"
    lines = ["import sacnb", "", f"sac = {connect}", f"model = sac.model({', '.join(names)})", f"result = {facts}"]
    return "\n".join([*lines, f"frame = {frame}", ""])


def _literal(value: Any, indent: int) -> str:
    """Return a value as Python, with one entry per line in long lists and mappings."""
    short = repr(value)
    if len(short) + indent <= _LINE_CHARS:
        return short
    if isinstance(value, Mapping):
        inner = [f"        {name!r}: {_literal(one, len(repr(name)) + 14)}," for name, one in value.items()]
        return "\n".join(["{", *inner, "    }"])
    if isinstance(value, list):
        inner = [f"            {one!r}," for one in value]
        return "\n".join(["[", *inner, "        ]"])
    return short


def sql_code(query: Query) -> str | None:
    """Return the query as SQL over its model; ``None`` if SQL would not mean the same.

    SAC adds up by each measure's own aggregation, which SQL does not know.
    """
    if query.entity_set != FACT_DATA or query.namespace != DEFAULT_NAMESPACE or query.top is not None:
        return None
    condition = "" if query.where is None else _condition(query.where)
    if condition is None:
        return None
    columns = ", ".join(map(_quoted, query.select))
    lines = [f"select {columns}", f"from {_quoted(query.provider_id)}", *([f"where {condition}"] if condition else [])]
    return "\n".join(lines)


def _condition(expression: Expression) -> str | None:
    if isinstance(expression, And):
        parts = [_condition(one) for one in expression.operands]
        return None if None in parts else "\n  and ".join(part for part in parts if part is not None)
    if isinstance(expression, Comparison) and isinstance(expression.value, str):
        return f"{_quoted(expression.column)} {_SIGNS[expression.operator]} {_text(expression.value)}"
    if isinstance(expression, Membership) and expression.values:
        values = [value for value in expression.values if isinstance(value, str)]
        if len(values) == len(expression.values):
            return f"{_quoted(expression.column)} in ({', '.join(map(_text, values))})"
    return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
