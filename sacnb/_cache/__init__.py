"""Keep results on disk, whole or not at all."""
