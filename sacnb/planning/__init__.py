"""Planner's helpers: spread totals, clear slices, try what-if versions, run chains, and exchange frames with Excel.

    from sacnb import planning

    planning.spread(totals, last_year)
    planning.clear(model, slice, version="public.Plan")

A module of its own and not methods of ``Model``: ``spread`` needs no model, and the names say more behind ``planning``.
Importing it loads polars; ``import sacnb`` does not import it.
"""

from __future__ import annotations

from sacnb.planning.action_test import ActionTest, data_action_test
from sacnb.planning.clear import clear
from sacnb.planning.spread import spread
from sacnb.planning.steps import Steps, checkpoint
from sacnb.planning.template import template
from sacnb.planning.template_read import read_template
from sacnb.planning.what_if import WhatIf, what_if

__all__ = [
    "ActionTest",
    "Steps",
    "WhatIf",
    "checkpoint",
    "clear",
    "data_action_test",
    "read_template",
    "spread",
    "template",
    "what_if",
]
