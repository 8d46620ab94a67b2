"""Start multi-actions and follow their runs."""
