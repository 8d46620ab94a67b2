"""SAP Analytics Cloud in a notebook.

    import sacnb

    sac = sacnb.connect()                     # environment, then .env; SAC_TENANT_URL=sandbox needs nothing else
    sac.models()                              # id, name, description
    jobs = sac.model("US_EMPLOYMENT")
    result = jobs.facts(where={"Version": "public.Actual"}, since="2010-01").fetch()
    result.tidy(grain="quarter")

Importing this package is light: each name loads what it needs when it is used.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from sacnb._frontend import register
from sacnb.errors import SacError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from sacnb._actions.multi_action import MemberPath, MultiAction, Run
    from sacnb._charts.chart import Chart
    from sacnb._charts.variance_plot import Variance
    from sacnb._odata.expression import col
    from sacnb._odata.schema import DateColumn, Schema
    from sacnb._odata.where import under
    from sacnb._pull.publish import ParquetFolder
    from sacnb._pull.stream import BatchStream
    from sacnb._results.result import Result, TidyFrame
    from sacnb._slices.slice import Slice
    from sacnb._slices.spec import ConnectSpec
    from sacnb._tenant import Facts, Model, Tenant, connect
    from sacnb._tenant.connector import read_slice
    from sacnb._track.track import Track
    from sacnb._write.report import WriteReport

__version__ = "0.1.0"

__all__ = [
    "BatchStream",
    "Chart",
    "ConnectSpec",
    "DateColumn",
    "Facts",
    "MemberPath",
    "Model",
    "MultiAction",
    "ParquetFolder",
    "Result",
    "Run",
    "SacError",
    "Schema",
    "Slice",
    "Tenant",
    "TidyFrame",
    "Track",
    "Variance",
    "WriteReport",
    "__version__",
    "col",
    "connect",
    "read_slice",
    "under",
]

_HOME = {
    "BatchStream": "sacnb._pull.stream",
    "Chart": "sacnb._charts.chart",
    "ConnectSpec": "sacnb._slices.spec",
    "DateColumn": "sacnb._odata.schema",
    "Facts": "sacnb._tenant",
    "MemberPath": "sacnb._actions.multi_action",
    "Model": "sacnb._tenant",
    "MultiAction": "sacnb._actions.multi_action",
    "ParquetFolder": "sacnb._pull.publish",
    "Result": "sacnb._results.result",
    "Run": "sacnb._actions.multi_action",
    "Schema": "sacnb._odata.schema",
    "Slice": "sacnb._slices.slice",
    "Tenant": "sacnb._tenant",
    "TidyFrame": "sacnb._results.result",
    "Track": "sacnb._track.track",
    "Variance": "sacnb._charts.variance_plot",
    "WriteReport": "sacnb._write.report",
    "col": "sacnb._odata.expression",
    "connect": "sacnb._tenant",
    "read_slice": "sacnb._tenant.connector",
    "under": "sacnb._odata.where",
}

# A library logs nothing unless it is asked to (by SAC_LOG, or the program's own logging configuration).
logging.getLogger("sacnb").addHandler(logging.NullHandler())


register(lambda: importlib.import_module("sacnb.notebook"))


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'sacnb' has no attribute {name!r}") from None
    try:
        value = getattr(importlib.import_module(home), name)
    except FileNotFoundError as error:  # Python also looks for libraries in the working folder
        from sacnb.errors import SettingsError

        raise SettingsError(
            "A library cannot be imported, because the working folder does not exist any more. Change to one that "
            "exists: import os; os.chdir(os.path.expanduser('~'))"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    modules = [name for name, value in globals().items() if getattr(value, "__name__", "") == f"sacnb.{name}"]
    return sorted({*__all__, *(name for name in modules if not name.startswith("_")), "__doc__", "__file__"})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Run ``%load_ext sacnb``. Raises MissingExtraError where the extra ``notebook`` is not installed."""
    importlib.import_module("sacnb.notebook").load_ipython_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Run ``%unload_ext sacnb``."""
    importlib.import_module("sacnb.notebook").unload_ipython_extension(shell)
