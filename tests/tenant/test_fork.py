"""A forked child waits for no lock of its parent: neither of a model, nor of the embedded sandbox."""

from __future__ import annotations

import os
import sys

import forking
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

# In a Python of its own: the locks are held by another thread at the fork, which is not in the child.
PROGRAM = """
import os, signal, sys, tempfile, threading
import sacnb
from sacnb._tenant import connector

sac = sacnb.connect("sandbox", cache_dir=tempfile.mkdtemp())
model = sac.model("US_EMPLOYMENT")
held, done = threading.Event(), threading.Event()

def hold():
    with model._lock, connector._embedded.lock:
        held.set()
        done.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    names = sacnb.connect("sandbox").model("US_EMPLOYMENT").schema.names
    print(names == model.schema.names, flush=True)
    sys.exit(0)  # runs what the parent registered for its own end
done.set()
status = os.waitpid(child, 0)[1]
print(status, sac.models().height > 0)
"""


def test_a_child_uses_models_and_the_sandbox_of_its_parent() -> None:
    done = forking.run([sys.executable, "-c", PROGRAM], text=True)
    assert done.stdout.split() == ["True", "0", "True"], done.stderr
