"""Record whole notebooks, each in a kernel of its own, and drop from a cassette what no notebook uses."""

from __future__ import annotations

import copy
import importlib
import json
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from sacnb._arguments import callback, elements, flag, folder, folders, seconds, text, whole_number
from sacnb._redact import redact_text
from sacnb._settings import Settings
from sacnb._settings.variables import VARIABLES
from sacnb.errors import MissingExtraError, QueryError, ReplayError, SettingsError
from sacnb.replay import control, document
from sacnb.replay.scan import scan_text, secrets_around
from sacnb.replay.scrub import Known
from sacnb.replay.session import Mode, finished

__all__ = ["Report", "Runner"]

Report = Mapping[str, Any]

# The report goes to a file, because threads, hooks and log handlers may print while the cell runs.
_LAST_CELL: Final = "from sacnb.replay.notebook import _report\n_report({!r})"
_WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"
# A replay must work without these, because a colleague without a tenant does not have them.
_OF_A_TENANT: Final = frozenset(variable.name for variable in VARIABLES) - {"SAC_LOG"}
_MOST_LAST_WORDS: Final = 500
# The longest name of a socket's file that every system allows.
_LONGEST_SOCKET_NAME: Final = 103


class Runner:
    """Runs one notebook, and returns it with its outputs and the reports of its cassettes.

    ``environ`` are variables for the kernel in addition to those of this process; ``announce`` is called with a line of
    text before each run.

    Raises ReplayError for a notebook that cannot be read, MissingExtraError without the extra ``replay``.
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
        if environ is not None and not isinstance(environ, Mapping):
            raise QueryError(f"environ must be a mapping of names to texts, got {type(environ).__name__}.")
        self.environ = {**os.environ, **(environ or {})}
        self._path = path
        self._timeout_s = seconds("timeout_s", timeout_s)
        self._kernel_name = text("kernel_name", kernel_name)
        self._announce = callback("announce", announce)
        try:
            self._notebook = self.nbformat.read(path, as_version=4)
        except RecursionError:
            raise _unreadable(path, "its JSON is nested too deeply") from None
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # no JSON, or JSON that is no notebook
            raise _unreadable(path, redact_text(str(error))) from None

    def run(self, mode: Mode, cassette: Path) -> tuple[Any, list[Report]]:
        """Return the notebook with its outputs, and its cassettes' reports. A replay gets none of the settings."""
        if self._announce is not None:
            self._announce(f"{self._path.name}: {'recording' if mode == 'record' else 'replaying'} ...")
        notebook = copy.deepcopy(self._notebook)
        with tempfile.TemporaryDirectory(prefix="sacnb-", ignore_cleanup_errors=True) as folder:
            report = Path(folder) / "report.json"
            notebook.cells.append(self.nbformat.v4.new_code_cell(_LAST_CELL.format(str(report))))
            self._execute(mode, notebook, cassette, Path(folder))
            try:
                reports: list[Report] = json.loads(report.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                reason = f"its kernel did not report the cassettes it used ({error})."
                raise self._failure(mode, notebook, reason) from None
        notebook.cells.pop()
        self._tidy(notebook)
        return notebook, reports

    def _execute(self, mode: Mode, notebook: Any, cassette: Path, folder: Path) -> None:
        """Run all cells; ``folder`` is for the files of the run itself."""
        kernel_name = self._kernel_name or notebook.metadata.get("kernelspec", {}).get("name", "python3")
        client = self._nbclient.NotebookClient(
            notebook,
            timeout=self._timeout_s,
            kernel_name=kernel_name,
            resources={"metadata": {"path": str(self._path.parent)}},
            record_timing=False,
            # Printed text arrives in pieces that differ from run to run.
            coalesce_streams=True,
            config=self._connection(folder),
            # The last cell has saved the recording. An orderly shutdown would also save that of a failed notebook.
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
                    f"There is no kernel {kernel_name!r} on this machine; {self._path.name!r} needs it.",
                    hint="List the kernels: jupyter kernelspec list. Then name one: --kernel python3, or in Python "
                    "kernel_name='python3'.",
                ) from None
            except Exception as error:
                # nbclient handles Ctrl-C itself: it ends the kernel, and then raises some error because of that.
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
        """Return the configuration of the connection to the kernel: sockets in ``folder`` where the system has them.

        Over TCP, jupyter_client picks five free ports and closes them again until the kernel opens them. If another
        program takes one in between, which happens on a busy machine, the kernel never answers. Other users of the
        machine could also connect to them.
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
        """Remove what differs between runs and machines, and widgets, which need the kernel that has ended.

        Without its kernel JupyterLab shows an error in place of a widget. The other forms of the same output, such as
        the table of a panel, stay. The language stays, without its version: nbconvert takes the file extension from it.
        """
        language = {key: value for key, value in notebook.metadata.get("language_info", {}).items() if key != "version"}
        notebook.metadata = copy.deepcopy(self._notebook.metadata)
        if language:
            notebook.metadata["language_info"] = {**language, **notebook.metadata.get("language_info", {})}
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
            hint=f"The notebook was not changed. Fix the cell, and run it again: sacnb replay record "
            f"{shlex.quote(self._path.name)}",
        )


def _end_of(said: IO[bytes]) -> str:
    """Return the last lines that a kernel printed before it died, which name the reason."""
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("[IPKernelApp] WARNING")).strip()
    return text if len(text) <= _MOST_LAST_WORDS else f"… {text[-_MOST_LAST_WORDS:]}"


def _unreadable(path: Path, reason: str) -> ReplayError:
    return ReplayError(
        f"The notebook {str(path)!r} cannot be read: {reason.rstrip('.')}.", hint="Name a file that Jupyter can open."
    )


def _report(path: str) -> None:
    """In the notebook's kernel, after its cells: save the recording, and list the used cassettes in *path*."""
    control.stop()
    reports = [
        {"path": str(each.path), "mode": each.mode, "requests": each.requests, "used": each.used} for each in finished()
    ]
    Path(path).write_text(json.dumps(reports), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class NotebookRecording:
    """The outcome of ``record_notebook``: the cassettes that the notebook recorded, and the number of their answers."""

    __module__ = "sacnb.replay"

    notebook: Path
    cassettes: tuple[Path, ...]
    interactions: int

    def __str__(self) -> str:
        return f"{self.notebook}: {self.interactions} answers in {', '.join(map(str, self.cassettes))}."


@dataclass(frozen=True, slots=True)
class Pruned:
    """The outcome of ``prune``: how many answers the cassette still holds, and how many were dropped."""

    __module__ = "sacnb.replay"

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
    """Run a notebook twice, each time in a kernel of its own: once to record it, once to check that it replays.

    The replay gets none of the settings, like a colleague without a tenant. Its outputs are written to the notebook, so
    a later replay shows the same; without the state of widgets, which is useless without their kernel. If the first run
    fails nothing is saved. The notebook is written only if both runs succeed and it contains neither a secret of the
    settings nor anything that looks like a secret.

    Args:
        notebook: The notebook's file. Its kernel works in the notebook's folder, with this process's environment.
        name: The cassette, for a notebook that does not name one itself; by default the notebook's own name.
        timeout_s: Seconds for each cell.
        kernel_name: Another kernel than the notebook's own.
        write_outputs: Write the outputs to the notebook.
        environ: Variables for the notebook's kernel in addition to this process's environment.
        announce: Called with a line of text before each run.

    Raises:
        ReplayError: A cell failed, the notebook sent no request, or it would contain a secret.
        SettingsError: A ``.env`` that may hold secrets cannot be read.
        MissingExtraError: The extra ``replay`` is not installed.
    """
    path, should_write = folder("notebook", notebook).resolve(), flag("write_outputs", write_outputs)
    runner = Runner(path, timeout_s=timeout_s, kernel_name=kernel_name, environ=environ, announce=announce)
    cassette = document.place_for(name if name is not None else path.stem, path.parent)
    _, recorded = runner.run("record", cassette)
    paths = dict.fromkeys(Path(each["path"]) for each in recorded if each["mode"] == "record")
    cassettes = tuple(each for each in paths if each.is_file())  # a notebook may have recorded into a folder of its own
    if not any(each["requests"] for each in recorded):
        raise ReplayError(
            f"The notebook {path.name!r} sent no request to a tenant, so there is nothing to record.",
            hint="Connect in it: sac = sacnb.connect(), and fetch something.",
        )
    replayed, _ = runner.run("replay", cassette)
    text = runner.nbformat.writes(replayed) + "\n"
    findings = _secrets_in(replayed, text, path.name, runner.environ, path.parent)
    if findings:
        raise ReplayError(
            f"The notebook was not written, because it may hold a secret: {'; '.join(findings)}.",
            hint=f"Take it out of the code, and record again: sacnb replay record {shlex.quote(path.name)}",
        )
    if should_write:
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
    """Drop from a cassette the answers that none of ``notebooks`` uses; each notebook is run to find the used ones.

    ``used`` are the positions of more answers to keep: the ``summary().used`` of a test's replay. The other arguments
    are those of ``record_notebook``. Raises ReplayError if a notebook fails, or uses nothing of the cassette.
    """
    path = document.find(name).resolve()
    needed = {whole_number("used", one) or 0 for one in elements("used", used) or ()}
    for notebook in folders("notebooks", notebooks):
        where = notebook.resolve()
        runner = Runner(where, timeout_s=timeout_s, kernel_name=kernel_name, announce=announce)
        _, replayed = runner.run("replay", path)
        needed |= {position for each in replayed if Path(each["path"]).resolve() == path for position in each["used"]}
    if not needed:
        raise ReplayError(
            f"Nothing of the cassette {document.name_of(path)!r} was used, so nothing was dropped.",
            hint="Name the notebooks that replay it: "
            f"sacnb replay prune {shlex.quote(document.name_of(path))} NOTEBOOK.ipynb",
        )
    kept, dropped = document.keep(path, needed)
    return Pruned(path, kept, dropped)


def _secrets_in(notebook: Any, text: str, name: str, environ: Mapping[str, str], folder: Path) -> list[str]:
    """Return the places of secrets in a notebook and its *text*, in words that do not repeat them.

    Raises SettingsError if a ``.env`` for *folder* cannot be read.
    """
    secrets = secrets_around(folder, environ=environ)
    findings = [str(finding) for finding in scan_text(text, path=name, known_secrets=secrets)]
    known = Known((), secrets)
    dotenv = next((each / ".env" for each in (folder, *folder.parents) if (each / ".env").is_file()), None)
    with suppress(SettingsError):  # the secrets are known anyway; these are the client id and the tenant's hosts
        known.learn_settings(Settings.resolve(environ=environ, dotenv_path=dotenv, replay="off"))
    for number, cell in enumerate(notebook.cells, start=1):
        outputs = json.dumps(cell.get("outputs", ()), ensure_ascii=False)
        findings += [f"cell {number} shows {what}" for what in dict.fromkeys(known.left_in(outputs))]
    return findings
