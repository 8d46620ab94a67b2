"""Pull a query to its last page: pipelined, partitioned, resumable."""

from __future__ import annotations

from sacnb._pull.collect import Progress, ProgressListener, pull, refresh

__all__ = ["Progress", "ProgressListener", "pull", "refresh"]
