"""Hold the answer to a question: its rows, its metadata, its files."""
