"""Write a file whole or not at all, keep it private, and remove nothing but what is named."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

__all__ = [
    "DISK_FULL",
    "NO_DIGEST",
    "TEMPORARY_NAME",
    "Sealed",
    "digest_of_file",
    "dump_with_digest",
    "exchange",
    "load_with_digest",
    "make_private_folder",
    "max_file_mb",
    "read_bounded",
    "read_with_digest",
    "remove",
    "replacing",
    "sync_folder",
    "to_json",
    "too_long",
    "write_file",
]

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
# Short, since a path on Windows may have 260 characters, and the same whatever the file is called.
TEMPORARY_NAME: Final = re.compile(r"\.sacnb-[0-9a-f]{8}\.tmp")
_DIGEST: Final = "digest"
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


def _open_private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb")


def _open_shared(path: Path) -> IO[bytes]:
    return path.open("xb")


@contextmanager
def replacing(
    path: Path,
    *,
    private: bool = False,
    durable: bool = True,
    temporary: Path | None = None,
    open_new: Callable[[Path], IO[bytes]] | None = None,
) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of *path* in one step once the block ends without an error.

    Args:
        path: The file to replace. A link there is replaced itself, not the file that it leads to.
        private: Give nobody but the owner access; otherwise the umask decides.
        durable: Have the content and the name on the disk before this returns.
        temporary: The name under which the file is written; by default one in the same folder.
        open_new: Opens that file, which must not exist yet.
    """
    new = temporary or path.with_name(f".sacnb-{secrets.token_hex(4)}.tmp")
    try:
        with (open_new or (_open_private if private else _open_shared))(new) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the failure before this one is the one to report
            new.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(new):
            error.filename, error.filename2 = str(path), None  # the temporary name means nothing to users
        raise
    if durable:
        sync_folder(path.parent)


def write_file(path: Path, data: Any, *, durable: bool = False) -> None:
    """Replace the file *path* by bytes, or a buffer, in one step; only its owner can read it."""
    with replacing(path, private=True, durable=durable) as file:
        file.write(data)


def sync_folder(path: Path) -> None:
    """Sync a folder, so that a rename survives a power cut; Windows does that by itself."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems have no fsync for folders
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


def make_private_folder(path: Path, *, may_be_link: bool = True) -> None:
    """Make a folder, and the parents that are missing, accessible to the owner only.

    Without ``may_be_link`` a link in the place of the folder is removed, and a folder that is there is made private.
    """
    if not may_be_link and _is_link(path):
        remove(path)
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not missing and not may_be_link:
        make_private(path)


def make_private(path: Path) -> None:
    """Take everybody's rights but the owner's away, where that is possible: Windows and some disks have no modes."""
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link, but never what a link leads to.

    Raises:
        OSError: The system refuses; a path that does not exist is not an error.
    """
    if _is_link(path):
        if os.name == "nt" and path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_link(path: Path) -> bool:
    """Return whether *path* is a symbolic link or, on Windows, a junction."""
    try:
        status = path.lstat()
    except OSError:
        return False
    # FILE_ATTRIBUTE_REPARSE_POINT: junctions have it, and Path.is_junction is new in Python 3.12.
    return path.is_symlink() or bool(getattr(status, "st_file_attributes", 0) & 0x400)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return false where the system or the file system has no such step.

    Linux (renameat2) and macOS (renamex_np) have it, Windows does not.

    Raises:
        OSError: The system refuses for another reason.
    """
    # ctypes and not a package: the one on PyPI, renameat2, knows Linux alone and needs a compiler.
    if sys.platform == "linux":
        arguments: tuple[Any, ...] = (-100, os.fsencode(one), -100, os.fsencode(other), 2)  # AT_FDCWD, RENAME_EXCHANGE
        name = "renameat2"
    elif sys.platform == "darwin":
        arguments, name = (os.fsencode(one), os.fsencode(other), 2), "renamex_np"  # RENAME_SWAP
    else:
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:  # an old C library
        return False
    if function(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(number, os.strerror(number), str(other))


def to_json(values: Any) -> bytes:
    """Encode plain values as JSON, always in the same way."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def dump_with_digest(values: Mapping[str, Any]) -> bytes:
    """Encode an object as JSON with a digest over all of it, so that a single damaged bit is noticed."""
    return to_json({**values, _DIGEST: _digest_of(values)})


