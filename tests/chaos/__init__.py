"""Many seeded runs in a spoiled world: ``make chaos``."""
