"""Pull a query to the end, keep the result, and serve the last good one when SAC does not answer."""

from __future__ import annotations

from sacnb._pull.collect import Progress, ProgressListener, pull, refresh

__all__ = ["Progress", "ProgressListener", "pull", "refresh"]
