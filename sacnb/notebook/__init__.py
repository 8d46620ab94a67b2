"""SAC in Jupyter: magics, and widgets made of core ipywidgets only.

    %load_ext sacnb
    %sac models

    panel = model.refresh_panel(grain="month")

Names load when they are used; a missing optional part is reported with the command that installs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    from sacnb.notebook.explorer import Explorer
    from sacnb.notebook.magics import load_ipython_extension, unload_ipython_extension
    from sacnb.notebook.panel import RefreshPanel
    from sacnb.notebook.progress_bar import progress
    from sacnb.notebook.session import current_tenant, use_tenant
    from sacnb.notebook.write_panel import WritePanel

__all__ = [
    "Explorer",
    "RefreshPanel",
    "WritePanel",
    "current_tenant",
    "load_ipython_extension",
    "progress",
    "unload_ipython_extension",
    "use_tenant",
]

_HOME: Final = {
    "Explorer": "sacnb.notebook.explorer",
    "RefreshPanel": "sacnb.notebook.panel",
    "WritePanel": "sacnb.notebook.write_panel",
    "current_tenant": "sacnb.notebook.session",
    "load_ipython_extension": "sacnb.notebook.magics",
    "long_work": "sacnb.notebook.progress_bar",
    "progress": "sacnb.notebook.progress_bar",
    "unload_ipython_extension": "sacnb.notebook.magics",
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
