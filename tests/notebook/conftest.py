"""A bare IPython for each test."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets.config import Config

from sacnb._tenant import Tenant
from sacnb.notebook.session import SESSION
from sacnb.sandbox import Sandbox


class Shell(InteractiveShell):
    """An IPython that returns the result of a cell."""

    def run(self, code: str) -> Any:
        """Run a cell; return its value or raise its error, which IPython only shows."""
        done = self.attempt(code)
        done.raise_error()
        return done.result

    def attempt(self, code: str, **variables: object) -> ExecutionResult:
        """Run a cell; return its outcome."""
        self.user_ns.update(variables)
        return self.run_cell(code, store_history=False)

    def complete_at_end(self, code: str) -> list[str]:
        """Return the texts that Tab makes of a cell, with the cursor at its end."""
        from IPython.core.completer import provisionalcompleter

        with provisionalcompleter():
            return [code[: c.start] + c.text + code[c.end :] for c in self.Completer.completions(code, len(code))]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = Shell(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    shell.extension_manager.unload_extension("sacnb")
    SESSION.forget()
    shell.restore_sys_module_state()
    # Otherwise the end of the test run collects garbage once per shell.
    atexit.unregister(shell.atexit_operations)


@pytest.fixture
def sac(shell: Shell, sandbox: Sandbox, connect_to: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """Connect the magics to a tenant of the test."""
    # The machine may be busy, so Tab waits long.
    shell.run("%load_ext sacnb")
    shell.run("%config SacMagics.completion_wait_s = 30")
    tenant = connect_to(sandbox, page_size=1000)
    shell.user_ns["sac"] = tenant
    shell.run("shown = %sac connect sac")
    return tenant


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make charts, but draw no PNG of them: half of the time of a test that looks at something else."""
    monkeypatch.setattr("sacnb.notebook.words._picture", lambda chart, theme: "")
