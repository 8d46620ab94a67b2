"""Docstrings are imperative sentences or noun phrases, as CONTRIBUTING.md asks for."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("prose", Path(__file__).with_name("prose.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
prose = importlib.util.module_from_spec(_SPEC)
# Dataclasses look up their module by name.
sys.modules["prose"] = prose
_SPEC.loader.exec_module(prose)


def test_no_docstring_begins_as_a_question() -> None:
    docstrings = list(prose.docstrings())
    assert len(docstrings) > 1000
    begins = re.compile(r"(What|Whether|How|Those|Who|Where|Has|Have|Lets|Says|Tells)\b")
    assert [one for one in docstrings if begins.match(one.text)] == []


def test_a_draw_prints_place_and_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["prose.py", "7", "3"])
    monkeypatch.setattr(prose, "PACKAGE", prose.PACKAGE / "_track")
    prose.main()
    first = capsys.readouterr().out
    prose.main()
    assert capsys.readouterr().out == first
    assert first.count("_track/") >= 3