def load_with_digest(data: bytes) -> dict[str, Any] | None:
    """Decode an object that ``dump_with_digest`` encoded; ``None`` for anything else, damaged ones included."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    digest = values.pop(_DIGEST, None)
    try:
        return values if digest == _digest_of(values) else None
    except RecursionError:
        return None


def read_with_digest(path: Path) -> dict[str, Any] | None:
    """Read an object that ``dump_with_digest`` encoded; ``None`` where there is none, or it cannot be read."""
    try:
        return load_with_digest(read_bounded(path))
    except OSError:
        return None


def _digest_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(values)).hexdigest()


# -- files of others --------------------------------------------------------------------------------------------------

_FILE_SETTING: Final = "SAC_MAX_FILE_MB"
_FILE_MB: Final = 512
_PART_BYTES: Final = 1 << 20


def max_file_mb() -> int:
    """Return how long a file may be that is read in one piece. Raises OSError where the variable is no such number."""
    text = os.environ.get(_FILE_SETTING) or str(_FILE_MB)
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise OSError(errno.EINVAL, f"{_FILE_SETTING} is {text!r}; expected a whole number of megabytes, 1 or more")
    return int(text)


def read_bounded(path: Path, megabytes: int | None = None) -> bytes:
    """Read a file, pipe or device in one piece.

    Raises OSError, also where it is longer than *megabytes*, or without that than SAC_MAX_FILE_MB.
    """
    most = max_file_mb() if megabytes is None else megabytes
    parts, left = [], most * 1_000_000
    with path.open("rb") as file:
        while left >= 0 and (part := file.read(min(_PART_BYTES, left + 1))):
            parts.append(part)
            left -= len(part)
    if left < 0:
        raise too_long(most) if megabytes is None else OSError(errno.EFBIG, f"it is longer than {most:,} MB")
    return b"".join(parts)


def too_long(megabytes: int) -> OSError:
    """Return the error for what is longer than SAC_MAX_FILE_MB, or unpacks to more."""
    remedy = f"if that is right, raise {_FILE_SETTING} in the environment"
    return OSError(errno.EFBIG, f"it is longer than {megabytes:,} MB ({_FILE_SETTING}); {remedy}")


# -- digests of whole files -------------------------------------------------------------------------------------------

NO_DIGEST: Final = b"0" * 64


class Sealed(io.RawIOBase):
    """Forward what is written to a stream, and hash it; hold the footer back until the hash is known.

    The footer holds ``NO_DIGEST`` where the digest of all bytes, taken with these zeros, is to stand.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._footer: bytearray | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell() + len(self._footer or b"")

    def write(self, data: Any, /) -> int:
        self._hash.update(data)
        if self._footer is None:
            self._forward(data)
        else:
            self._footer += data
        return len(data)

    def begin_footer(self) -> None:
        """Hold back what is written from now on."""
        self._footer = bytearray()

    def finish(self) -> None:
        """Write the footer, with the digest of all bytes in the place that is kept for it."""
        footer = bytes(self._footer or b"")
        # A text of the footer may hold 64 zeros too; such a file gets no digest, and its pages have checksums anyway.
        if footer.count(NO_DIGEST) == 1:
            footer = footer.replace(NO_DIGEST, self._hash.hexdigest().encode())
        self._forward(footer)

    def _forward(self, data: bytes) -> None:
        # An unbuffered file on a full disk takes a part, and raises only for the rest.
        while (written := self._stream.write(data)) is not None and written < len(data):
            data = data[written:]


def digest_of_file(content: bytes, digest: bytes) -> bytes:
    """Return the digest of a file of ``Sealed``, which holds *digest* in its footer."""
    place, view = content.rfind(digest), memoryview(content)
    found = hashlib.sha256(view[:place])
    found.update(NO_DIGEST)
    found.update(view[place + len(digest) :])
    return found.hexdigest().encode()
