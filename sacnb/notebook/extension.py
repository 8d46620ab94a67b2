"""What ``%load_ext sacnb`` adds to IPython, and ``%unload_ext sacnb`` takes away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sacnb.notebook.cells import CELL, REPLAY
from sacnb.notebook.completion import Completion
from sacnb.notebook.magics import SacMagics
from sacnb.notebook.session import SESSION

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add ``%sac``, ``%%sac`` and ``%sac_replay`` with their completions.

    Nothing is connected, and doing it again changes nothing.
    """
    unload_ipython_extension(shell)
    magics = SacMagics(shell)
    shell.register_magics(magics)
    completion = Completion(SESSION, lambda: magics.completion_wait_s, CELL, REPLAY, shell.user_ns)
    if shell.Completer is not None:
        shell.Completer.custom_matchers.append(completion.matcher)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take them away, and forget the tenant; one that ``%sac connect`` connected is closed."""
    for kind in shell.magics_manager.magics.values():
        for name in ("sac", "sac_replay"):
            if isinstance(getattr(kind.get(name), "__self__", None), SacMagics):
                del kind[name]
    shell.magics_manager.registry.pop(SacMagics.__name__, None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, SacMagics)]
    if shell.Completer is not None:
        matchers = shell.Completer.custom_matchers
        matchers[:] = [one for one in matchers if not isinstance(getattr(one, "__self__", None), Completion)]
    SESSION.forget()
