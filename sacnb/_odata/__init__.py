"""Speak OData v4 as SAC does, without any I/O: schemas, questions and answers."""
