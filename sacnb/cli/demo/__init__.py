"""The demonstration: the main job end to end, against a pretend tenant of its own."""
