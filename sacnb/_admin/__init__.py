"""Users, teams and import jobs of a tenant as frames, read only."""
