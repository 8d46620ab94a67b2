from __future__ import annotations

import ast
import gc
import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forking
import pytest
import requests
from aiohttp import ClientConnectionResetError, web

import sacnb.sandbox

ROOM = Path(sacnb.sandbox.__file__).parent


def test_a_sandbox_listens_until_it_is_closed_and_closing_twice_is_fine() -> None:
    with sacnb.sandbox.start(scale_rows=0) as sandbox:
        address = ("127.0.0.1", int(sandbox.tenant_url.rpartition(":")[2]))
        socket.create_connection(address, timeout=5).close()
    sandbox.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_no_thread_is_left_behind() -> None:
    before = set(threading.enumerate())
    with sacnb.sandbox.start(scale_rows=0) as sandbox:
        requests.get(sandbox.tenant_url, timeout=5).close()
        mine = set(threading.enumerate()) - before
        assert mine
    assert not any(t.is_alive() for t in mine)


def test_a_sandbox_closes_while_an_answer_is_being_sent() -> None:
    with sacnb.sandbox.start(scale_rows=0) as sandbox:
        sandbox.misbehave("slow_bytes", on="any", chunks=1000, pause_s=60)
        answer = requests.get(sandbox.tenant_url, stream=True, timeout=5)
        sandbox.close()
        with pytest.raises(requests.RequestException):
            answer.content  # noqa: B018 - reading is what fails


def test_a_client_that_leaves_in_the_middle_of_an_answer_is_no_failure_of_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(response: web.StreamResponse, _: bytes) -> None:
        """Do what aiohttp does where the connection has just been closed."""
        assert response._req is not None
        assert response._req.transport is not None
        response._req.transport.abort()
        raise ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "write", write)
    with sacnb.sandbox.start(scale_rows=0) as sandbox:
        sandbox.misbehave("slow_bytes", on="any", chunks=3, pause_s=0)
        with pytest.raises(requests.RequestException):
            requests.get(sandbox.tenant_url, timeout=5)
    assert caplog.messages == []


def test_a_client_that_leaves_in_the_middle_of_its_request_is_none_either(caplog: pytest.LogCaptureFixture) -> None:
    with sacnb.sandbox.start(scale_rows=0) as sandbox:
        port = int(sandbox.tenant_url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"POST /oauth/token HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 100\r\n\r\ngrant")
            requests.get(sandbox.tenant_url, timeout=5).close()  # served after the other one was begun
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        requests.get(sandbox.tenant_url, timeout=5).close()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []


def test_connections_that_were_never_used_are_closed_too() -> None:
    """Pytest fails on a socket that is left open."""
    for _ in range(10):
        with sacnb.sandbox.start(scale_rows=0) as sandbox:
            address = ("127.0.0.1", int(sandbox.tenant_url.rpartition(":")[2]))
            peers = [socket.create_connection(address, timeout=5) for _ in range(3)]
        for peer in peers:
            peer.close()
    gc.collect()


def test_a_port_that_is_taken_is_an_os_error() -> None:
    with sacnb.sandbox.start(scale_rows=0) as first, pytest.raises(OSError, match="address already in use"):
        sacnb.sandbox.start(scale_rows=0, port=int(first.tenant_url.rpartition(":")[2]))


@pytest.mark.parametrize("wrong", [-1, 10**15])
def test_impossible_row_counts_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="SCALE can have 0 to"):
        sacnb.sandbox.start(scale_rows=wrong)


def test_id_and_secret_have_the_shapes_of_app_integration_and_differ_each_time() -> None:
    with sacnb.sandbox.start(scale_rows=0) as one, sacnb.sandbox.start(scale_rows=0) as two:
        uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        assert re.fullmatch(rf"sb-{uuid}!b\d+\|client!b\d+", one.client_id)
        assert re.fullmatch(rf"{uuid}\$[A-Za-z0-9_-]+=+", one.client_secret)
        assert one.client_secret != two.client_secret
        assert one.client_id != two.client_id


