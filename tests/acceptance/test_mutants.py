"""Break the code on purpose where a mistake would be dear, and see that a test notices.

Each mutant is a copy of the package with one line changed; the tests named beside it run against the copy and must
fail there, as they pass on the package as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """What is broken: a text in a file, what stands there instead, and the tests that must notice."""

    name: str
    file: str
    original: str
    broken: str
    tests: str

    def __str__(self) -> str:
        return self.name


MUTANTS = [
    Mutant(
        "compare-and-drop drops whatever is there",
        "sacnb/_auth/state.py",
        "if self.token is token and not _left_s(self._stuck, now):",
        "if not _left_s(self._stuck, now):",
        "tests/auth/test_guard_rules.py",
    ),
    Mutant(
        "compare-and-drop never drops",
        "sacnb/_auth/state.py",
        "            self.token = None\n\n    def reason_to_refresh",
        "            pass\n\n    def reason_to_refresh",
        "tests/auth/test_guard_rules.py",
    ),
    Mutant(
        "a link to another origin is followed",
        "sacnb/_odata/page.py",
        "if home is not None and not _is_same_tenant(found, Origin.of(home)):",
        "if False:",
        "tests/odata/test_links.py",
    ),
    Mutant(
        "a token is sent to another origin",
        "sacnb/_wire/session.py",
        "    if Origin.of(url) != origin:\n",
        "    if False:\n",
        "tests/wire/test_face.py",
    ),
    Mutant(
        "a lifetime we choose is not clamped",
        "sacnb/_auth/token.py",
        "effective = min(max(seconds, MIN_LIFETIME_S), MAX_LIFETIME_S)",
        "effective = seconds",
        "tests/auth/test_token.py",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_test_notices_what_was_broken(mutant: Mutant, tmp_path: Path) -> None:
    for folder in ("sacnb", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / mutant.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant.original) == 1, "the code has changed: name the line that is to be broken anew"
    file.write_text(text.replace(mutant.original, mutant.broken), encoding="utf-8")
    # The working directory comes first on the path, so the copy is what is tested.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", mutant.tests],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
