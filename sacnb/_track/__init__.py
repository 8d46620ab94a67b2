"""Read what changed since the last refresh, and merge it into the cached result."""