def test_the_secret_is_shown_nowhere(start: Callable[..., Any]) -> None:
    api = start()
    api.token(data={"grant_type": "client_credentials", "client_secret": api.sandbox.client_secret})
    api.http.post(f"{api.sandbox.token_url}?client_secret={api.sandbox.client_secret}", timeout=5)
    api.data("US_EMPLOYMENT", pagesize="1")
    token = api.http.headers["Authorization"].partition(" ")[2]
    shown = "\n".join([repr(api.sandbox), str(api.sandbox), repr(api.sandbox.log), repr(api.sandbox.counts)])
    assert api.sandbox.client_secret not in shown
    assert token not in shown
    with pytest.raises(TypeError):
        pickle.dumps(api.sandbox)


def test_latency_holds_back_every_answer(start: Callable[..., Any]) -> None:
    api = start(latency_s=0.1)
    assert api.get("administration/Namespaces").elapsed.total_seconds() >= 0.1


def test_the_latency_may_change_while_it_runs(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.latency_s = 0.1
    assert api.get("administration/Namespaces").elapsed.total_seconds() >= 0.1


def test_given_id_and_secret_are_taken() -> None:
    with sacnb.sandbox.start(scale_rows=0, client_id="me", client_secret="hush") as sandbox:
        data = {"grant_type": "client_credentials"}
        assert requests.post(sandbox.token_url, data, auth=("me", "hush"), timeout=5).status_code == 200


def _python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_importing_the_sandbox_loads_nothing_heavy() -> None:
    code = "import sys, sacnb.sandbox; print({'aiohttp', 'polars', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules))"
    assert _python(code).stdout == "set()\n"


def test_without_the_extra_starting_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "import sacnb.sandbox\n"
        "assert sacnb.sandbox.MISBEHAVIOURS\n"
        "try: sacnb.sandbox.start()\n"
        "except ImportError as error: print(error)\n"
    )
    assert 'pip install "sacnb[sandbox]"' in _python(code).stdout


def test_every_public_name_can_be_imported() -> None:
    for name in sacnb.sandbox.__all__:
        assert getattr(sacnb.sandbox, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        sacnb.sandbox.nothing_of_the_kind  # noqa: B018


def test_public_names_say_their_public_home() -> None:
    named = [getattr(sacnb.sandbox, name) for name in sacnb.sandbox.__all__]
    assert {thing.__module__ for thing in named if callable(thing)} == {"sacnb.sandbox"}
    assert repr(sacnb.sandbox.Model) == "<class 'sacnb.sandbox.Model'>"
    assert pickle.loads(pickle.dumps(sacnb.sandbox.Column("A"))) == sacnb.sandbox.Column("A")


def test_the_sandbox_imports_nothing_else_of_sacnb() -> None:
    for path in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names.append(node.module or "")
            for name in names:
                assert not name.startswith("sacnb") or name.startswith("sacnb.sandbox"), f"{path.name}: {name}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_serve_runs_until_a_signal_and_ends_cleanly(number: signal.Signals) -> None:
    code = (
        "import sys, sacnb.sandbox\n"
        "sacnb.sandbox.serve(scale_rows=10, on_ready=lambda s: print(s.tenant_url, flush=True))\n"
        "print('done', flush=True)\n"
    )
    with forking.Forked([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        url = run.stdout.readline().strip()
        assert requests.get(f"{url}/sandbox/counts", timeout=5).status_code == 200
        run.send_signal(number)
        assert run.stdout.read() == "done\n"
        assert run.stderr.read() == ""
        assert run.wait(timeout=20) == 0


def test_a_request_at_interpreter_exit_gets_a_503_without_a_traceback() -> None:
    """The embedded sandbox runs until the program ends; a late request must not print a traceback."""
    program = """
import atexit, concurrent.futures.thread, requests, sacnb.sandbox
sandbox = sacnb.sandbox.start(scale_rows=0)
reply = requests.post(sandbox.token_url, auth=(sandbox.client_id, sandbox.client_secret),
                      data={"grant_type": "client_credentials"}, timeout=5)
headers = {"Authorization": "Bearer " + reply.json()["access_token"]}
url = sandbox.tenant_url + "/api/v1/dataexport/administration/Namespaces"
assert requests.get(url, headers=headers, timeout=5).status_code == 200
# atexit runs after the thread pool has stopped taking work.
atexit.register(lambda: print(requests.get(url, headers=headers, timeout=5).status_code))
"""
    done = forking.run([sys.executable, "-c", program], text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("503\n", "", 0)
