"""The calls that crash runs make trouble for: what is there before, what may be after, what must be at the end."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import polars as pl
from sales import facts, plan, sales

import sacnb.sandbox
from sacnb._cache.store import Cache
from sacnb._settings import Settings
from sacnb._tenant import Tenant
from sacnb._tenant.connector import connect_with
from sacnb.errors import CacheError
from sacnb.sandbox import snowflake as simulators

KEYS: Final = ["Version", "Date", "Store"]
OLD, NEW = "old", "new"
Lines = list[tuple[str, ...]]


class Wrong(AssertionError):
    """Rows are lost, doubled or changed, or something else happened that may not."""


class World:
    """SAC with two states of one model, and Snowflake; the victims reach them over the network."""

    def __init__(self, *, can_mount: bool) -> None:
        self.can_mount = can_mount
        self.pace: dict[str, tuple[int, float]] = {}
        self.sandbox = sacnb.sandbox.start(scale_rows=10, client_id="crash", client_secret="canary-of-the-crash-runs")
        self.snowflake = simulators.start()
        self.models: dict[str, Any] = {OLD: sales(), NEW: self._changed()}
        self.rows: dict[str, pl.DataFrame] = {}
        for name, model in self.models.items():
            self.sandbox.add_model(model)
            with self.tenant(None) as tenant:
                self.rows[name] = ordered(tenant.model("SALES").facts().fetch().polars(decimals=True))
        if self.rows[OLD].equals(self.rows[NEW]):
            raise Wrong("the two states of the model are the same")

    def _changed(self) -> Any:
        """Return the model with other values in some of its rows, by a write of its own."""
        self.sandbox.add_model(sales())
        with self.tenant(None) as tenant:
            frame = plan(90).with_columns(pl.col("Amount") + 1000)
            tenant.model("SALES").write(frame, version="public.Plan", progress=None)
        return next(one for one in self.sandbox._export.models() if one.provider_id == "SALES")

    @property
    def address(self) -> dict[str, str]:
        """The arguments with which a victim connects to SAC."""
        names = ("tenant_url", "token_url", "client_id", "client_secret")
        return {name: getattr(self.sandbox, name) for name in names}

    @property
    def account(self) -> dict[str, str]:
        """The arguments with which a victim connects to Snowflake."""
        one = self.snowflake
        return {"account": one.account, "user": one.user, "private_key": (one.private_key or b"").decode(),
                "url": one.url, "ca_bundle": str(one.ca_file), "database": "DB", "schema": "PUBLIC"}  # fmt: skip

    def tenant(self, cache: Path | None, **clocks: Any) -> Tenant:
        """Connect in this process."""
        where = {"cache_dir": str(cache)} if cache is not None else {}
        return connect_with(Settings.resolve(environ={}, **self.address, **where, log="error"), **clocks)

    def close(self) -> None:
        """End both servers."""
        self.sandbox.close()
        self.snowflake.close()


def ordered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(*KEYS, "Amount", "Pieces").sort(KEYS)


class Scene:
    """A job of the victims. ``most`` is how many of its calls may have come to their end, where each counts."""

    job: ClassVar[str]

    def __init__(self, world: World, folder: Path, number: int) -> None:
        self.world = world
        self.folder = folder
        self.number = number
        self.most = 1
        self.had_old = False

    def told(self) -> dict[str, Any]:
        """Return what a victim is told."""
        return {"job": self.job, "folder": str(self.folder), "tenant": self.world.address}

    def prepare(self, numbers: random.Random) -> None:
        """Have the old rows in the folder, or nothing, and the new ones in SAC."""
        self.had_old = numbers.random() < 0.5
        if self.had_old:
            self.world.sandbox.add_model(self.world.models[OLD])
            with self.world.tenant(self.folder / "cache") as tenant:
                self.keep(tenant)
        self.world.sandbox.add_model(self.world.models[NEW])

    def keep(self, tenant: Tenant) -> None:
        """Make the good result that trouble may not touch."""

    def look(self) -> None:
        """Raise Wrong where neither the old nor the new result is there, whole."""
        found = self.found()
        if found is None and self.had_old:
            raise Wrong("the last good result is gone")
        if found is not None and not any(found.equals(rows) for rows in self.world.rows.values()):
            raise Wrong(f"{found.height} rows are neither the old nor the new ones")

    def found(self) -> pl.DataFrame | None:
        """Return the rows that are there, in order; ``None`` where there are none."""
        return None

    def is_done(self) -> bool:
        """Return whether calling again would do it a second time."""
        return False

    def check(self) -> None:
        """Raise Wrong where the new rows are not there, or anything else is."""
        found = self.found()
        if found is None or not found.equals(self.world.rows[NEW]):
            raise Wrong("the new rows are not there" if found is None else f"{found.height} rows are not the new ones")
        self.nothing_left()

    def nothing_left(self, *allowed: str) -> None:
        """Raise Wrong where files of unfinished calls are left."""
        left = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]
        # Locks stay: removing one that another process waits for would give it to two.
        strange = [
            name for name in left
            if not (name.endswith(".lock") or name in allowed or Path(name).parts[:-1] == ("cache",))
            and not (name.startswith("cache/.history/") and name.endswith("Z.parquet"))
        ]  # fmt: skip
        if strange:
            raise Wrong(f"files are left: {strange}")


class Refresh(Scene):
    job = "refresh"

    def keep(self, tenant: Tenant) -> None:
        tenant.model("SALES").facts().refresh(progress=None, announce=lambda _: None)

    def found(self) -> pl.DataFrame | None:
        cache = Cache(self.folder / "cache")
        entries = cache.entries()
        if any(entry.problem for entry in (*entries, *cache.history())):
            raise Wrong(f"an entry is damaged: {entries}")
        for earlier in cache.history():
            if not any(ordered(pl.read_parquet(earlier.path)).equals(rows) for rows in self.world.rows.values()):
                raise Wrong(f"an earlier result has other rows: {earlier.path}")
        with self.world.tenant(self.folder / "cache") as tenant:
            key = tenant.model("SALES").facts().cache_key
        return ordered(cache.load(key).polars(decimals=True)) if cache.has(key) else None

    def check(self) -> None:
        super().check()
        if staged := Cache(self.folder / "cache").staging():
            raise Wrong(f"unfinished pulls are left: {staged}")


class Export(Scene):
    job = "export"

    def keep(self, tenant: Tenant) -> None:
        tenant.model("SALES").facts().to_parquet(self.folder / "rows", progress=None)

    def found(self) -> pl.DataFrame | None:
        target = self.folder / "rows"
        if not target.exists():
            return None
        return ordered(pl.concat([pl.read_parquet(path) for path in sorted(target.iterdir())]))

    def check(self) -> None:
        super().check()
        manifest = json.loads((self.folder / "rows.manifest.json").read_bytes())
        files = sorted(part["file"] for part in manifest["parts"])
        if files != sorted(path.name for path in (self.folder / "rows").iterdir()):
            raise Wrong(f"the manifest names other files: {files}")

    def nothing_left(self, *allowed: str) -> None:
        super().nothing_left("rows.manifest.json", *(f"rows/{one.name}" for one in (self.folder / "rows").iterdir()))


class Write(Scene):
    """A write is there whole, or not at all."""

    job = "write"

    def prepare(self, numbers: random.Random) -> None:
        self.world.sandbox.add_model(self.world.models[OLD])
        self._before = self._facts()
        self._after = dict(self._before)
        for date, store, amount, pieces in plan(30).rows():
            self._after["public.Plan", date, store] = (amount, pieces)

    def _facts(self) -> Any:
        with self.world.tenant(self.folder / "cache") as tenant:
            return facts(tenant.model("SALES"))

    def look(self) -> None:
        if self._facts() not in (self._before, self._after):
            raise Wrong("a part of the rows is written")

    def check(self) -> None:
        if self._facts() != self._after:
            raise Wrong("the rows are not as written")


class Append(Scene):
    """Each row of a load is in the table once, whatever became of the calls before the one that returned."""

    job = "append"

    def told(self) -> dict[str, Any]:
        return {**super().told(), "snowflake": self.world.account, "table": f"T{self.number + 1}"}

    def prepare(self, numbers: random.Random) -> None:
        self.world.sandbox.add_model(self.world.models[NEW])

    def _there(self) -> Lines:
        rows = self.world.snowflake.rows("DB", "PUBLIC", f"T{self.number + 1}")
        return [tuple(str(row[name]) for name in [*KEYS, "Amount", "Pieces"]) for row in rows]

    @property
    def _wanted(self) -> Lines:
        return self.world.rows[NEW].cast(pl.String).rows()

    def look(self) -> None:
        there, wanted = self._there(), set(self._wanted)
        if set(there) - wanted:
            raise Wrong(f"rows are changed: {sorted(set(there) - wanted)[:3]}")
        if len(there) > len(wanted) * self.most:
            raise Wrong(f"{len(there) - len(wanted)} rows came twice")

    def is_done(self) -> bool:
        # The state goes when all rows are committed. A process that dies after that has loaded them, and the same call
        # would be another load.
        states = list((self.folder / "cache" / "snowflake").glob("*/load.json"))
        return not states and len(self._there()) >= len(self._wanted)

    def check(self) -> None:
        there, wanted = Counter(self._there()), set(self._wanted)
        times = set(there.values())
        if set(there) != wanted or len(times) != 1 or not 1 <= times.copy().pop() <= self.most:
            raise Wrong(f"{len(wanted - set(there))} rows are lost, and there are some {times} times")


class Repair(Scene):
    """A repair moves aside what is damaged, and nothing else."""

    job = "repair"

    def prepare(self, numbers: random.Random) -> None:
        self.world.sandbox.add_model(self.world.models[NEW])
        queries: list[Callable[[Any], Any]] = [
            lambda model: model.facts(), lambda model: model.facts(where={"Store": "S1"}),
            lambda model: model.facts(where={"Store": "S2"}),
        ]  # fmt: skip
        with self.world.tenant(self.folder / "cache") as tenant:
            asked = [query(tenant.model("SALES")) for query in queries]
            for one in asked:
                one.refresh(progress=None, announce=lambda _: None)
        self._keys = [one.cache_key for one in asked]
        self._cache = Cache(self.folder / "cache")
        self._good = {key: self._cache.load(key) for key in self._keys[1:]}
        damaged = self._cache.show(self._keys[0]).path
        content = bytearray(damaged.read_bytes())
        content[numbers.randrange(4, len(content) // 3)] ^= 1 << numbers.randrange(8)
        damaged.write_bytes(content)
        staging = self.folder / "cache" / ".staging" / self._keys[1].name
        staging.mkdir(parents=True)
        (staging / "entry.parquet").write_bytes(b"PAR1 and no more")

    def look(self) -> None:
        for key, good in self._good.items():
            if self._cache.load(key) != good:
                raise Wrong("a good entry is changed")
        if self._cache.has(self._keys[0]):
            try:
                self._cache.load(self._keys[0])
            except CacheError:
                return
            raise Wrong("a damaged entry is read")
        if len(list((self.folder / "cache" / ".aside").iterdir())) != 1:
            raise Wrong("the damaged entry is gone")

    def check(self) -> None:
        self.look()
        if self._cache.repair() or self._cache.has(self._keys[0]):
            raise Wrong("it is not repaired")


SCENES: Final[tuple[type[Scene], ...]] = (Refresh, Export, Write, Append, Repair)
