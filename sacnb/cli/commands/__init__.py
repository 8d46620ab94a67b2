"""The commands, one in each file, under the name ``command``."""
