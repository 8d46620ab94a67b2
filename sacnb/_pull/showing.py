"""Whether a pull shows how far it is: by itself in a notebook, and nowhere else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

from sacnb._pull.progress import ProgressListener

__all__ = ["Shown", "listener_of"]

# A listener; "auto" for a bar where somebody watches; None for nothing.
Shown = ProgressListener | Literal["auto"] | None


@contextmanager
def listener_of(progress: Shown) -> Iterator[ProgressListener | None]:
    """What is told how far a pull is, for as long as it takes; ``"auto"`` is a bar in a notebook, else nothing."""
    if not isinstance(progress, str):
        yield progress
        return
    if progress != "auto":
        raise TypeError(f"progress is {progress!r}; expected a function, 'auto' or None.")
    if not _is_notebook():
        yield None
        return
    # The notebook is a room above this one: a name is looked up where one runs, and nothing here is built on it.
    bar: AbstractContextManager[ProgressListener] = importlib.import_module("sacnb.notebook.progress_bar").long_work()
    with bar as listener:
        yield listener


def _is_notebook() -> bool:
    """Whether this process is a kernel that can show widgets."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None and importlib.util.find_spec("ipywidgets") is not None
