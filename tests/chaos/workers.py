"""Work for other processes: forks of a connected one, and workers of multiprocessing, joblib and dask."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import sacnb

STORES = ("S0", "S1", "S2", "S3", "S4")


def pull(told: dict[str, Any], store: str, mark: str = "") -> list[list[str]]:
    """Refresh the rows of a store in a worker, and return them. Where *mark* names a file, die once, and make it."""
    if mark and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with sacnb.connect(told["spec"], client_secret=told["client_secret"]) as tenant:
            facts = tenant.model("SALES").facts(where={"Store": store}, page_size=20)
            return rows_of(facts.refresh(progress=None, announce=lambda _: None))


def rows_of(result: Any) -> list[list[str]]:
    """Return the rows of a result as texts, in order."""
    return sorted([str(value) for value in row.values()] for row in result.arrow().to_pylist())


def forks(address: dict[str, str], cache: str) -> None:
    """Connect, ask for something, and let four forks and this process pull with that one connection at once."""
    tenant = sacnb.connect(**address, cache_dir=cache, log="error")  # type: ignore[arg-type]
    model = tenant.model("SALES")  # the connection is open and has its token
    model.facts().count()
    children = []
    for store in STORES[1:]:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with os.fdopen(writer, "w") as answer:
                    json.dump(rows_of(model.facts(where={"Store": store}, page_size=20).fetch(progress=None)), answer)
            finally:
                os._exit(0)
        os.close(writer)
        children.append((store, child, reader))
    found = {STORES[0]: rows_of(model.facts(where={"Store": STORES[0]}, page_size=20).fetch(progress=None))}
    for store, child, reader in children:
        with os.fdopen(reader) as answer:
            found[store] = json.loads(answer.read() or "null")
        os.waitpid(child, 0)
    print(json.dumps(found))


if __name__ == "__main__":
    forks(json.loads(sys.argv[1]), sys.argv[2])
