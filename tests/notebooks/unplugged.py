"""Run a command without a network: ``python unplugged.py COMMAND ...``, where there is loopback and nothing else.

Linux only, and only where the system lets this user make namespaces. Exit code 77 says that it does not; with
``--if-possible`` in front, the command is run with the network there is, and one line says so.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CANNOT = 77
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1


def unplug() -> None:
    """Move this process into a network that holds loopback only. Raises OSError where that cannot be done."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    kinds = _NEW_NET if user == 0 else _NEW_NET | _NEW_USER
    if libc.unshare(kinds) != 0:
        raise OSError(ctypes.get_errno(), "no namespace for this user")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _GET_FLAGS, request))[1]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
    assert [name for _, name in socket.if_nameindex()] == ["lo"]


def main(command: list[str]) -> None:
    """Become the command, unplugged."""
    if_possible = command[0] == "--if-possible"
    command = command[if_possible:]
    try:
        unplug()
    except (AttributeError, OSError) as error:
        sys.stderr.write(f"The network could not be unplugged here: {error}\n")
        if not if_possible:
            sys.exit(CANNOT)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
