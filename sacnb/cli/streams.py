"""Text to the two streams of a terminal that may know neither UTF-8 nor colours, or have closed already."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import Final, TextIO

__all__ = ["clean", "is_terminal", "make_tolerant", "say", "silence", "speaks_utf8"]

# Escape sequences in the name of a model could move the cursor or retitle the window. Tabs and line ends may stay.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def make_tolerant(*streams: TextIO) -> None:
    r"""Have ``streams`` write what their encoding lacks as ``\u....``: a Windows console must not end the program."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def clean(text: str) -> str:
    """``text`` with control characters written out, so that nothing from outside can steer the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: str) -> None:
    """One or more lines on stderr, for the person who watches; a progress bar makes room for them."""
    sys.stderr.write(clean(text) + "\n")
    sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody watches ``stream``."""
    return not stream.closed and stream.isatty()


def speaks_utf8(stream: TextIO) -> bool:
    """Whether ``stream`` can write every character."""
    return (stream.encoding or "").lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}


def silence(stream: TextIO) -> None:
    """Point ``stream`` at nothing: its reader has left, and Python would complain when it flushes at the end."""
    with contextlib.suppress(io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
