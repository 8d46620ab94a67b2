"""Break the code on purpose where a mistake would be dear, and see that a test notices.

Each mutant is a copy of the package with one line changed; the test named beside it runs against the copy and must
fail there, as it passes on the package as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """What is broken: a text in a file, what stands there instead, and the test that must notice."""

    name: str
    file: str
    original: str
    broken: str
    test: str


MUTANTS = [
    Mutant(
        "compare-and-drop drops whatever is there",
        "sacnb/_auth/token.py",
        "if self.token is token and not _left_s(self._stuck, now):",
        "if not _left_s(self._stuck, now):",
        "tests/auth/test_guard_rules.py::test_rejecting_compares_before_it_drops",
    ),
    Mutant(
        "compare-and-drop never drops",
        "sacnb/_auth/token.py",
        "            self.token = None\n\n    def reason_to_refresh",
        "            pass\n\n    def reason_to_refresh",
        "tests/auth/test_guard_rules.py::test_rejecting_compares_before_it_drops",
    ),
    Mutant(
        "a link to another origin is followed",
        "sacnb/_odata/page.py",
        "if home is not None and not _is_same_tenant(found, Origin.of(home)):",
        "if False:",
        "tests/odata/test_links.py::test_the_origin_of_the_tenant_counts_and_not_only_that_of_the_page",
    ),
    Mutant(
        "a token is sent to another origin",
        "sacnb/_wire/authorizer.py",
        "    if Origin.of(url) != origin:\n",
        "    if False:\n",
        "tests/wire/test_face.py::test_the_token_goes_to_the_tenant_only",
    ),
    Mutant(
        "a lifetime we choose is not clamped",
        "sacnb/_auth/token.py",
        "effective = min(max(seconds, MIN_LIFETIME_S), MAX_LIFETIME_S)",
        "effective = seconds",
        "tests/auth/test_token.py::test_the_lifetime",
    ),
]


# Each needs a process of pytest; one is tried with every change.
OFTEN = {"a token is sent to another origin"}


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, id=mutant.name, marks=[] if mutant.name in OFTEN else pytest.mark.long)
        for mutant in MUTANTS
    ],
)
def test_a_test_notices_what_was_broken(mutant: Mutant, tmp_path: Path) -> None:
    # Bytecode goes along: it is valid by the times of its sources, which a copy keeps, and saves most of the start.
    for folder in ("sacnb", Path(mutant.test).parent, "tests/support"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy2(ROOT / file, tmp_path / file)
    file = tmp_path / mutant.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant.original) == 1, "the code has changed: name the line that is to be broken anew"
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
    file.write_text(text.replace(mutant.original, mutant.broken), encoding="utf-8")
    # The working directory comes first on the path, so the copy is what is tested.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "pytest_timeout", mutant.test],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
