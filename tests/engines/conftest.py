from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from engines import CANARY, Place, connected

import sacnb.sandbox

os.environ["DO_NOT_TRACK"] = "true"  # before Daft is imported, which would tell its makers


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What an engine's processes inherit is set before they start, so this serves the whole session."""
    folder = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SAC_TENANT_URL", "SAC_CLIENT_ID", "SAC_TOKEN", "SAC_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("SAC_CLIENT_SECRET", CANARY)
        patch.setenv("SAC_CACHE_DIR", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        with sacnb.sandbox.start(scale_rows=3_000, client_secret=CANARY) as sandbox:
            yield Place(sandbox, connected(sandbox, folder))


@pytest.fixture(autouse=True)
def _secret_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that this process reads, it reads as a worker."""
    monkeypatch.setenv("SAC_CLIENT_SECRET", CANARY)
