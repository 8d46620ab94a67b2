"""Each threat, each promise and each error that was found has a test that there is."""

from __future__ import annotations

import re
from pathlib import Path

from sacnb import _files
from sacnb._settings.variables import VARIABLES
from sacnb.snowflake import settings as snowflake


def exists(test: str, root: Path) -> bool:
    path, _, name = test.strip("`").partition("::")
    return re.search(rf"^def {re.escape(name)}\(", (root / path).read_text(encoding="utf-8"), re.MULTILINE) is not None


def test_each_threat_has_its_test(rows, documents, root: Path) -> None:
    threats = rows(documents["docs/security.md"].section("Threats"))
    assert len(threats) > 10
    for _, protection, test in threats:
        assert protection
        assert exists(test, root), test


def test_each_promise_and_each_error_that_was_found_has_its_test(rows, documents, root: Path) -> None:
    page = documents["docs/reliability.md"]
    promises, found = rows(page.section("Promises")), rows(page.section("Errors that were found on the way"))
    assert len(promises) > 5
    assert len(found) > 3
    for *words, test in (*promises, *found):
        assert all(words)
        assert exists(test, root), test


def test_each_bound_has_its_default_its_error_and_its_test(rows, documents, root: Path) -> None:
    bounds = rows(documents["docs/security.md"].section("Bounds"))
    defaults = {one.name: one.default for one in VARIABLES}
    defaults |= {name: text[-4:].strip("( )") for name, text in snowflake.VARIABLES.items()}
    defaults[_files._FILE_SETTING] = str(_files._FILE_MB)
    named = set()
    for what, bound, default, error, test in bounds:
        assert what
        assert error
        assert exists(test, root), test
        if bound.startswith("`"):
            named.add(bound.strip("`"))
            assert default == defaults[bound.strip("`")], bound
        else:
            assert default == "fixed", what
    assert named >= {name for name in defaults if re.match(r"(SAC|SNOWFLAKE)_MAX_", name)}


def test_each_step_that_may_be_repeated_has_its_test(rows, documents, root: Path) -> None:
    steps = rows(documents["docs/runbook.md"].section("Each step, repeated"))
    assert len(steps) > 25
    for step, again, _, _, test in steps:
        assert step
        assert again
        assert exists(test, root), test


def test_each_fault_that_is_named_is_one_of_the_chaos_runs(rows, documents, root: Path) -> None:
    code = "".join((root / f"tests/chaos/{name}.py").read_text(encoding="utf-8") for name in ("world", "proxy"))
    quoted = set(re.findall(r"[\"']([\w ]+)[\"']", code))
    for kind, names in rows(documents["docs/reliability.md"].section("Faults of the chaos runs")):
        named = set(re.findall(r"`([\w ]+)`", names))
        assert named, kind
        assert named <= quoted, kind
