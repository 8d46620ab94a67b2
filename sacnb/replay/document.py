"""A cassette as a file: JSON that a person can read and a diff can show.

JSON, because reading it can do nothing but give values: YAML loaders have run code out of cassettes (vcrpy before
8.2.1, GHSA-rpj2-4hq8-938g), and cassettes are handed from person to person. It also keeps every text to the byte, on
every platform: UTF-8 and LF. Bodies stand in it as lists of lines, one row of data to a line.

Where cassettes are: in a folder ``cassettes``, or beside the notebook.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

from sacnb._files import replacing
from sacnb.errors import ReplayError
from sacnb.replay.library import Request, Response, key_of_request, make_request

FORMAT: Final = "sacnb cassette 1"
Source = Literal["sac", "sandbox"]

_NOTES: Final[Mapping[Source, str]] = {
    "sandbox": "Recorded from the sandbox of sacnb, a pretend tenant: these are not answers of SAP Analytics Cloud.",
    "sac": "Recorded from a tenant of SAP Analytics Cloud. Its address, its name and all secrets were replaced; the "
    "data is the tenant's.",
}
# Where a body is broken into lines: after each line, and between the objects of a list.
_BREAKS: Final = re.compile(r"(?<=\n)|(?<=\},)(?=\s*\{)|(?<=\[)(?=\{)")

Interaction = tuple[Request, Response]


@dataclass(frozen=True, slots=True)
class About:
    """What a cassette says of itself: the kind of tenant it comes from, and when (UTC, whole seconds)."""

    source: Source
    recorded_at: datetime

    def to_json(self) -> dict[str, str]:
        """As it stands in the file."""
        return {
            "format": FORMAT,
            "source": self.source,
            "note": _NOTES[self.source],
            "recorded_at": self.recorded_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    @classmethod
    def from_json(cls, value: Any) -> About:
        """What the file says. Raises ValueError or TypeError where it is not one of ours."""
        if value["format"] != FORMAT or value["source"] not in _NOTES:
            raise ValueError(f"its format is {value['format']!r}, expected {FORMAT!r}")
        return cls(cast("Source", value["source"]), datetime.fromisoformat(value["recorded_at"]).astimezone(UTC))


def to_text(about: About, interactions: Iterable[Interaction]) -> str:
    """The file's text: sorted by what was asked, so that the order in which threads asked does not show.

    Of one question the answers stay in their order; an answer that only repeats the last one is left out, since
    replaying repeats it anyway.
    """
    answers: dict[Any, list[Interaction]] = {}
    for request, response in interactions:
        answers.setdefault(key_of_request(request), []).append((request, response))
    for same in answers.values():
        while len(same) > 1 and same[-1][1] == same[-2][1]:
            same.pop()
    ordered = [
        each for key in sorted(answers, key=lambda k: (k.path, k.query, k.method, k.body)) for each in answers[key]
    ]
    return _dump(about.to_json(), [_to_json(request, response) for request, response in ordered])


def _dump(metadata: Mapping[str, Any], interactions: list[Any]) -> str:
    value = {"metadata": metadata, "version": 1, "interactions": interactions}
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _to_json(request: Request, response: Response) -> dict[str, Any]:
    return {
        "request": {
            "method": request.method,
            "uri": request.uri,
            "headers": dict(sorted(request.headers.items())),
            "body": _body_to_json(request.body),
        },
        "response": {
            "status": response["status"],
            "headers": {name: _one_or_all(values) for name, values in sorted(response["headers"].items())},
            "body": _body_to_json(response["body"]["string"]),
        },
    }


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _body_to_json(body: bytes | None) -> list[str] | dict[str, str] | None:
    if not body:
        return None
    try:
        return _BREAKS.split(body.decode("utf-8"))
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode("ascii")}


def _body_from_json(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, Mapping):
        return base64.b64decode(value["base64"], validate=True)
    return "".join(value).encode("utf-8")


def from_text(text: str, path: Path) -> tuple[About, list[Interaction]]:
    """What a cassette holds. Raises ReplayError for a text that is none; ``path`` is for the message."""
    try:
        value = json.loads(text)
        about = About.from_json(value["metadata"])
        interactions = [_from_json(each) for each in value["interactions"]]
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ReplayError(f"{str(path)!r} is not a cassette of sacnb: {what}.", hint="Record it again.") from None
    return about, interactions


def _from_json(value: Any) -> Interaction:
    request, response = value["request"], value["response"]
    return (
        make_request(
            str(request["method"]),
            str(request["uri"]),
            _body_from_json(request["body"]) or None,
            {str(name): str(value) for name, value in request["headers"].items()},
        ),
        {
            "status": {"code": int(response["status"]["code"]), "message": str(response["status"]["message"])},
            "headers": {
                str(name): list(map(str, values)) if isinstance(values, list) else [str(values)]
                for name, values in response["headers"].items()
            },
            "body": {"string": _body_from_json(response["body"])},
        },
    )


def read(path: Path) -> tuple[About, list[Interaction]]:
    """What the cassette in ``path`` holds. Raises ReplayError where it cannot be read."""
    return from_text(_text_of(path), path)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"The cassette {str(path)!r} cannot be read: {error}.") from None


def write(path: Path, text: str) -> bool:
    """Put a cassette in its place, whole or not at all; whether that changed anything but the time of recording.

    The same answers as before leave the file as it is, with its old time: what was shown from it stays true. Raises
    ReplayError where the folder cannot be written to.
    """
    if path.is_file() and _without_time(_text_of(path)) == _without_time(text):
        return False
    put(path, text)
    return True


def put(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises ReplayError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise ReplayError(f"The file {str(path)!r} cannot be written: {error}.") from None


def _without_time(text: str) -> str:
    return re.sub(r'^  "recorded_at": "[^"\n]*"$', "", text, count=1, flags=re.MULTILINE)


def keep(path: Path, used: Iterable[int]) -> tuple[int, int]:
    """Keep only the interactions at these positions; how many were kept, and how many dropped."""
    from_text(text := _text_of(path), path)
    value = json.loads(text)
    wanted = set(used)
    kept = [each for number, each in enumerate(value["interactions"]) if number in wanted]
    dropped = len(value["interactions"]) - len(kept)
    if dropped:
        write(path, _dump(value["metadata"], kept))
    return len(kept), dropped


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
