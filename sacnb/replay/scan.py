"""Find secrets in files before they are shared: token shapes, private keys, and the secrets of the settings.

A rule never fires on entropy alone, because hashes in lock files and ids in data have plenty of it; entropy only
decides whether the value behind a telling key is a secret or a placeholder.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import gzip
import html
import io
import itertools
import math
import re
import subprocess
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote

from sacnb._arguments import folders, names
from sacnb._redact import MIN_SECRET_CHARS, NAMES_PATTERN, secret_forms
from sacnb._settings import configured_secrets
from sacnb.errors import QueryError, ReplayError

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# "secret" alone is a word of prose: "this may hold a secret: ...".
_KEYS = rf"(?!secret\b)(?:{NAMES_PATTERN})|sac_token|(?:set-)?cookie|jtenantsessionid|authorization"
# A quotation mark; in JSON within JSON, such as a body in a cassette or a notebook, backslashes precede it.
_MARK = r"(?:\\*[\"'])?"


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kind of secret and its pattern; a text without each of the *needles*, in lower case, need not be searched."""

    kind: str
    pattern: re.Pattern[str]
    needles: tuple[str, ...]

    def matches(self, text: str, lowered: str | None) -> Iterator[re.Match[str]]:
        """Yield the matches; *lowered* is None where lower() and a pattern that ignores case may differ."""
        if lowered is not None and not any(needle in lowered for needle in self.needles):
            return iter(())
        return (match for match in self.pattern.finditer(text) if match.lastindex or not self.pattern.groups)


# Without the group it is none: what begins like one is passed over at once, and not searched again from each "eyJ".
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?)?")
# Shapes that are secrets wherever they occur.
_SHAPES: Final = (
    _Shape("JSON web token", _JWT, ("eyj",)),
    _Shape("private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), ("-----begin",)),
    _Shape("SAC client secret", re.compile(_UUID + r"\$[A-Za-z0-9_-]{20,}={0,2}"), ("$",)),
)
# Recording replaces these in a cassette; anywhere else they are examples, or what a user is free to write.
_HOSTS: Final = ("hcs.cloud.sap", "hanacloudservices.cloud.sap", "sapanalytics.cloud", "hana.ondemand.com")
_HOST: Final = "|".join(map(re.escape, _HOSTS))
_BEFORE_A_HOST: Final = r"(?<![a-z0-9-])(?<![a-z0-9-]\.)"
_SHAPES_IN_A_CASSETTE: Final = (
    _Shape("host of a tenant", re.compile(rf"(?i){_BEFORE_A_HOST}[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:{_HOST})\b"), _HOSTS),
    _Shape("client id", re.compile(rf"\bsb-{_UUID}!b\d+"), ("sb-",)),
    _Shape("address of a machine", re.compile(r"https?:(?:\\*/){2}(?:\d{1,3}(?:\.\d{1,3}){3}|localhost)\b"), ("http",)),
)
_CASSETTE: Final = re.compile(r'^\s*\{\s*"metadata":\s*\{\s*"format":\s*"sacnb cassette ')
_OTHER_CASES: Final = "\u017f\u212a\u0130\u0131"  # to a pattern that ignores case s, k and i, and not to lower()
_LAST_WORDS: Final = {name.rpartition("]?")[2] for name in NAMES_PATTERN.split("|")}
# A telling key, or an authorization scheme, and the value behind it.
_KEY_AND_VALUE: Final = (
    _Shape(
        "value of a secret key",
        re.compile(rf"(?i)(?<![a-z0-9])(?:sac_)?(?:{_KEYS})\b{_MARK}\s*[:=]\s*(?:\[\s*)?{_MARK}([^\s\"',;&}}\]\\]+)"),
        (*_LAST_WORDS, "token", "cookie", "session", "authorization"),
    ),
    _Shape("password in an address", re.compile(r"(?i)\bhttps?://[^/\s:@\"']+:([^/\s@\"']+)@"), ("@",)),
    _Shape("bearer token", re.compile(r"(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{12,})"), ("bearer",)),
    _Shape("basic credentials", re.compile(r"(?i)\bbasic\s+([A-Za-z0-9+/]{16,}={0,2})"), ("basic",)),
)
_UNSEARCHED: Final = "not searched"
_KNOWN: Final = "a secret of this machine's settings"
_LEAST_SECRET_LENGTH: Final = 12
# Bits per character. Words and placeholders stay below it; 12 and more random characters exceed it.
_LEAST_ENTROPY_BITS: Final = 3.0
_LOOKS_LIKE_CODE = re.compile(r"[(){}<>\[\]]|^[a-z_]+(?:\.[a-z_]+)*$|\.\.\.$")
# Tests mark the secrets that they plant. Only program text can plant: a planted secret in a cassette or in a
# notebook's output is one that leaked.
_PLANTED: Final = re.compile(r"(?i)canary|Y2FuYXJ5|#.*\bplanted\b")

_MOST_LAYERS: Final = 4
_JSON_ESCAPE: Final = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"'\\/]))")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_BASE64_MARKS: Final = str.maketrans("-_", "+/")

