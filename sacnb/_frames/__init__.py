"""Decode rows into exact typed columns, and convert them into the frames users want."""
