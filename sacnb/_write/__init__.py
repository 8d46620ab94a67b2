"""Write a frame into a model: check it, upload it, run the import job, read it back, and undo it."""
