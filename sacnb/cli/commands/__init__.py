"""The commands of ``sacnb``."""
