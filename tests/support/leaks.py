"""Look for secrets in texts: as they are, encoded, escaped, cut into pieces, or folded over lines."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

# Of a secret that is cut in pieces, each of this many characters gives it away; fewer occur by chance.
PIECE_CHARS = 12
_SIGNS = re.compile(r"[^A-Za-z0-9]+")


def forms(secret: str) -> set[str]:
    """The ways in which a value may be written down."""
    once = quote(secret, safe="")
    found = {secret, once, quote(secret), quote_plus(secret), quote(once, safe=""), html.escape(secret)}
    found |= {json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3], repr(secret)[1:-1], secret[::-1]}
    found |= {secret.encode().hex(), secret.encode("utf-16-le").hex()}
    for before in ("", "x", "xx"):
        # What stands in front of a value, and behind it, changes the first and the last characters.
        encoded = base64.b64encode(f"{before}{secret}xxx".encode()).decode()[4 if before else 0 : -8]
        found |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return found


def pieces(secret: str) -> set[str]:
    """Letters and digits of every form of a secret, in pieces that overlap."""
    found = set()
    for form in forms(secret):
        plain = _SIGNS.sub("", form).lower()
        found |= {plain[at : at + PIECE_CHARS] for at in range(len(plain) - PIECE_CHARS + 1)}
    assert found, "a secret must be long enough to be found"
    return found


def places(texts: Mapping[str, str], secrets: Iterable[str]) -> list[str]:
    """Where a piece of a secret stands. Signs, blanks and line ends do not count, so folded lines are read as one."""
    wanted = {piece: secret for secret in secrets for piece in pieces(secret)}
    found = []
    for name, text in texts.items():
        plain = _SIGNS.sub("", text).lower()
        there = {plain[at : at + PIECE_CHARS] for at in range(len(plain) - PIECE_CHARS + 1)}
        found += [
            f"{name}: {one} of a secret of {len(wanted[one])} characters" for one in sorted(there & wanted.keys())
        ]
    return found
