"""Each row of the threat table has a test that there is."""

from __future__ import annotations

import re
from pathlib import Path


def test_each_threat_has_its_test(rows, documents, root: Path) -> None:
    threats = rows(documents["docs/security.md"].section("Threats"))
    assert len(threats) > 10
    for _, protection, test in threats:
        assert protection
        path, _, name = test.strip("`").partition("::")
        text = (root / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {re.escape(name)}\(", text, re.MULTILINE), test