_MAX_BYTES: Final = 256 * 1024 * 1024
# UTF-32 first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_WITH_NULS: Final = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
# How bzip2, xz, zstd, 7-Zip, Parquet and PDF begin: their text is not in their bytes.
_COMPRESSED: Final = (b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"PAR1", b"%PDF-")


@dataclass(frozen=True, slots=True)
class Finding:
    """One suspicious place: the file, the line (from 1), the kind of secret, and its first characters.

    A file that could not be searched is a finding too: its line is 0 and ``shown`` is the reason.
    """

    __module__ = "sacnb.replay"

    path: str
    line: int
    kind: str
    shown: str

    def __str__(self) -> str:
        return f"{self.path}:{f'{self.line}:' if self.line else ''} {self.kind}: {self.shown}"


def scan_text(text: str, *, path: str = "", known_secrets: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield the findings in a text; ``known_secrets`` are values that must not occur in any form.

    A value counts in each form in which it may be written: escaped for JSON, HTML or an address, and in base64.
    """
    known = _Known(names("known_secrets", known_secrets) or ())
    if not isinstance(text, str):
        raise QueryError(
            f"text must be str, got {type(text).__name__}.", hint="For files: sacnb.replay.scan_paths([...])"
        )
    may_plant = path.endswith(".py")
    shapes = (*_SHAPES, *_SHAPES_IN_A_CASSETTE) if _CASSETTE.match(text) else _SHAPES
    lines = text.splitlines()
    wrapped = known.wrapped_in(lines)
    for number, line in enumerate(lines, start=1):
        layers = _layers(line)
        found = dict.fromkeys([*known.found_in(layers), *wrapped.get(number, ())], _KNOWN)
        if may_plant and _PLANTED.search(line):
            yield from (_finding(path, number, kind, value) for value, kind in found.items())
            continue
        for layer in layers:
            # A layer repeats what the one above it shows; only other kinds are new.
            seen = set(found.values())
            for kind, value in _shaped(layer, shapes, found):
                if kind not in seen:
                    found[value] = kind
        yield from (_finding(path, number, kind, value) for value, kind in found.items())


def _shaped(text: str, shapes: Sequence[_Shape], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each secret that its shape or the words before it tell."""
    lowered = None if any(letter in text for letter in _OTHER_CASES) else text.lower()
    for shape in shapes:
        for match in shape.matches(text, lowered):
            if match[0] not in found:
                yield shape.kind, match[0]
    for shape in _KEY_AND_VALUE:
        for match in shape.matches(text, lowered):
            if _is_live(match[1]) and not any(match[1] in earlier or earlier in match[1] for earlier in found):
                yield shape.kind, match[1]


def _finding(path: str, line: int, kind: str, value: str) -> Finding:
    return Finding(path, line, kind, f"{value[:4]}... ({len(value)} characters)")


def _layers(line: str) -> list[str]:
    """Return the line as it is, without its escapes, and the texts that it holds in base64."""
    layers = [line]
    for _ in range(_MOST_LAYERS):
        plain = _unescaped(layers[-1])
        if plain == layers[-1]:
            break
        layers.append(plain)
    return [*layers, *(text for layer in layers[:1] + layers[-1:] for text in _from_base64(layer))]


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = _JSON_ESCAPE.sub(lambda m: m[3] or chr(int(m[1] or m[2], 16)), text)
    if "%" in text:
        text = unquote(text)
    return html.unescape(text) if "&" in text else text


def _from_base64(line: str) -> Iterator[str]:
    """Yield the readable texts among the runs of base64 in a line; pictures are not readable."""
    for match in _BASE64.finditer(line):
        run = match[0].rstrip("=").translate(_BASE64_MARKS)
        try:
            content = base64.b64decode(run[: len(run) // 4 * 4] + _padded(run[len(run) // 4 * 4 :]))
        except binascii.Error:
            continue
        if content[:64].isascii() and b"\0" not in content[:64]:
            yield content.decode("latin-1")


def _padded(rest: str) -> str:
    return rest + "=" * (4 - len(rest)) if len(rest) > 1 else ""


class _Known:
    """Secrets that are known by their value, in the forms in which they may be written."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(dict.fromkeys(secret for secret in secrets if secret))
        forms = {secret: {*secret_forms(secret), secret.encode().hex()} for secret in self._secrets}
        self._forms = {secret: tuple(forms[secret]) for secret in self._secrets}
        self._encoded = {secret: _at_any_offset(secret) for secret in self._secrets if len(secret) >= MIN_SECRET_CHARS}

    def found_in(self, layers: Sequence[str]) -> Iterator[str]:
        """Yield the secrets that one of the layers holds."""
        for secret, forms in self._forms.items():
            encoded = self._encoded.get(secret, ())
            if any(form in layer for layer in layers for form in (*forms, *encoded)):
                yield secret

    def wrapped_in(self, lines: Sequence[str]) -> dict[int, list[str]]:
        """Return the secrets that are broken over several lines, as base64 often is, by the number of the first."""
        found: dict[int, list[str]] = {}
        if not self._secrets:
            return found
        pieces = ["".join(line.split()).strip("\"',\\") for line in lines]
        ends = list(itertools.accumulate(map(len, pieces)))
        whole = "".join(pieces)
        for secret, encoded in self._encoded.items():
            compact = "".join(secret.split())
            for form in (compact, *encoded):
                at = whole.find(form)
                while at >= 0:
                    first, last = bisect.bisect_right(ends, at), bisect.bisect_right(ends, at + len(form) - 1)
                    if first != last:
                        found.setdefault(first + 1, []).append(secret)
                    at = whole.find(form, at + 1)
        return found


def _at_any_offset(secret: str) -> tuple[str, ...]:
    """Return the characters that base64 has for *secret* wherever it begins in the encoded text."""
    forms = []
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        raw = secret.encode(encoding)
        for before in range(3):
            whole = base64.b64encode(b"\0" * before + raw).decode("ascii")
            # The characters at both ends also depend on what stands beside the secret.
            inner = whole[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
            forms += [inner, inner.replace("+", "-").replace("/", "_")]
    return tuple(dict.fromkeys(forms))


def _is_live(value: str) -> bool:
    """Return whether a value behind a telling key is a secret, and not a variable, a mask or a placeholder."""
    if len(value) < _LEAST_SECRET_LENGTH or _LOOKS_LIKE_CODE.search(value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= _LEAST_ENTROPY_BITS


def scan_paths(paths: Iterable[Path], *, known_secrets: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Return the findings in files and, for folders, in every file below them that git does not ignore.

    Text is read in the encoding that its bytes show, archives (zip, gzip) are unpacked, and other binary files are
    searched as they are. A file that is unreadable, too large or compressed in another way is a finding of the kind
    "not searched".

    Raises ReplayError for a path that does not exist.
    """
    known = names("known_secrets", known_secrets) or ()
    return tuple(
        finding for root in folders("paths", paths) for file in _files(root) for finding in _scan_file(file, known)
    )


def secrets_around(folder: Path, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> list[str]:
    """Return the secrets in the arguments, the environment, and the ``.env`` in *folder* or the nearest one above it.

    Other settings may be missing or wrong. Raises SettingsError where a ``.env`` cannot be read: a search that does not
    know a secret would find nothing.
    """
    near = next((file for place in (folder, *folder.parents) if (file := place / ".env").is_file()), None)
    found = configured_secrets(environ=environ, dotenv_path=near, **arguments)
    return [secret.reveal() for secret in found if len(secret.reveal()) >= MIN_SECRET_CHARS]


def _files(root: Path) -> list[Path]:
    try:
        exists = root.exists()
    except OSError:  # a name that is too long, or a folder that may not be looked into
        exists = False
    if not exists:
        raise ReplayError(f"There is no file or folder {str(root)!r} to scan.", hint="Check the path.")
    if not root.is_dir():
        return [root]
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout.decode("utf-8", "surrogateescape")
        files = [root / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        # No git, or no checkout: everything below the folder counts.
        files = list(root.rglob("*"))
    # A file that git lists and that was deleted is not there to be shared; a link that leads nowhere neither.
    return sorted(file for file in files if not file.is_dir() and file.exists())


def _scan_file(file: Path, known: tuple[str, ...]) -> Iterator[Finding]:
    path = file.as_posix()
    try:
        if not file.is_file():
            raise _NotSearched("it is not a regular file")
        if file.stat().st_size > _MAX_BYTES:
            raise _NotSearched(f"it is larger than {_MAX_BYTES >> 20} MB")
        for name, content in _contents(path, file.read_bytes()):
            yield from _scan_bytes(name, content, known)
    except (OSError, _NotSearched) as error:
        yield Finding(path, 0, _UNSEARCHED, getattr(error, "strerror", None) or str(error))


class _NotSearched(Exception):
    """The reason why a file was not searched."""


def _contents(path: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of what is in a file: itself, or the members of an archive."""
    try:
        if content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = archive.infolist()
                if sum(member.file_size for member in members) > _MAX_BYTES:
                    raise _NotSearched(f"its content is larger than {_MAX_BYTES >> 20} MB")
                for member in members:
                    with archive.open(member) as opened:
                        yield f"{path}/{member.filename}", _bounded(opened)
            return
        if content.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(content)) as opened:
                content = _bounded(opened)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error, OSError) as error:
        raise _NotSearched(f"it cannot be unpacked ({error})") from None  # damaged, or encrypted
    if content.startswith(_COMPRESSED):
        raise _NotSearched("it is compressed")
    yield path, content


def _bounded(opened: IO[bytes] | gzip.GzipFile) -> bytes:
    content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise _NotSearched(f"its content is larger than {_MAX_BYTES >> 20} MB")
    return content


def _scan_bytes(path: str, content: bytes, known: tuple[str, ...]) -> Iterator[Finding]:
    """Yield the findings in bytes; those that are no text are read in each way in which text may be in them."""
    text = decode_text(content)
    if text is not None:
        yield from scan_text(text, path=path, known_secrets=known)
        return
    readings = [content.decode("latin-1")]
    readings += [content[start:].decode("utf-16-le", "replace") for start in (0, 1)]
    found = (finding for reading in readings for finding in scan_text(reading, path=path, known_secrets=known))
    yield from dict.fromkeys(replace(finding, line=1) for finding in found)


def decode_text(content: bytes) -> str | None:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, with or without its mark; ``None`` for other bytes.

    Windows PowerShell writes UTF-16 where ``>`` redirects into a file.
    """
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    guesses = (encoding,) if encoding else ("utf-8",) if b"\0" not in content else _WITH_NULS
    for guess in guesses:
        try:
            text = content.decode(guess)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and (guess not in _WITH_NULS or _is_mostly_ascii(text)):
            return text
    return None


def _is_mostly_ascii(text: str) -> bool:
    """Return whether a text looks read in the right encoding: settings, programs and data are mostly ASCII."""
    return 2 * sum(character < "\x80" for character in text[:4096]) >= len(text[:4096])
