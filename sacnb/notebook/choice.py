"""What is chosen in the explorer: a question, and how its answer is to be shaped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sacnb._endpoints import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    import polars as pl

    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result
    from sacnb._tenant import Facts, Tenant

__all__ = ["Choice"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A model, what to keep of it, which rows, and the grain of the frame; ``None`` keeps everything.

    ``where`` holds pairs of a dimension and the ids of its members. With a ``grain`` the frame is tidy.
    """

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
        """The arguments of ``model.facts()``; those that say nothing are left out."""
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
        """The question. Raises what ``model.facts()`` raises."""
        return tenant.model(self.model_id, self.namespace).facts(**self.arguments())

    def frame(self, result: Result) -> pl.DataFrame:
        """The answer's frame: its rows, or tidy at the grain. Raises what ``Result.tidy`` raises."""
        return result.polars() if self.grain is None else result.tidy(self.grain, agg=self.agg).frame
