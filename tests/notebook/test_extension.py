"""``%load_ext sacnb``: adds its parts, removes them, keeps the chosen tenant, and names a missing extra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import forking
import polars as pl
import pytest
from IPython.core.error import UsageError

import sacnb
import sacnb.notebook
from sacnb._tenant import Tenant
from sacnb.errors import MissingExtraError
from sacnb.notebook import current_tenant
from sacnb.notebook.magics import SacMagics
from sacnb.notebook.session import SESSION
from sacnb.sandbox import Sandbox


def traces(shell: Any) -> tuple[int, int, int, int]:
    """Count sacnb's parts in a shell: magics, their registry, configurables, matchers."""
    tables = shell.magics_manager.magics.values()
    magics = [name for table in tables for name in table if name in {"sac", "sac_replay"}]
    configurables = [one for one in shell.configurables if isinstance(one, SacMagics)]
    return (
        len(magics),
        int("SacMagics" in shell.magics_manager.registry),
        len(configurables),
        len(shell.Completer.custom_matchers),
    )


def test_it_is_added_once_and_removed_completely(shell: Any) -> None:
    before = traces(shell)
    assert before == (0, 0, 0, 0)
    shell.run("%load_ext sacnb")
    loaded = traces(shell)
    assert loaded == (3, 1, 1, 1)
    shell.run("%reload_ext sacnb")
    sacnb.load_ipython_extension(shell)
    assert traces(shell) == loaded
    shell.run("%unload_ext sacnb")
    assert traces(shell) == before
    with pytest.raises(UsageError, match="not found"):
        shell.run("%sac models")
    with pytest.raises(UsageError, match="not found"):
        shell.run("%sac_replay x")
    shell.run("%load_ext sacnb")
    assert traces(shell) == loaded


def test_a_foreign_magic_of_that_name_stays(shell: Any) -> None:
    shell.register_magic_function(lambda line: line, "line", "sac")
    sacnb.unload_ipython_extension(shell)
    assert shell.run("%sac theirs") == "theirs"


def test_loading_connects_to_nothing_and_unloading_drops_a_tenant_that_nobody_chose(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    shell.run("%load_ext sacnb")
    assert SESSION.catalogue is None
    shell.run("%sac models")
    assert SESSION.catalogue is not None
    shell.run("%unload_ext sacnb")
    assert SESSION.catalogue is None


@pytest.fixture
def other(sandbox: Sandbox, connect_to: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch) -> Tenant:
    """A tenant that is not the one of the settings."""
    monkeypatch.setenv("SAC_TENANT_URL", "https://other.example.com")
    return connect_to(sandbox)


@pytest.mark.parametrize("choose", ["%sac connect mine", "%sac connect sandbox", "sacnb.notebook.use_tenant(mine)"])
@pytest.mark.parametrize("reload", ["%reload_ext sacnb", "%unload_ext sacnb\n%load_ext sacnb"])
def test_reloading_never_replaces_the_tenant_that_the_user_chose(
    choose: str, reload: str, shell: Any, other: Tenant
) -> None:
    """IPython itself recommends %reload_ext when %load_ext runs twice."""
    shell.user_ns.update(sacnb=sacnb, mine=other)
    shell.run("%load_ext sacnb")
    shell.run(f"_ = {choose}" if choose.startswith("%") else choose)
    chosen = current_tenant()
    for line in reload.splitlines():
        shell.run(line)
    assert current_tenant() is chosen
    assert "US_EMPLOYMENT" in shell.run("%sac models")["id"].to_list()


def test_a_tenant_that_was_in_use_already_stays_when_it_is_chosen(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    shell.run("%load_ext sacnb")
    shell.run("%sac models")
    shell.user_ns["mine"] = current_tenant()
    shell.run("_ = %sac connect mine")
    shell.run("%reload_ext sacnb")
    assert current_tenant() is shell.user_ns["mine"]


def test_the_options_are_shown_and_checked(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    shell.run("%config SacMagics")
    shown = capsys.readouterr().out
    for name in ("frame", "limit", "full_tracebacks", "completion_wait_s"):
        assert f"SacMagics.{name}" in shown
    shell.run("%config SacMagics.frame = 'numpy'")
    assert "expected any of ['polars', 'pandas']" in caplog.text
    assert isinstance(shell.run("%sac models"), pl.DataFrame)


@pytest.mark.parametrize(
    ("missing", "program"),
    [
        ("IPython", "sacnb.load_ipython_extension(None)"),
        ("traitlets", "sacnb.notebook.current_tenant; sacnb.load_ipython_extension(None)"),
        ("ipywidgets", "sacnb.notebook.RefreshPanel"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(missing: str, program: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nimport sacnb, sacnb.notebook\n{program}"
    done = forking.run([sys.executable, "-c", code], text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "MissingExtraError" in last
    assert 'pip install "sacnb[notebook]"' in last
    assert issubclass(MissingExtraError, ImportError)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, sacnb.notebook; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"IPython", "ipywidgets", "polars", "traitlets"} & set(loaded)


def test_its_public_names_exist() -> None:
    assert sacnb.notebook.__all__ == sorted(sacnb.notebook.__all__)
    for name in sacnb.notebook.__all__:
        assert getattr(sacnb.notebook, name) is not None
    assert set(sacnb.notebook.__all__) <= set(dir(sacnb.notebook))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sacnb.notebook.nothing
    for name in ("Explorer", "RefreshPanel"):
        assert getattr(sacnb.notebook, name).__module__ == "sacnb.notebook"
