"""Where cassettes are: in a folder ``cassettes``, or beside the notebook."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sacnb.errors import ReplayError

FOLDER: Final = "cassettes"
SUFFIX: Final = ".cassette.json"


def name_of(path: Path) -> str:
    """The name of the cassette in ``path``."""
    return path.name.removesuffix(SUFFIX)


def find(name: str | os.PathLike[str], start: Path | None = None) -> Path:
    """The file of the cassette ``name``, a name or a path.

    A name is looked for in ``start`` (by default the working directory) and in its folder ``cassettes``, then in
    the folders above, up to the top of the checkout. Raises ReplayError, with the names that are there.
    """
    start = (start or Path.cwd()).resolve()
    path = _as_path(name, start)
    places = [path] if path is not None else list(_candidates(os.fspath(name), start))
    for place in places:
        if place.is_file():
            return place
    known = names(start)
    close = difflib.get_close_matches(os.fspath(name), known, n=3)
    there = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    there += f"There is: {', '.join(known)}. " if known and not close else ""
    looked = f"the file {str(path)!r}" if path is not None else f"a file {os.fspath(name)}{SUFFIX}"
    raise ReplayError(
        f"There is no cassette {os.fspath(name)!r}: {looked} was not found in {str(start)!r}, its folder {FOLDER!r} or "
        "those above."
        if path is None
        else f"There is no cassette {looked}.",
        hint=f"{there}To make it, connect to a tenant and record: sacnb.replay.cassette(..., mode='record').",
    )


def names(start: Path | None = None) -> list[str]:
    """The names of the cassettes that ``find`` would find."""
    start = (start or Path.cwd()).resolve()
    return sorted({name_of(file) for folder in _folders(start) for file in folder.glob(f"*{SUFFIX}")})


def place_for(name: str | os.PathLike[str], start: Path | None = None) -> Path:
    """Where a recording named ``name`` belongs.

    Over an earlier one; else in the nearest folder ``cassettes``; else in ``start`` itself, beside the notebook.
    """
    start = (start or Path.cwd()).resolve()
    path = _as_path(name, start)
    if path is not None:
        return path
    text = os.fspath(name)
    for candidate in _candidates(text, start):
        if candidate.is_file():
            return candidate
    folder = next((folder / FOLDER for folder in _upwards(start) if (folder / FOLDER).is_dir()), start)
    return folder / f"{text}{SUFFIX}"


def _as_path(name: str | os.PathLike[str], start: Path) -> Path | None:
    """``name`` as a file, or ``None`` where it is a mere name."""
    text = os.fspath(name)
    if isinstance(name, os.PathLike) or text.endswith(".json") or re.search(r"[/\\]", text):
        return start / Path(text).expanduser()
    if not text.strip():
        raise ReplayError("A cassette needs a name.", hint="For example sacnb.replay.cassette('first_read').")
    return None


def _candidates(name: str, start: Path) -> Iterator[Path]:
    yield from (folder / f"{name}{SUFFIX}" for folder in _folders(start))


def _folders(start: Path) -> Iterator[Path]:
    yield start
    for folder in _upwards(start):
        yield folder / FOLDER


def _upwards(start: Path) -> Iterator[Path]:
    """``start`` and what is above it, up to the top of the checkout: beyond it is somebody else's."""
    for folder in (start, *start.parents):
        yield folder
        if (folder / ".git").exists():
            return
