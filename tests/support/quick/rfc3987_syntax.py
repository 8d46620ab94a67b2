"""Stands before a package of this name, which compiles 38 grammars: 2.5 seconds of each process that imports nbformat.

jsonschema takes the package where it is installed, to judge the syntax of IRIs; no notebook has one. `make test` puts
this folder into PYTHONPATH.
"""

raise ImportError("left out of tests")
