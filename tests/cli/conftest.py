"""Run the program in this process or its own, against a tenant over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forking
import pytest
from click.testing import CliRunner, Result

import sacnb.sandbox
from sacnb.cli.application import application
from sacnb.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _in_a_folder_without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a developer's ``.env``, and write into the test's folder."""
    monkeypatch.chdir(tmp_path)
    # pytest-xdist sets COLUMNS for its workers, which folds tables.
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def _served() -> Iterator[Sandbox]:
    with sacnb.sandbox.start(scale_rows=2_000) as served:
        yield served


@pytest.fixture
def tenant(_served: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Point the environment at a sandbox, as at a real tenant; end its misbehaviour after the test."""
    monkeypatch.setenv("SAC_TENANT_URL", _served.tenant_url)
    monkeypatch.setenv("SAC_TOKEN_URL", _served.token_url)
    monkeypatch.setenv("SAC_CLIENT_ID", _served.client_id)
    monkeypatch.setenv("SAC_CLIENT_SECRET", _served.client_secret)
    # Retries in these tests cost real time.
    monkeypatch.setenv("SAC_MAX_ATTEMPTS", "2")
    yield _served
    _served.behave()


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Return a function that runs ``sacnb`` with these arguments in this process."""

    def invoke(*args: str) -> Result:
        return CliRunner().invoke(application, list(args), prog_name="sacnb")

    return invoke


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``sacnb`` in a process of its own, with *environ* added to the test's."""

    def run(
        *args: str, environ: dict[str, str] | None = None, cwd: Path | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return forking.run(
            [sys.executable, "-m", "sacnb", *args],
            encoding="utf-8",
            errors="strict",
            cwd=cwd or tmp_path,
            env={**os.environ, **(environ or {})},
            timeout=90,
            **options,
        )

    return run
