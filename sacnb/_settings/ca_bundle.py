"""Read the certificate file of a company in the forms in which people save it."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import ssl
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["check_bundle", "usable_bundle"]

_MAX_BYTES: Final = 20_000_000  # the bundle of a Linux distribution is 0.2 MB
_MARKED: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN (?P<kind>(?:X509 |TRUSTED )?CERTIFICATE)-----[^-]+-----END (?P=kind)-----"
)
# The names that OpenSSL looks up in a folder of certificates, see `openssl rehash`.
_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.\d+")
_PKCS7_OID: Final = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"

# Path, time of the last change and size.
_State = tuple[str, int, int]
_converted: dict[_State, str] = {}
# OpenSSL takes about 15 ms for a bundle of 150 certificates, and connecting asks for it three times.
_accepted: set[_State] = set()
_lock = threading.Lock()


def check_bundle(path: Path) -> None:
    """Raise ValueError, with the rest of a sentence that begins with the variable's name, if *path* cannot be used."""
    _read(path)


def usable_bundle(path: Path) -> str:
    """Return a path that requests accepts as ``verify``: *path* itself, or a temporary PEM file made from it.

    Raises ValueError as ``check_bundle`` does.
    """
    pem = _read(path)
    if pem is None:
        return str(path)
    key = _state_of(path)
    with _lock:
        if not Path(_converted.get(key, "")).is_file():
            handle, name = tempfile.mkstemp(prefix="sacnb-ca-", suffix=".pem")
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(pem)
            atexit.register(_remove, name, os.getpid())
            _converted[key] = name
        return _converted[key]


def _remove(name: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child uses its parent's file
        with suppress(OSError):
            Path(name).unlink()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _read(path: Path) -> str | None:
    """Return the certificates in *path* as PEM; ``None`` where OpenSSL reads *path* as it is."""
    try:
        if path.is_dir():
            return _read_folder(path)
        content = _content(path)
    except FileNotFoundError:
        raise ValueError(
            f"is {str(path)!r}, which does not exist; expected the path of a PEM file with your company's certificate "
            "authority."
        ) from None
    except OSError as error:
        raise ValueError(f"is {str(path)!r}, which cannot be read: {error.strerror or error}.") from None
    if not any(content.startswith(mark) for mark, _ in _MARKED) and _is_accepted(path):
        return None
    return _as_pem(path, content)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _state_of(path: Path) -> _State:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def _is_accepted(path: Path) -> bool:
    try:
        state = _state_of(path)
    except OSError:
        return False
    if state in _accepted:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return False
    if not context.cert_store_stats()["x509"]:
        return False
    _accepted.add(state)
    return True


def _read_folder(path: Path) -> str | None:
    names = sorted(path.iterdir())
    if any(_HASHED_NAME.fullmatch(file.name) for file in names):
        return None
    found = []
    for file in names:
        if file.is_file():
            with suppress(ValueError, OSError):
                found.append(_as_pem(file, _content(file)))
    if not found:
        raise ValueError(f"is the folder {str(path)!r}, in which no file holds a certificate; expected a PEM file.")
    return "".join(found)


def _as_pem(path: Path, content: bytes) -> str:
    name, quoted = repr(str(path)), shlex.quote(str(path))
    if not content.strip():
        raise ValueError(f"is {name}, which is empty; expected a PEM file with your company's certificate authority.")
    encoding = next((encoding for mark, encoding in _MARKED if content.startswith(mark)), "latin-1")
    if encoding == "latin-1" and content[1::2][:200].count(0) > 50:
        encoding = "utf-16-le"  # UTF-16 without its mark
    text = content.decode(encoding, errors="replace")
    blocks = [match[0].replace("\r\n", "\n") + "\n" for match in _CERTIFICATE.finditer(text)]
    if blocks:
        return _checked(name, "".join(blocks))
    if "-----BEGIN PKCS7-----" in text or _PKCS7_OID in content[:40]:
        form = "PEM" if "-----BEGIN" in text else "DER"
        raise ValueError(
            f"is {name}, a PKCS#7 file; make a PEM file of it: "
            f"openssl pkcs7 -inform {form} -in {quoted} -print_certs -out company-ca.pem"
        )
    if re.match(rb"\x30[\x80-\x84].{0,4}?\x02\x01\x03\x30", content, re.DOTALL):
        raise ValueError(
            f"is {name}, a PKCS#12 file; make a PEM file of its certificates: "
            f"openssl pkcs12 -in {quoted} -nokeys -out company-ca.pem"
        )
    if content.startswith(b"\xfe\xed\xfe\xed"):
        raise ValueError(
            f"is {name}, a Java keystore; make a PEM file of its certificates: "
            f"keytool -list -rfc -keystore {quoted} > company-ca.pem"
        )
    if "PRIVATE KEY-----" in text:
        raise ValueError(
            f"is {name}, which holds a private key and no certificate; expected the certificate authority."
        )
    if content.startswith(b"\x30"):
        return _checked(name, ssl.DER_cert_to_PEM_cert(content))
    raise ValueError(
        f"is {name}, which holds no certificate; expected a PEM file with your company's certificate authority."
    )


def _checked(name: str, pem: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ValueError(f"is {name}, whose certificates cannot be read ({reason}); expected a PEM file.") from None
    return pem
