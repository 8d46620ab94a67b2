"""Find secrets in files before they are shared: token shapes, private keys, known keys with a live-looking value.

A rule never fires on entropy alone, since hashes in lock files and ids in data have plenty of it; entropy decides only
whether the value behind a telling key is a secret or a word that stands in its place.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sacnb._redact import NAMES_PATTERN

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# "secret" alone is a word of prose: "this may hold a secret: ...".
_KEYS = rf"(?!secret\b)(?:{NAMES_PATTERN})|sac_token|(?:set-)?cookie|jtenantsessionid|authorization"
# A quotation mark, which is written with backslashes in JSON that stands in JSON: a body in a cassette or a notebook.
_MARK = r"(?:\\*[\"'])?"

# Shapes that are secrets wherever they stand.
_SHAPES: Final = (
    ("JSON web token", re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?")),
    ("private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("SAC client secret", re.compile(_UUID + r"\$[A-Za-z0-9_-]{20,}={0,2}")),
)
# In a cassette these are replaced; anywhere else they are somebody's example, or what a user is free to write.
_SHAPES_IN_A_CASSETTE: Final = (
    (
        "host of a tenant",
        re.compile(
            r"(?i)\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:hcs\.cloud\.sap|hanacloudservices\.cloud\.sap|sapanalytics\.cloud|"
            r"hana\.ondemand\.com)\b"
        ),
    ),
    ("client id", re.compile(rf"\bsb-{_UUID}!b\d+")),
    ("address of a machine", re.compile(r"https?:(?:\\*/){2}(?:\d{1,3}(?:\.\d{1,3}){3}|localhost)\b")),
)
_CASSETTE: Final = re.compile(r'^\s*\{\s*"metadata":\s*\{\s*"format":\s*"sacnb cassette ')
# A telling key, or an authorization scheme, and the value behind it.
_KEY_AND_VALUE: Final = (
    (
        "value of a secret key",
        re.compile(rf"(?i)(?<![a-z0-9])(?:sac_)?(?:{_KEYS})\b{_MARK}\s*[:=]\s*(?:\[\s*)?{_MARK}([^\s\"',;&}}\]\\]+)"),
    ),
    ("password in an address", re.compile(r"(?i)\bhttps?://[^/\s:@\"']+:([^/\s@\"']+)@")),
    ("bearer token", re.compile(r"(?i)\bbearer\s+([A-Za-z0-9._~+/=-]{12,})")),
    ("basic credentials", re.compile(r"(?i)\bbasic\s+([A-Za-z0-9+/]{16,}={0,2})")),
)
_LEAST_SECRET_LENGTH: Final = 12
# Bits a character. Words and placeholders stay below it, 12 random characters and more come out above.
_LEAST_ENTROPY_BITS: Final = 3.0
_LOOKS_LIKE_CODE = re.compile(r"[(){}<>\[\]]|^[a-z_]+(?:\.[a-z_]+)*$|\.\.\.$")
# Secrets that tests plant are called so, or their line says so. Only program text can plant: in a cassette or in a
# notebook's output a planted secret is one that came through.
_PLANTED: Final = re.compile(r"(?i)canary|Y2FuYXJ5|#.*\bplanted\b")


@dataclass(frozen=True, slots=True)
class Finding:
    """One suspicious place: the file, the line (from 1), what it looks like, and the first characters of it."""

    path: str
    line: int
    kind: str
    shown: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.shown}"


def scan_text(text: str, *, path: str = "", known_secrets: Iterable[str] = ()) -> Iterator[Finding]:
    """The findings in a text; ``known_secrets`` are values that must not occur in it at all."""
    known = [secret for secret in known_secrets if secret]
    may_plant = path.endswith(".py")
    shapes = (*_SHAPES, *_SHAPES_IN_A_CASSETTE) if _CASSETTE.match(text) else _SHAPES
    for number, line in enumerate(text.splitlines(), start=1):
        found: dict[str, str] = {}
        for secret in known:
            if secret in line:
                found.setdefault(secret, "a secret of this machine's settings")
        if may_plant and _PLANTED.search(line):
            yield from (_finding(path, number, kind, value) for value, kind in found.items())
            continue
        for kind, shape in shapes:
            for match in shape.finditer(line):
                found.setdefault(match[0], kind)
        for kind, pattern in _KEY_AND_VALUE:
            for match in pattern.finditer(line):
                if _is_live(match[1]) and not any(match[1] in earlier or earlier in match[1] for earlier in found):
                    found[match[1]] = kind
        yield from (_finding(path, number, kind, value) for value, kind in found.items())


def _finding(path: str, line: int, kind: str, value: str) -> Finding:
    return Finding(path, line, kind, f"{value[:4]}... ({len(value)} characters)")


def scan_paths(paths: Iterable[Path], *, known_secrets: Iterable[str] = ()) -> tuple[Finding, ...]:
    """The findings in files and, for folders, in every text file below them that git does not ignore."""
    known = tuple(known_secrets)
    return tuple(
        finding
        for root in paths
        for file in _files(root)
        if (text := _text_of(file)) is not None
        for finding in scan_text(text, path=file.as_posix(), known_secrets=known)
    )


def _is_live(value: str) -> bool:
    """Whether a value behind a telling key is a secret, and not a variable, a mask or a word in its place."""
    if len(value) < _LEAST_SECRET_LENGTH or _LOOKS_LIKE_CODE.search(value):
        return False
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= _LEAST_ENTROPY_BITS


def _files(root: Path) -> list[Path]:
    if not root.exists():
        raise FileNotFoundError(f"There is no file or folder {str(root)!r} to scan.")
    if root.is_file():
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
    return sorted(file for file in files if file.is_file())


def _text_of(file: Path) -> str | None:
    """The file's text, or ``None`` for a binary file."""
    content = file.read_bytes()
    return None if b"\0" in content[:8192] else content.decode("utf-8", "replace")
