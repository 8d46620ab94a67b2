"""Start Python processes by forking one that has imported sacnb and what it needs: a fifth of the time of a start.

``Forked`` and ``run`` take what ``subprocess.Popen`` and ``subprocess.run`` take, with a command that begins with
``sys.executable``. Each is a process of its own, to be waited for, stopped and killed. What Python reads when it starts
(``PYTHONIOENCODING`` and the like), and what a process imports, takes a real start; where there is no fork, all do.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

_STATUS = struct.Struct("i")
# A kernel of Jupyter, and what notebooks import; for kernels_are_forked().
_OF_NOTEBOOKS = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "ipywidgets", "altair", "vl_convert", "pandas"),
    *("sacnb.replay", "sacnb.notebook"),
)
_IMPORTED = (
    *("polars", "pyarrow.parquet", "requests", "rich.table", "rich.progress", "cryptography.hazmat.primitives.hashes"),
    *("sacnb.cli.application", "sacnb._tenant.connector", "sacnb._pull.parquet", "sacnb._cache.store"),
    *("sacnb.sandbox.server", "sacnb.snowflake"),
)


_also_imported: list[str] = []


def kernels_are_forked(*imported: str) -> None:
    """Fork the kernels that this process starts from now on, with these imports too; to be called before any fork."""
    from jupyter_client import launcher

    _also_imported[:] = (*_OF_NOTEBOOKS, *imported)
    _parent()  # which imports meanwhile
    launcher.Popen = Forked  # type: ignore[attr-defined]


@cache
def _address() -> str:
    """Wait until the process that is forked is ready, and return where it listens."""
    parent, path = _parent()
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    return path


@cache
def _parent() -> tuple[subprocess.Popen[bytes], str]:
    """Start the process that is forked; it ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="sacnb-")
    path = str(Path(folder.name) / "fork")
    environ = {**os.environ, "PYTHONUTF8": "1"}
    parent = subprocess.Popen(
        [sys.executable, __file__, path, *_also_imported], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    )

    def end() -> None:
        parent.kill()
        parent.communicate()
        folder.cleanup()

    atexit.register(end)
    return parent, path


class _Forked(subprocess.Popen[Any]):
    """A process whose end is told by the connection that asked for it."""

    def _execute_child(self, args: Any, *others: Any) -> None:  # type: ignore[override]
        cwd, env, pipes = others[4], others[5], others[9:15]
        command = list(map(os.fspath, args))
        assert command[0] == sys.executable
        told = {
            "command": command[1:],
            "cwd": os.fspath(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
        }
        # A kernel is interrupted with its group, which must not be that of the tests.
        kind = b"s" if others[20] else b"!"
        self._asked = socket.socket(socket.AF_UNIX)
        self._asked.connect(_address())
        ends = [own if own != -1 else number for number, own in enumerate((pipes[0], pipes[3], pipes[5]))]
        socket.send_fds(self._asked, [kind], ends)
        self._asked.sendall(json.dumps(told).encode())
        self._asked.shutdown(socket.SHUT_WR)
        (self.pid,) = _STATUS.unpack(self._asked.recv(_STATUS.size, socket.MSG_WAITALL))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and select.select([self._asked], [], [], 0)[0]:
            self._wait(None)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            self._asked.settimeout(timeout)
            try:
                (self.returncode,) = _STATUS.unpack(self._asked.recv(_STATUS.size, socket.MSG_WAITALL))
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._asked.close()
        return self.returncode


Forked: type[subprocess.Popen[Any]] = _Forked if hasattr(os, "fork") else subprocess.Popen


def run(command: list[Any], *, timeout: float | None = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end and return its output."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Forked(command, **pipes, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


# -- the process that is forked ----------------------------------------------------------------------------------------


def _serve(path: str, *also: str) -> None:
    for name in (*_IMPORTED, *also):
        __import__(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        signal.signal(signal.SIGCHLD, _reap)
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if listener not in ready:  # the tests have ended
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _keep(connection)
            connection.close()


def _reap(*_: object) -> None:
    """Wait for the keepers that have ended, so that their time counts as this process's."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        """There is no other one."""


def _keep(connection: socket.socket) -> None:
    """Fork the process that is asked for, tell its id, and in the end how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kind, ends, _, _ = socket.recv_fds(connection, 1, 3)
    told = b"".join(iter(lambda: connection.recv(65536), b""))
    child = os.fork()
    if child == 0:
        connection.close()
        for number, end in enumerate(ends):
            os.dup2(end, number)
        for end in ends:
            os.close(end)
        _become(**json.loads(told))
    for end in (*ends, 0, 1, 2):
        os.close(end)
    if kind == b"s":
        os.setpgid(child, child)
    connection.sendall(_STATUS.pack(child))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        connection.sendall(_STATUS.pack(code))
    finally:
        os._exit(0)


def _become(command: list[str], cwd: str, env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    sys.path[1:1] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path[1:]]
    os.chdir(cwd)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        new = io.open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115, UP020 - of a number
        if isinstance(new, io.TextIOWrapper) and mode == "w":
            new.reconfigure(line_buffering=name == "stderr" or new.isatty())
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    code: int | str | None = 0
    try:
        _run(command)
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:  # noqa: BLE001 - as Python ends then
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            try:
                stream.flush()
            except OSError:
                code = 120
    if code is not None and code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code or 0)


def _run(command: list[str]) -> None:
    sys.path[0] = ""
    match command:
        case ["-m", module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *arguments]:
            sys.argv = ["-c", *arguments]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), main.__dict__)
        case [path, *arguments]:
            sys.argv = [path, *arguments]
            sys.path[0] = str(Path(path).parent)
            runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    _serve(*sys.argv[1:])
