"""Draw results: charts, and plan against actual."""
