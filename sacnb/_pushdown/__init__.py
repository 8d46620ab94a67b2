"""Hand to SAC what OData can say of a polars predicate, and keep the rest for polars."""
