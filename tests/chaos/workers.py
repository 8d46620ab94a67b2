"""One tenant used from many processes: ``python workers.py HOW TOLD`` prints the rows of each store as JSON.

A program of its own, since what multiprocessing, joblib and dask run in their workers has to be found there, too.
"""

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
Rows = list[list[str]]


def rows_of(result: Any) -> Rows:
    """Return the rows of a result as texts, in order."""
    return sorted([str(value) for value in row.values()] for row in result.arrow().to_pylist())


def connect(told: dict[str, Any]) -> Any:
    """Connect as *told*; the cache is shared by all processes."""
    return sacnb.connect(**told["address"], cache_dir=told["cache"], log="error")


def pull(told: dict[str, Any], store: str) -> Rows:
    """Refresh the rows of a store in a worker, and return them. The first of all workers dies before that."""
    mark = Path(told["mark"]) if told.get("mark") else None
    if mark is not None and store == STORES[0] and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with connect(told) as tenant:
            facts = tenant.model("SALES").facts(where={"Store": store}, page_size=20)
            return rows_of(facts.refresh(progress=None, announce=lambda _: None))


def forked(told: dict[str, Any]) -> list[Rows]:
    """Connect, ask for something, and let four forks and this process pull with that one connection at once."""
    model = connect(told).model("SALES")
    model.facts().count()  # the connection is open and has its token

    def fetch(store: str) -> Rows:
        return rows_of(model.facts(where={"Store": store}, page_size=20).fetch(progress=None))

    children = []
    for store in STORES[1:]:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with os.fdopen(writer, "w") as answer:
                    json.dump(fetch(store), answer)
            finally:
                os._exit(0)
        os.close(writer)
        children.append((child, reader))
    found = [fetch(STORES[0])]
    for child, reader in children:
        with os.fdopen(reader) as answer:
            found.append(json.loads(answer.read() or "[]"))
        os.waitpid(child, 0)
    return found


def spawned(told: dict[str, Any]) -> list[Rows]:
    """Pull in spawned processes that share one cache."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found: list[Rows] = pool.starmap(pull, [(told, store) for store in STORES])
    return found


def of_joblib(told: dict[str, Any]) -> list[Rows]:
    """Pull in workers of joblib, of which one is killed; joblib says so, and the same call is made again."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        Parallel(n_jobs=2)(delayed(pull)(told, store) for store in STORES)
    except TerminatedWorkerError:
        return list(Parallel(n_jobs=2)(delayed(pull)(told, store) for store in STORES))
    raise AssertionError("no worker was killed")


def of_dask(told: dict[str, Any]) -> list[Rows]:
    """Pull in workers of dask, of which one is killed; dask gives its work to another one."""
    from dask.distributed import Client, LocalCluster

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options, local_directory=told["cache"]) as cluster, Client(cluster) as client:
        return list(client.gather(client.map(pull, [told] * len(STORES), STORES)))


if __name__ == "__main__":
    how = {"forked": forked, "spawned": spawned, "joblib": of_joblib, "dask": of_dask}[sys.argv[1]]
    print(json.dumps(how(json.loads(sys.argv[2]))))
