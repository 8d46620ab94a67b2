"""Mutated answers and files: each gives a value or an error of sacnb, in bounds, and never a wrong value."""
