"""SAC in Jupyter: magics, and widgets of core ipywidgets only.

    %load_ext sacnb
    %sac models

    panel = model.refresh_panel(grain="month")

Each name loads what it needs when it is used, and says what to install where that is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    from sacnb.notebook.explorer import Explorer
    from sacnb.notebook.extension import load_ipython_extension, unload_ipython_extension
    from sacnb.notebook.panel import RefreshPanel
    from sacnb.notebook.progress_bar import progress
    from sacnb.notebook.session import current_tenant, use_tenant

__all__ = [
    "Explorer",
    "RefreshPanel",
    "current_tenant",
    "load_ipython_extension",
    "progress",
    "unload_ipython_extension",
    "use_tenant",
]

_HOME: Final = {
    "Explorer": "sacnb.notebook.explorer",
    "RefreshPanel": "sacnb.notebook.panel",
    "current_tenant": "sacnb.notebook.session",
    "load_ipython_extension": "sacnb.notebook.extension",
    "long_work": "sacnb.notebook.progress_bar",
    "progress": "sacnb.notebook.progress_bar",
    "unload_ipython_extension": "sacnb.notebook.extension",
    "use_tenant": "sacnb.notebook.session",
}
_OPTIONAL: Final = frozenset({"IPython", "ipywidgets", "traitlets"})


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    try:
        value = getattr(importlib.import_module(home), name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] in _OPTIONAL:
            raise MissingExtraError("notebook", f"sacnb.notebook.{name}") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
