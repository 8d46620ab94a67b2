from __future__ import annotations

from collections.abc import Callable

import pytest
from sales import sales

from sacnb._tenant import Model, Tenant
from sacnb.sandbox import Sandbox


@pytest.fixture
def model(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Model:
    sandbox.add_model(sales())
    return connect_to(sandbox).model("SALES")
