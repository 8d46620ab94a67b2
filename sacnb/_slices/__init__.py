"""Values for worker processes: the settings of a tenant without secrets, and slices of a query."""
