"""Record a notebook as a whole, and drop from a cassette what no notebook uses."""

from __future__ import annotations

import copy
import importlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sacnb.errors import MissingExtraError, ReplayError
from sacnb.replay import control, document, places
from sacnb.replay.scan import scan_text
from sacnb.replay.session import Mode, finished
from sacnb.wire.redact import redact_text

_MARK: Final = "sacnb-replay-report:"
_LAST_CELL: Final = "from sacnb.replay.notebook import _report\n_report()"


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
) -> NotebookRecording:
    """Run a notebook twice, each time in a kernel of its own: once to record it, once to see that it replays.

    The outputs that are written into the notebook are those of the replay, so a test that compares them with a later
    replay finds no difference. Where the first run fails nothing is kept; the notebook is written only if both went
    well and none of its outputs looks like a secret.

    Args:
        notebook: The notebook's file. Its kernel works in the notebook's folder, with this process's environment.
        name: The cassette, for a notebook that does not name one itself; by default the notebook's own name.
        timeout_s: Seconds for each cell.
        kernel_name: The kernel, where it is not to be the notebook's own.
        write_outputs: Whether to write the outputs into the notebook.

    Raises:
        ReplayError: A cell failed, nothing was asked of a tenant, or something that must not be shared is left.
        MissingExtraError: The extra ``replay`` is not installed.
    """
    path = Path(notebook).resolve()
    runner = _Runner(path, timeout_s=timeout_s, kernel_name=kernel_name)
    cassette = places.place_for(name if name is not None else path.stem, path.parent)
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
    findings = [str(finding) for finding in scan_text(text, path=path.name)]
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
) -> Pruned:
    """Drop from a cassette the answers that none of ``notebooks`` uses; they are run to see which those are.

    ``used`` are positions that are needed besides: the ``summary().used`` of a test's replay. Other arguments as for
    ``record_notebook``. Raises ReplayError where a notebook fails, or where nothing of the cassette is used.
    """
    path = places.find(name).resolve()
    needed = set(used)
    for notebook in notebooks:
        runner = _Runner(Path(notebook).resolve(), timeout_s=timeout_s, kernel_name=kernel_name)
        _, replayed = runner.run("replay", path)
        needed |= {position for each in replayed if Path(each["path"]).resolve() == path for position in each["used"]}
    if not needed:
        raise ReplayError(
            f"Nothing of the cassette {places.name_of(path)!r} was used, so nothing was dropped.",
            hint="Name the notebooks that replay it.",
        )
    kept, dropped = document.keep(path, needed)
    return Pruned(path, kept, dropped)


class _Runner:
    """Runs one notebook in a kernel of its own, and gives back what it became and what its cassettes report."""

    def __init__(self, path: Path, *, timeout_s: float, kernel_name: str | None) -> None:
        try:
            self.nbformat = importlib.import_module("nbformat")
            self._nbclient = importlib.import_module("nbclient")
        except ImportError as error:
            raise MissingExtraError("replay", "Running a notebook") from error
        self._path = path
        self._timeout_s = timeout_s
        self._kernel_name = kernel_name
        try:
            self._notebook = self.nbformat.read(path, as_version=4)
        except (OSError, ValueError) as error:
            raise ReplayError(f"The notebook {str(path)!r} cannot be read: {error}.") from None

    def run(self, mode: Mode, cassette: Path) -> tuple[Any, list[Mapping[str, Any]]]:
        """The notebook with its outputs, and the reports of its cassettes."""
        notebook = copy.deepcopy(self._notebook)
        notebook.cells.append(self.nbformat.v4.new_code_cell(_LAST_CELL))
        client = self._nbclient.NotebookClient(
            notebook,
            timeout=self._timeout_s,
            kernel_name=self._kernel_name or notebook.metadata.get("kernelspec", {}).get("name", "python3"),
            resources={"metadata": {"path": str(self._path.parent)}},
            record_timing=False,
            # The last cell has saved everything. A notebook that failed is to leave nothing, and an orderly end would.
            shutdown_kernel="immediate",
        )
        # Replaying, a kernel needs no tenant; recording, it finds it as this process would.
        environment = {**os.environ, "SAC_REPLAY": mode, "SAC_REPLAY_CASSETTE": str(cassette)}
        try:
            client.execute(env=environment)
        except (self._nbclient.exceptions.CellControlSignal, self._nbclient.exceptions.DeadKernelError) as error:
            raise self._failure(mode, notebook, error) from None
        last = notebook.cells.pop()
        return notebook, _read_report(last)

    def _failure(self, mode: Mode, notebook: Any, error: Exception) -> ReplayError:
        position, reason = 0, str(error)
        for number, cell in enumerate(notebook.cells, start=1):
            for output in cell.get("outputs", ()):
                if output["output_type"] == "error":
                    position, reason = number, f"{output['ename']}: {output['evalue']}"
        where = f"Cell {position} of" if position else "A cell of"
        what = "recorded" if mode == "record" else "replayed"
        return ReplayError(
            f"{where} the notebook {self._path.name!r} failed when it was {what}: {redact_text(reason)}",
            hint="The notebook was left as it was.",
        )


def _report() -> None:
    """In the notebook's kernel, at the end: save what is recorded, and tell of all cassettes that were used."""
    control.stop()
    reports = [
        {"path": str(each.path), "mode": each.mode, "requests": each.requests, "used": each.used} for each in finished()
    ]
    print(_MARK, json.dumps(reports))  # noqa: T201 - the way from a kernel to whoever runs it


def _read_report(cell: Any) -> list[Mapping[str, Any]]:
    printed = "".join(output.get("text", "") for output in cell["outputs"])
    reports: list[Mapping[str, Any]] = json.loads(printed.partition(_MARK)[2])
    return reports
