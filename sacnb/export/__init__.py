"""Pull a query to the end, keep the result, and serve the last good one when SAC does not answer."""

from __future__ import annotations

from sacnb.export.pull import Progress, ProgressListener, pull
from sacnb.export.refresh import refresh

__all__ = ["Progress", "ProgressListener", "pull", "refresh"]
