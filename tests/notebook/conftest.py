"""An IPython of the test's own, as bare as can be."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets.config import Config

from sacnb._tenant import Tenant
from sacnb.sandbox import Sandbox


class Shell(InteractiveShell):
    """An IPython that says what came of a cell."""

    def run(self, code: str) -> Any:
        """Run a cell; what it gives, or what it raised, which IPython itself only shows."""
        done = self.attempt(code)
        done.raise_error()
        return done.result

    def attempt(self, code: str) -> ExecutionResult:
        """Run a cell; how it ended."""
        return self.run_cell(code, store_history=False)

    def complete_at_end(self, code: str) -> list[str]:
        """The texts that Tab offers at the end of a cell, each in the place of what it completes."""
        from IPython.core.completer import provisionalcompleter

        with provisionalcompleter():
            return [code[: c.start] + c.text + code[c.end :] for c in self.Completer.completions(code, len(code))]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = Shell(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    shell.extension_manager.unload_extension("sacnb")
    shell.restore_sys_module_state()
    # Or the end of the test run would collect garbage once for every shell there was.
    atexit.unregister(shell.atexit_operations)


@pytest.fixture
def sac(shell: Shell, sandbox: Sandbox, connect_to: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """A tenant of the test's own that the magics ask."""
    # The answers of the sandbox are near, but this machine may be busy: in tests, Tab has the patience to wait.
    shell.run("%load_ext sacnb")
    shell.run("%config SacMagics.completion_wait_s = 30")
    tenant = connect_to(sandbox, page_size=1000)
    shell.user_ns["sac"] = tenant
    shell.run("said = %sac connect sac")
    return tenant
