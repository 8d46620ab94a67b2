"""Record a notebook as a whole, and drop from a cassette what no notebook uses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacnb._settings import Settings
from sacnb.errors import ReplayError, SettingsError
from sacnb.replay import document, places
from sacnb.replay.kernel import Runner
from sacnb.replay.known import Known
from sacnb.replay.scan import scan_text


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
    path = places.find(name).resolve()
    needed = set(used)
    for notebook in notebooks:
        where = Path(notebook).resolve()
        runner = Runner(where, timeout_s=timeout_s, kernel_name=kernel_name, announce=announce)
        _, replayed = runner.run("replay", path)
        needed |= {position for each in replayed if Path(each["path"]).resolve() == path for position in each["used"]}
    if not needed:
        raise ReplayError(
            f"Nothing of the cassette {places.name_of(path)!r} was used, so nothing was dropped.",
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
