"""OData v4 as SAC speaks it, without any I/O: what a model holds, what to ask, and what an answer is made of."""
