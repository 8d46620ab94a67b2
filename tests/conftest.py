"""What every test gets: an environment without SAC variables, and a cache folder of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the developer's machine reaches a test, and no test reaches the developer's cache or ``.env``."""
    for name in list(os.environ):
        if name.startswith("SAC_") or name.upper() in {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAC_CACHE_DIR", str(tmp_path / "cache"))
