"""Rows to columns and back: decode, convert, the tidy contract, the result."""
