"""The Python in the documents runs, and the output they show is the output it gives."""

from __future__ import annotations

import ast
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sacnb._tenant import connector

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def run(code: str, where: str, namespace: dict[str, Any]) -> object:
    """Run a snippet as a notebook cell does: the value of its last expression is what it shows."""
    tree = ast.parse(code, where)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), where, "eval"), namespace) if last is not None else None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_snippets_run_and_give_what_they_show(
    name: str, documents: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A ``python`` fence is run against the sandbox; a ``text`` fence behind it shows its output, but for ``…``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    monkeypatch.setattr(connector, "start_sandbox", partial(connector.start_sandbox, scale_rows=20_000))
    monkeypatch.setattr("sacnb.notebook.words._picture", lambda chart, theme: "")  # nobody looks at the explorer's
    namespace: dict[str, Any] = {}
    shown: object = None
    for fence in documents[name].fences:
        where = f"{name}:{fence.line}"
        if fence.info == ("python",):
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                shown = run(fence.body, where, namespace)
            continue
        if fence.info == ("python", "no-run"):
            compile(fence.body, where, "exec")
        if fence.info == ("text",) and shown is not None:
            given = repr(shown).splitlines()
            missing = [line for line in fence.body.splitlines() if "…" not in line and line not in given]
            assert not missing, f"{where} shows lines that are not in the output"
        shown = None


def test_the_readme_shows_output(documents: dict[str, Any]) -> None:
    readme = documents["README.md"]
    infos = [fence.info for fence in readme.fences]
    assert ("python",) in infos
    assert ("text",) in infos
    assert "docs/pictures/us_employment.png" in readme.text
