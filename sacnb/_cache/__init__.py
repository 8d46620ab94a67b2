"""Results that are kept: one file each, replaced in one step, and never half a frame."""
