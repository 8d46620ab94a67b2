"""A notebook in a kernel of its own: run, reported on, and cleared of what only that kernel could use."""

from __future__ import annotations

import copy
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from sacnb._settings.variables import VARIABLES
from sacnb._wire.redact import redact_text
from sacnb.errors import MissingExtraError, ReplayError
from sacnb.replay import control
from sacnb.replay.session import Mode, finished

__all__ = ["Report", "Runner"]

Report = Mapping[str, Any]

_MARK: Final = "sacnb-replay-report:"
_LAST_CELL: Final = "from sacnb.replay.kernel import _report\n_report()"
_WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"
# What a colleague without a tenant has not got; a notebook must replay without it.
_OF_A_TENANT: Final = frozenset(variable.name for variable in VARIABLES) - {"SAC_LOG"}
_MOST_LAST_WORDS: Final = 500
# What the system allows for the name of a socket's file, everywhere.
_LONGEST_SOCKET_NAME: Final = 103


class Runner:
    """Runs one notebook, and gives back what it became and what its cassettes report.

    ``environ`` are variables for the kernel on top of this process's; ``announce`` is told what begins.

    Raises ReplayError where there is no such notebook, MissingExtraError without the extra ``replay``.
    """

    def __init__(
        self,
        path: Path,
        *,
        timeout_s: float,
        kernel_name: str | None,
        environ: Mapping[str, str] | None = None,
        announce: Callable[[str], object] | None = None,
    ) -> None:
        try:
            self.nbformat = importlib.import_module("nbformat")
            self._nbclient = importlib.import_module("nbclient")
            self._no_such_kernel = importlib.import_module("jupyter_client.kernelspec").NoSuchKernel
            self._new_config = importlib.import_module("traitlets.config").Config
        except ImportError as error:
            raise MissingExtraError("replay", "Running a notebook") from error
        self.environ = {**os.environ, **(environ or {})}
        self._path = path
        self._timeout_s = timeout_s
        self._kernel_name = kernel_name
        self._announce = announce
        try:
            self._notebook = self.nbformat.read(path, as_version=4)
        except (OSError, ValueError) as error:
            raise ReplayError(
                f"The notebook {str(path)!r} cannot be read: {error}.", hint="Name a file that Jupyter can open."
            ) from None

    def run(self, mode: Mode, cassette: Path) -> tuple[Any, list[Report]]:
        """The notebook with its outputs, and the reports of its cassettes. A replay gets none of the settings."""
        if self._announce is not None:
            self._announce(f"{self._path.name}: {'recording' if mode == 'record' else 'replaying'} ...")
        notebook = copy.deepcopy(self._notebook)
        notebook.cells.append(self.nbformat.v4.new_code_cell(_LAST_CELL))
        with tempfile.TemporaryDirectory(prefix="sacnb-", ignore_cleanup_errors=True) as folder:
            self._execute(mode, notebook, cassette, Path(folder))
        last = notebook.cells.pop()
        self._tidy(notebook)
        return notebook, _read_report(last)

    def _execute(self, mode: Mode, notebook: Any, cassette: Path, folder: Path) -> None:
        """Run all cells, with ``folder`` for what the run itself needs."""
        kernel_name = self._kernel_name or notebook.metadata.get("kernelspec", {}).get("name", "python3")
        client = self._nbclient.NotebookClient(
            notebook,
            timeout=self._timeout_s,
            kernel_name=kernel_name,
            resources={"metadata": {"path": str(self._path.parent)}},
            record_timing=False,
            # What is printed arrives in pieces, at other places each time.
            coalesce_streams=True,
            config=self._connection(folder),
            # The last cell has saved everything. A notebook that failed is to leave nothing, and an orderly end would.
            shutdown_kernel="immediate",
        )
        inherited = self.environ if mode == "record" else self._without_a_tenant()
        environment = {**inherited, "SAC_REPLAY": mode, "SAC_REPLAY_CASSETTE": str(cassette)}
        problems = self._nbclient.exceptions
        with (folder / "stderr").open("w+b") as said:
            try:
                client.execute(env=environment, stderr=said)
            except self._no_such_kernel:
                raise ReplayError(
                    f"There is no kernel {kernel_name!r} on this machine, which {self._path.name!r} is to run in.",
                    hint="Name another one, such as python3.",
                ) from None
            except Exception as error:
                # nbclient listens for Ctrl-C itself, ends the kernel, and fails somehow over that.
                if hasattr(client, "_async_cleanup_kernel_future"):
                    raise KeyboardInterrupt from None
                if isinstance(error, problems.CellTimeoutError):
                    raise self._failure(mode, notebook, f"it took longer than {self._timeout_s:g} s.") from None
                if isinstance(error, problems.CellControlSignal):
                    raise self._failure(mode, notebook, str(error)) from None
                if isinstance(error, RuntimeError):  # a kernel that does not start, or dies
                    raise self._failure(mode, notebook, f"{error}. {_end_of(said)}") from None
                raise

    def _connection(self, folder: Path) -> Any:
        """How to talk with the kernel: by files in ``folder``, where that can be done.

        Over TCP, five ports are looked for and let go again until the kernel takes them. If somebody else does in the
        meantime, which happens on a busy machine, the kernel never answers; and anybody on this machine could listen.
        """
        config = self._new_config()
        file = folder / "kernel.json"
        if os.name == "posix" and len(f"{file.with_suffix('')}-ipc-5") <= _LONGEST_SOCKET_NAME:
            config.KernelManager.transport = "ipc"
            config.KernelManager.connection_file = str(file)
        return config

    def _without_a_tenant(self) -> dict[str, str]:
        return {name: value for name, value in self.environ.items() if name not in _OF_A_TENANT}

    def _tidy(self, notebook: Any) -> None:
        """Leave out what differs from run to run and from machine to machine, and what needs the kernel that is gone.

        A widget is its kernel's: without it, JupyterLab shows an error in its place. What stands beside it, such as
        the table of a panel, is for all who only read.
        """
        notebook.metadata = copy.deepcopy(self._notebook.metadata)
        notebook.metadata.pop("widgets", None)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            for output in cell.get("outputs", ()):
                output.get("data", {}).pop(_WIDGET_VIEW, None)

    def _failure(self, mode: Mode, notebook: Any, reason: str) -> ReplayError:
        position = 0
        for number, cell in enumerate(notebook.cells, start=1):
            for output in cell.get("outputs", ()):
                if output["output_type"] == "error":
                    position, reason = number, f"{output['ename']}: {output['evalue']}"
        where = f"Cell {position} of" if position else "A cell of"
        what = "recorded" if mode == "record" else "replayed"
        return ReplayError(
            f"{where} the notebook {self._path.name!r} failed when it was {what}: {redact_text(reason.strip())}",
            hint="The notebook was left as it was.",
        )


def _end_of(said: IO[bytes]) -> str:
    """The last words of a kernel that died, which are the only ones that say why."""
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("[IPKernelApp] WARNING")).strip()
    return text if len(text) <= _MOST_LAST_WORDS else f"… {text[-_MOST_LAST_WORDS:]}"


def _report() -> None:
    """In the notebook's kernel, at the end: save what is recorded, and tell of all cassettes that were used."""
    control.stop()
    reports = [
        {"path": str(each.path), "mode": each.mode, "requests": each.requests, "used": each.used} for each in finished()
    ]
    print(_MARK, json.dumps(reports))  # noqa: T201 - the way from a kernel to whoever runs it


def _read_report(cell: Any) -> list[Report]:
    printed = "".join(output.get("text", "") for output in cell["outputs"])
    reports: list[Report] = json.loads(printed.partition(_MARK)[2])
    return reports
