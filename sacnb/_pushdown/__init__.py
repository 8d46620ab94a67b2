"""Send the conditions of a polars predicate that OData can express to SAC, and leave the rest to polars."""
