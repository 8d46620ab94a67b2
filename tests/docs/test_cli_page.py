"""The page of the command line says what the commands say of themselves."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sacnb.cli.failures import EXIT_CODES


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = Path(__file__).with_name("regenerate.py")
    spec = importlib.util.spec_from_file_location("regenerate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_help_texts_are_those_of_the_commands(generator: ModuleType) -> None:
    current = generator.PAGE.read_text(encoding="utf-8")
    assert current == generator.page(current), "run: python tests/docs/regenerate.py"


def test_the_exit_codes_are_those_of_the_program(
    documents: dict[str, Any], rows: Callable[[str], list[list[str]]]
) -> None:
    stated = {int(code): meaning for code, meaning in rows(documents["docs/cli.md"].section("Exit codes"))}
    assert stated == {int(code): meaning for code, meaning in EXIT_CODES.items()}
