"""The file of a cassette: JSON that a person can read and a diff can show, and where it is looked for.

JSON, because reading it cannot run code: YAML loaders have run code from cassettes (vcrpy before 8.2.1,
GHSA-rpj2-4hq8-938g), and people hand cassettes to each other. Written as UTF-8 with LF on every platform. Bodies are
lists of lines, one row of data per line. The head holds a digest of the content: a digit that was changed on the disk
would be a wrong row that nobody notices.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from sacnb._files import read_bounded, replacing
from sacnb.errors import ReplayError
from sacnb.replay.library import Request, Response, key_of_request, make_request
from sacnb.replay.scan import decode_text

FORMAT: Final = "sacnb cassette 1"
Source = Literal["sac", "sandbox"]

_NOTES: Final[Mapping[Source, str]] = {
    "sandbox": "Recorded from the sandbox of sacnb, a pretend tenant: these are not answers of SAP Analytics Cloud.",
    "sac": "Recorded from a tenant of SAP Analytics Cloud. Its address, its name and all secrets were replaced; the "
    "data is the tenant's.",
}
_DIGEST: Final = "digest"
# Bodies are broken into lines after each line end, and between the objects of a list.
_BREAKS: Final = re.compile(r"(?<=\n)|(?<=\},)(?=\s*\{)|(?<=\[)(?=\{)")

Interaction = tuple[Request, Response]


@dataclass(frozen=True, slots=True)
class About:
    """The head of a cassette: the kind of tenant it was recorded from, and when (UTC, whole seconds)."""

    source: Source
    recorded_at: datetime

    def to_json(self) -> dict[str, str]:
        """Return the head as it is written to the file."""
        return {
            "format": FORMAT,
            "source": self.source,
            "note": _NOTES[self.source],
            "recorded_at": self.recorded_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    @classmethod
    def from_json(cls, value: Any) -> About:
        """Return the head that was read. Raises ValueError, TypeError or KeyError where it is not one of ours."""
        if value["format"] != FORMAT or value["source"] not in _NOTES:
            raise ValueError(f"its format is {value['format']!r}, expected {FORMAT!r}")
        return cls(cast("Source", value["source"]), datetime.fromisoformat(value["recorded_at"]).astimezone(UTC))


def to_text(about: About, interactions: Iterable[Interaction]) -> str:
    """Return the file's text: sorted by request, so that the order of threads does not show.

    Answers to the same request keep their order. One that only repeats the answer before it at the end is left out,
    because a replay repeats the last answer anyway.
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
    head = {name: value for name, value in metadata.items() if name != _DIGEST}
    head[_DIGEST] = _digest_of(head, interactions)
    value = {"metadata": head, "version": 1, "interactions": interactions}
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _digest_of(head: Mapping[str, Any], interactions: Any) -> str:
    """Return the digest of values, whatever the blanks and line ends of their text."""
    return hashlib.sha256(json.dumps([head, interactions], sort_keys=True).encode()).hexdigest()


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
    """Return the head and the content of a cassette. Raises ReplayError for other texts; *path* is for the message."""
    try:
        value = json.loads(text)
        about = About.from_json(value["metadata"])
        interactions = [_from_json(each) for each in value["interactions"]]
        _check_digest(value["metadata"], value["interactions"], path)
    except RecursionError:
        raise _not_a_cassette(path, "its JSON is nested too deeply") from None
    except KeyError as error:
        raise _not_a_cassette(path, f"{error} is missing") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _not_a_cassette(path, str(error)) from None
    return about, interactions


def _check_digest(metadata: Mapping[str, Any], interactions: Any, path: Path) -> None:
    """Raise ReplayError where the content is not what was recorded. Cassettes of earlier versions have no digest."""
    head = dict(metadata)
    if (digest := head.pop(_DIGEST, None)) is not None and digest != _digest_of(head, interactions):
        raise ReplayError(
            f"{str(path)!r} was changed after it was recorded: its digest does not match.",
            hint=f"Take it from version control, or record it again. If it was changed on purpose, remove the line "
            f'"{_DIGEST}" from its head.',
        )


def _not_a_cassette(path: Path, reason: str) -> ReplayError:
    return ReplayError(f"{str(path)!r} is not a cassette of sacnb: {reason}.", hint=_record_again(path))


def _record_again(path: Path) -> str:
    name = name_of(path)
    return (
        f"Record it again: sacnb replay record NOTEBOOK.ipynb --cassette {shlex.quote(name)}, or in Python "
        f"sacnb.replay.start({name!r}, 'record')."
    )


def _from_json(value: Any) -> Interaction:
    request, response = value["request"], value["response"]
    status = int(response["status"]["code"])
    if not 100 <= status <= 999:
        raise ValueError(f"there is no status {status} in HTTP")
    urlsplit(request["uri"])  # raises ValueError now, and not at the first request of a replay
    return (
        make_request(
            str(request["method"]),
            str(request["uri"]),
            _body_from_json(request["body"]) or None,
            {str(name): str(value) for name, value in request["headers"].items()},
        ),
        {
            "status": {"code": status, "message": str(response["status"]["message"])},
            "headers": {
                str(name): list(map(str, values)) if isinstance(values, list) else [str(values)]
                for name, values in response["headers"].items()
            },
            "body": {"string": _body_from_json(response["body"])},
        },
    )


