"""Record a notebook as a whole, and drop from a cassette what no notebook uses.

A notebook in a kernel of its own: run, reported on, and cleared of what only that kernel could use.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from sacnb._redact import redact_text
from sacnb._settings import Settings
from sacnb._settings.variables import VARIABLES
from sacnb.errors import MissingExtraError, ReplayError, SettingsError
from sacnb.replay import control, document
from sacnb.replay.scan import scan_text
from sacnb.replay.scrub import Known
from sacnb.replay.session import Mode, finished

__all__ = ["Report", "Runner"]

Report = Mapping[str, Any]

_MARK: Final = "sacnb-replay-report:"
_LAST_CELL: Final = "from sacnb.replay.notebook import _report\n_report()"
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


@dataclass(frozen=True, slots=True)
class NotebookRecording:
    """What ``record_notebook`` made: the cassettes that the notebook recorded, and how many answers they hold."""

    notebook: Path
    cassettes: tuple[Path, ...]
    interactions: int

    def __str__(self) -> str:
        return f"{self.notebook}: {self.interactions} answers in {', '.join(map(str, self.cassettes))}."


@dataclass(frozen=True, slots=True)
class Pruned:
    """What ``prune`` did: how many answers the cassette still holds, and how many were dropped."""

    path: Path
    kept: int
    dropped: int

    def __str__(self) -> str:
        return f"{self.path}: {self.kept} answers kept, {self.dropped} dropped."


def record_notebook(
    notebook: str | os.PathLike[str],
    name: str | os.PathLike[str] | None = None,
    *,
    timeout_s: float = 600.0,
    kernel_name: str | None = None,
    write_outputs: bool = True,
    environ: Mapping[str, str] | None = None,
    announce: Callable[[str], object] | None = None,
) -> NotebookRecording:
    """Run a notebook twice, each time in a kernel of its own: once to record it, once to see that it replays.

    The replay gets none of the settings, as if a colleague ran it who has no tenant. Its outputs are written into the
    notebook, so a test that compares them with a later replay finds no difference; without the state of widgets, which
    is of use to their kernel only and differs each time. Where the first run fails nothing is kept; the notebook is
    written only if both went well and none of its outputs holds a secret of the settings, or looks like a secret.

    Args:
        notebook: The notebook's file. Its kernel works in the notebook's folder, with this process's environment.
        name: The cassette, for a notebook that does not name one itself; by default the notebook's own name.
        timeout_s: Seconds for each cell.
        kernel_name: The kernel, where it is not to be the notebook's own.
        write_outputs: Whether to write the outputs into the notebook.
        environ: Variables for the notebook's kernel on top of this process's environment.
        announce: Told in words what begins, since it takes a while.

    Raises:
        ReplayError: A cell failed, nothing was asked of a tenant, or something that must not be shared is left.
        MissingExtraError: The extra ``replay`` is not installed.
    """
    path = Path(notebook).resolve()
    runner = Runner(path, timeout_s=timeout_s, kernel_name=kernel_name, environ=environ, announce=announce)
    cassette = document.place_for(name if name is not None else path.stem, path.parent)
    _, recorded = runner.run("record", cassette)
    paths = dict.fromkeys(Path(each["path"]) for each in recorded if each["mode"] == "record")
    cassettes = tuple(each for each in paths if each.is_file())  # a notebook may have recorded into a folder of its own
    if not any(each["requests"] for each in recorded):
        raise ReplayError(
            f"The notebook {path.name!r} asked nothing of a tenant, so there is nothing to record.",
            hint="Does it call sacnb.connect()?",
        )
    replayed, _ = runner.run("replay", cassette)
    text = runner.nbformat.writes(replayed) + "\n"
    findings = _secrets_in(replayed, text, path.name, _known(path.parent, runner.environ))
    if findings:
        raise ReplayError(
            f"The outputs of the notebook were not written, since they may hold a secret: {'; '.join(findings)}.",
            hint="Take it out of the notebook's code and record again.",
        )
    if write_outputs:
        document.put(path, text)
    interactions = sum(len(document.read(each)[1]) for each in cassettes)
    return NotebookRecording(path, cassettes, interactions)


def prune(
    name: str | os.PathLike[str],
    notebooks: Iterable[str | os.PathLike[str]] = (),
    *,
    used: Iterable[int] = (),
    timeout_s: float = 600.0,
    kernel_name: str | None = None,
    announce: Callable[[str], object] | None = None,
) -> Pruned:
    """Drop from a cassette the answers that none of ``notebooks`` uses; they are run to see which those are.

    ``used`` are positions that are needed besides: the ``summary().used`` of a test's replay. Other arguments as for
    ``record_notebook``. Raises ReplayError where a notebook fails, or where nothing of the cassette is used.
    """
    path = document.find(name).resolve()
    needed = set(used)
    for notebook in notebooks:
        where = Path(notebook).resolve()
        runner = Runner(where, timeout_s=timeout_s, kernel_name=kernel_name, announce=announce)
        _, replayed = runner.run("replay", path)
        needed |= {position for each in replayed if Path(each["path"]).resolve() == path for position in each["used"]}
    if not needed:
        raise ReplayError(
            f"Nothing of the cassette {document.name_of(path)!r} was used, so nothing was dropped.",
            hint="Name the notebooks that replay it.",
        )
    kept, dropped = document.keep(path, needed)
    return Pruned(path, kept, dropped)


def _known(folder: Path, environ: Mapping[str, str]) -> Known:
    """What the kernel that recorded in ``folder`` found in its settings, to look for it in what is to be saved."""
    known = Known((), (environ.get(name, "") for name in ("SAC_CLIENT_SECRET", "SAC_TOKEN")))
    dotenv = next((each / ".env" for each in (folder, *folder.parents) if (each / ".env").is_file()), None)
    with suppress(SettingsError):  # a notebook that has its settings from elsewhere
        known.learn_settings(Settings.resolve(environ=environ, dotenv_path=dotenv))
    return known


def _secrets_in(notebook: Any, text: str, name: str, known: Known) -> list[str]:
    """What of the outputs, or of the whole text, must not be shared, in words that do not repeat it."""
    findings = [str(finding) for finding in scan_text(text, path=name)]
    for number, cell in enumerate(notebook.cells, start=1):
        outputs = json.dumps(cell.get("outputs", ()), ensure_ascii=False)
        findings += [f"cell {number} shows {what}" for what in dict.fromkeys(known.left_in(outputs))]
    return findings
