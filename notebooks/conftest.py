"""Defaults of ``pytest --nbval notebooks``: replay the cassettes, keep cells in order, compare by sanitize.cfg."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell

SANITIZE = Path(__file__).parents[1] / "tests" / "notebooks" / "sanitize.cfg"
NBVAL_TIMEOUT_S, CELL_TIMEOUT_S = 2000, 100  # pytest's limit of 120 s would end the whole run, nbval's one cell


def pytest_configure(config: pytest.Config) -> None:
    """Fill in the nbval options that were not given, and replay unless ``SAC_REPLAY`` says otherwise."""
    option = config.option
    if not (option.nbval or option.nbval_lax):
        return
    if importlib.util.find_spec("forking") is not None:  # of the tests of sacnb: each kernel starts with its imports
        import forking

        forking.kernels_are_forked("statsmodels.tsa.exponential_smoothing.ets")
    # Kernels inherit the environment; a developer's tenant is asked only with SAC_REPLAY=off.
    os.environ.setdefault("SAC_REPLAY", "replay")
    option.nbval_sanitize_with = option.nbval_sanitize_with or str(SANITIZE)
    if option.nbval_cell_timeout == NBVAL_TIMEOUT_S:
        option.nbval_cell_timeout = CELL_TIMEOUT_S


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put cells back into their order: pytest-randomly shuffled them, and a cell needs those above it."""
    cells = iter(sorted((item for item in items if isinstance(item, IPyNbCell)), key=_position))
    items[:] = [next(cells) if isinstance(item, IPyNbCell) else item for item in items]


def _position(cell: IPyNbCell) -> tuple[str, int]:
    return str(cell.path), cell.cell_num


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``, keep each notebook on one worker: its cells share a kernel."""
    if not (config.option.nbval or config.option.nbval_lax):
        return None
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)