def read(path: Path) -> tuple[About, list[Interaction]]:
    """Return the head and the content of the cassette in *path*. Raises ReplayError where it cannot be read."""
    return from_text(_text_of(path), path)


def _text_of(path: Path) -> str:
    try:
        text = decode_text(read_bounded(path))
    except OSError as error:
        raise ReplayError(
            f"The cassette {str(path)!r} cannot be read: {error.strerror or error}.", hint=_record_again(path)
        ) from None
    if text is None:
        raise _not_a_cassette(path, "its bytes are not text")
    return text


def write(path: Path, text: str) -> bool:
    """Write a cassette, whole or not at all, and return whether that changed more than the time of the recording.

    With the same answers as before the file keeps its old time, so what was shown from it stays true. Raises
    ReplayError where the folder cannot be written to.
    """
    if path.is_file() and _without_time(_raw_text_of(path)) == _without_time(text):
        return False
    put(path, text)
    return True


def put(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises ReplayError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise ReplayError(
            f"The file {str(path)!r} cannot be written: {error.strerror or error}.",
            hint="Free some space, or work in a folder that you can write to.",
        ) from None


def _raw_text_of(path: Path) -> str:
    """Return the text of an earlier recording; the empty text where it cannot be read, because it is replaced."""
    with suppress(OSError, UnicodeDecodeError):
        return read_bounded(path).decode("utf-8")
    return ""


def _without_time(text: str) -> str:
    return re.sub(rf'^  "(recorded_at|{_DIGEST})": "[^"\n]*",?\n', "", text, count=2, flags=re.MULTILINE)


def keep(path: Path, used: Iterable[int]) -> tuple[int, int]:
    """Drop all interactions but those at the positions *used*; return how many were kept and dropped."""
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
    """Return the name of the cassette in *path*."""
    return path.name.removesuffix(SUFFIX)


def find(name: str | os.PathLike[str], start: Path | None = None) -> Path:
    """Return the file of the cassette *name*, a name or a path.

    A name is looked for in *start* (by default the working folder) and in its folder ``cassettes``, then in the folders
    above, up to the top of the checkout. Raises ReplayError, with the names of the cassettes that exist.
    """
    start = _folder(start)
    path = _as_path(name, start)
    places = [path] if path is not None else list(_candidates(os.fspath(name), start))
    for place in places:
        if _is_file(place):
            return place
    known = names(start)
    close = difflib.get_close_matches(os.fspath(name), known, n=3)
    there = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    there += f"There is: {', '.join(known)}. " if known and not close else ""
    raise ReplayError(
        f"There is no cassette {os.fspath(name)!r}: a file {os.fspath(name)}{SUFFIX} was not found in {str(start)!r}, "
        f"its folder {FOLDER!r} or the folders above."
        if path is None
        else f"There is no cassette in the file {str(path)!r}.",
        hint=f"{there}To record it, connect to a tenant after sacnb.replay.start({os.fspath(name)!r}, 'record').",
    )


def names(start: Path | None = None) -> list[str]:
    """Return the names of the cassettes that ``find`` finds."""
    start = _folder(start)
    return sorted({name_of(file) for folder in _folders(start) for file in folder.glob(f"*{SUFFIX}")})


def place_for(name: str | os.PathLike[str], start: Path | None = None) -> Path:
    """Return the file for a recording named *name*.

    It replaces an earlier one; otherwise it goes to the nearest folder ``cassettes``, or to *start* itself.
    """
    start = _folder(start)
    path = _as_path(name, start)
    if path is not None:
        return path
    text = os.fspath(name)
    for candidate in _candidates(text, start):
        if _is_file(candidate):
            return candidate
    folder = next((folder / FOLDER for folder in _upwards(start) if (folder / FOLDER).is_dir()), start)
    return folder / f"{text}{SUFFIX}"


def _folder(start: Path | None) -> Path:
    try:
        return (start or Path.cwd()).resolve()
    except OSError:
        raise ReplayError(
            "The working folder does not exist any more, so no cassette can be found.",
            hint="Change to a folder that exists: import os; os.chdir(os.path.expanduser('~'))",
        ) from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or a folder that may not be looked into
        return False


def _as_path(name: str | os.PathLike[str], start: Path) -> Path | None:
    """Return *name* as a file; ``None`` for a mere name."""
    if not isinstance(name, str | os.PathLike) or not isinstance(os.fspath(name), str):
        raise ReplayError(
            f"A cassette is named by a text or a path, got {name!r}.", hint="For example sacnb.replay.start('plan')."
        )
    text = os.fspath(name)
    if isinstance(name, os.PathLike) or text.endswith(".json") or re.search(r"[/\\]", text):
        try:
            return start / Path(text).expanduser()
        except RuntimeError:  # ~somebody, who is not known here
            return start / text
    if not text.strip():
        raise ReplayError("A cassette needs a name.", hint="For example sacnb.replay.start('first_read').")
    return None


def _candidates(name: str, start: Path) -> Iterator[Path]:
    yield from (folder / f"{name}{SUFFIX}" for folder in _folders(start))


def _folders(start: Path) -> Iterator[Path]:
    yield start
    for folder in _upwards(start):
        yield folder / FOLDER


def _upwards(start: Path) -> Iterator[Path]:
    """Yield *start* and the folders above it, up to the top of the checkout: beyond it are other projects."""
    for folder in (start, *start.parents):
        yield folder
        if (folder / ".git").exists():
            return
