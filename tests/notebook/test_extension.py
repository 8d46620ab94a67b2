"""``%load_ext sacnb``: what it adds, that nothing of it stays behind, and what is said where a part is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import polars as pl
import pytest
from IPython.core.error import UsageError

import sacnb
import sacnb.notebook
from sacnb._tenant import Tenant
from sacnb.errors import MissingExtraError
from sacnb.notebook.magics import SacMagics
from sacnb.notebook.session import SESSION


def traces(shell: Any) -> tuple[int, int, int, int]:
    """How much of ours is in a shell: magics, their registry, configurables, matchers."""
    tables = shell.magics_manager.magics.values()
    magics = [name for table in tables for name in table if name in {"sac", "sac_replay"}]
    configurables = [one for one in shell.configurables if isinstance(one, SacMagics)]
    return (
        len(magics),
        int("SacMagics" in shell.magics_manager.registry),
        len(configurables),
        len(shell.Completer.custom_matchers),
    )


def test_it_is_added_once_and_taken_away_whole(shell: Any) -> None:
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


def test_a_magic_of_that_name_of_somebody_else_stays(shell: Any) -> None:
    shell.register_magic_function(lambda line: line, "line", "sac")
    sacnb.unload_ipython_extension(shell)
    assert shell.run("%sac theirs") == "theirs"


def test_loading_connects_to_nothing_and_unloading_forgets_the_tenant(shell: Any) -> None:
    shell.run("%load_ext sacnb")
    assert SESSION.catalogue is None
    shell.run("said = %sac connect sandbox")
    assert SESSION.catalogue is not None
    shell.run("%unload_ext sacnb")
    assert SESSION.catalogue is None


def test_the_options_are_shown_and_checked(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    shell.run("%config SacMagics")
    shown = capsys.readouterr().out
    for name in ("frame", "limit", "short_errors", "completion_wait_s"):
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
def test_a_missing_part_is_named_with_the_command_that_installs_it(missing: str, program: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nimport sacnb, sacnb.notebook\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("sacnb.errors.MissingExtraError")
    assert 'pip install "sacnb[notebook]"' in last
    assert issubclass(MissingExtraError, ImportError)


def test_the_room_is_light_until_something_of_it_is_used() -> None:
    code = "import sys, sacnb.notebook; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"IPython", "ipywidgets", "polars", "traitlets"} & set(loaded)


def test_its_face_is_listed_and_there() -> None:
    assert sacnb.notebook.__all__ == sorted(sacnb.notebook.__all__)
    for name in sacnb.notebook.__all__:
        assert getattr(sacnb.notebook, name) is not None
    assert set(sacnb.notebook.__all__) <= set(dir(sacnb.notebook))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sacnb.notebook.nothing
