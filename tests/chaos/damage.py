"""Damage every kind of file that sacnb keeps, one byte or one cut at a time: noticed or harmless, never a wrong row.

``python -m chaos.damage --times 200 --seed 7`` prints how often what was noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import random
import shutil
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest import mock

import polars as pl

import sacnb.replay
from sacnb._pull import parquet
from sacnb._pull.publish import Publication
from sacnb._settings import Settings
from sacnb._settings.files import profiles_path, save_dotenv, save_profile
from sacnb._tenant import Tenant
from sacnb.errors import SacError
from sacnb.snowflake import load
from sacnb.snowflake.chunks import Chunker
from sacnb.snowflake.client import SnowflakeClient
from sacnb.snowflake.delivery import Delivery
from sacnb.snowflake.settings import resolve

from .scenes import KEYS, NEW, OLD, World, Wrong, ordered

_PAGE: Final = 50


class Time:
    """A clock that moves by waits alone."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def clock(self) -> float:
        """Return monotonic seconds."""
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.passed_s += seconds


TIME: Final = Time()
CLOCKS: Final[dict[str, Any]] = {"clock": TIME.clock, "sleep": TIME.sleep}


@dataclass
class Report:
    """What happened: damages by kind of file, how many were noticed, and everything that may not be."""

    seed: int
    damages: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Kept:
    """A kind of file: ``make`` leaves it, and ``use`` does what comes next."""

    kind: ClassVar[str]

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder

    @property
    def tenant(self) -> Tenant:
        """A connection with the folder as its cache."""
        return self.world.tenant(self.folder / "cache", **CLOCKS)

    def make(self) -> None:
        """Leave the files in the folder."""

    def use(self) -> None:
        """Go on with the files. Raises SacError where damage is noticed, Wrong where rows are wrong."""

    def restore(self) -> None:
        """Bring back what is kept elsewhere than in the folder."""

    def same(self, rows: pl.DataFrame, state: str = NEW) -> None:
        """Raise Wrong for other rows than SAC has, or had."""
        if not ordered(rows).equals(self.world.rows[state]):
            raise Wrong(f"{rows.height} rows are not those of SAC")


def _facts(tenant: Tenant) -> Any:
    return tenant.model("SALES").facts(page_size=_PAGE)


def _stop_after(pages: int) -> Callable[[object], None]:
    left = [pages]

    def progress(_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return progress


@contextmanager
def _small_files() -> Iterator[None]:
    with (
        mock.patch.dict(parquet.to_parquet.__kwdefaults__ or {}, rows_per_part=100),
        mock.patch.dict(Chunker.__init__.__kwdefaults__ or {}, target_bytes=0),
        mock.patch.object(load, "_BATCH_ROWS", 40),
    ):
        yield


class Entry(Kept):
    kind = "cache entry"

    def make(self) -> None:
        with self.tenant as tenant:
            _facts(tenant).refresh(progress=None, announce=lambda _: None)

    def use(self) -> None:
        with self.tenant as tenant:
            self.same(tenant.cache.load(_facts(tenant).cache_key).polars(decimals=True))


class EarlierResult(Kept):
    kind = "earlier result"

    def make(self) -> None:
        for state in (OLD, NEW):
            self.world.sandbox.add_model(self.world.models[state])
            with self.tenant as tenant:
                result = _facts(tenant).refresh(progress=None, announce=lambda _: None)
            if state == OLD:
                self._time = result.info.last_refresh_time

    def use(self) -> None:
        with self.tenant as tenant:
            self.same(tenant.cache.as_of(self._time, _facts(tenant).cache_key).polars(decimals=True), OLD)


class UnfinishedRefresh(Kept):
    kind = "unfinished refresh"

    def make(self) -> None:
        with self.tenant as tenant, contextlib.suppress(KeyboardInterrupt):
            _facts(tenant).refresh(progress=_stop_after(3))

    def use(self) -> None:
        with self.tenant as tenant:
            self.same(_facts(tenant).refresh(strict=True, progress=None).polars(decimals=True))


class UnfinishedExport(Kept):
    kind = "unfinished export"

    def make(self) -> None:
        with self.tenant as tenant, contextlib.suppress(KeyboardInterrupt), _small_files():
            _facts(tenant).to_parquet(self.folder / "rows", progress=_stop_after(3))

    def use(self) -> None:
        with self.tenant as tenant, _small_files():
            _facts(tenant).to_parquet(self.folder / "rows", progress=None)
        self.same(pl.concat([pl.read_parquet(path) for path in sorted((self.folder / "rows").iterdir())]))


class DecidedExport(UnfinishedExport):
    kind = "export that is being published"

    def make(self) -> None:
        stopped = mock.patch.object(Publication, "finish", side_effect=KeyboardInterrupt)
        with self.tenant as tenant, contextlib.suppress(KeyboardInterrupt), _small_files(), stopped:
            _facts(tenant).to_parquet(self.folder / "rows", progress=None)


class UnfinishedLoad(Kept):
    kind = "unfinished load"

    def make(self) -> None:
        self.world.snowflake.reset()
        left, send = [3], Delivery._send

        def dies(delivery: Delivery, chunk: Any) -> None:
            send(delivery, chunk)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        with mock.patch.object(Delivery, "_send", dies), contextlib.suppress(KeyboardInterrupt):
            self._load()
        self.world.snowflake.settle()
        if not 0 < len(self._there()) < self.world.rows[NEW].height:
            raise Wrong("the load is not unfinished")
        store = self.world.snowflake._store
        self._state = copy.deepcopy((store._channels, store._rows))

    def restore(self) -> None:
        store = self.world.snowflake._store
        store._channels, store._rows = copy.deepcopy(self._state)

    def _load(self) -> None:
        with (
            self.tenant as tenant,
            SnowflakeClient(resolve(self.world.account, {}), **CLOCKS) as client,
            _small_files(),
        ):
            _facts(tenant).to_snowflake("damage", client=client, progress=None)

    def _there(self) -> list[tuple[str, ...]]:
        rows = self.world.snowflake.rows("DB", "PUBLIC", "DAMAGE")
        return [tuple(str(row[name]) for name in [*KEYS, "Amount", "Pieces"]) for row in rows]

    def use(self) -> None:
        wanted = self.world.rows[NEW].cast(pl.String).rows()
        try:
            self._load()
        except SacError:
            self.world.snowflake.settle()
            there = self._there()
            if len(set(there)) != len(there) or set(there) - set(wanted):
                raise Wrong("the damage is noticed too late: rows are changed or doubled") from None
            raise
        if sorted(self._there()) != sorted(wanted):
            raise Wrong("the rows in the table are not those of SAC")


class Cassette(Kept):
    kind = "cassette"

    @property
    def _path(self) -> Path:
        return self.folder / "damage.cassette.json"

    def make(self) -> None:
        with sacnb.replay.cassette(self._path, "record"), self.tenant as tenant:
            _facts(tenant).fetch(progress=None)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def use(self) -> None:
        with sacnb.replay.cassette(self._path, "replay"), sacnb.connect() as tenant:
            self.same(_facts(tenant).fetch(progress=None).polars(decimals=True))


class Profile(Kept):
    """A profile holds no rows: any tenant that it may name then is asked with a secret that it does not know."""

    kind = "profile"

    def make(self) -> None:
        with self._home():
            save_profile("damage", self._values(), in_keyring=False)
            self._settings()

    def use(self) -> None:
        with self._home():
            self._settings()

    def _values(self) -> dict[str, Any]:
        return {f"SAC_{name.upper()}": value for name, value in self.world.address.items()}

    @contextmanager
    def _home(self) -> Iterator[None]:
        home = {"XDG_CONFIG_HOME": str(self.folder), "HOME": str(self.folder), "APPDATA": str(self.folder)}
        with mock.patch.dict(os.environ, home):
            if not profiles_path().is_relative_to(self.folder):
                raise Wrong(f"profiles are not looked for in {self.folder}")
            yield

    def _settings(self) -> None:
        Settings.resolve(environ={"SAC_PROFILE": "damage"})


class Dotenv(Kept):
    """As a profile."""

    kind = ".env"

    def make(self) -> None:
        save_dotenv(self.folder / ".env", {f"SAC_{name.upper()}": value for name, value in self.world.address.items()})

    def use(self) -> None:
        Settings.resolve(environ={}, dotenv_path=str(self.folder / ".env"))


KINDS: Final[tuple[type[Kept], ...]] = (
    Entry, EarlierResult, UnfinishedRefresh, UnfinishedExport, DecidedExport, UnfinishedLoad, Cassette, Profile, Dotenv,
)  # fmt: skip


def damage(seed: int, times: int, files: int | None = None) -> Report:
    """Damage each file of each kind (or some *files* of each) as often as *times* says."""
    report = Report(seed)
    top = Path(tempfile.mkdtemp(prefix="sacnb-damage-"))
    world = World(can_mount=False)
    try:
        world.sandbox.add_model(world.models[NEW])
        for kind in KINDS:
            _damage(kind(world, top / "work"), report, top / "kept", times, files)
    finally:
        world.close()
        shutil.rmtree(top)
    return report


def _damage(kept: Kept, report: Report, copied: Path, times: int, files: int | None) -> None:
    kept.folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept.make()
        kept.folder.rename(copied)
        names = sorted(path.relative_to(copied) for path in copied.rglob("*") if path.is_file())
        names = [name for name in names if name.suffix != ".lock"]
        if not names:
            raise Wrong(f"{kept.kind}: there is no file to damage")
        if files is not None:
            names = random.Random(report.seed).sample(names, min(files, len(names)))
        # Undamaged first: what does not work then would count as noticed.
        for name in [None, *(one for one in names for _ in range(times))]:
            _use(kept, report, copied, name)
    shutil.rmtree(copied)
    shutil.rmtree(kept.folder, ignore_errors=True)


def _use(kept: Kept, report: Report, copied: Path, name: Path | None) -> None:
    shutil.rmtree(kept.folder, ignore_errors=True)
    shutil.copytree(copied, kept.folder)
    kept.restore()
    what = "as it was"
    if name is not None:
        report.damages[kept.kind] += 1
        numbers = random.Random(f"{report.seed}/{name.name}/{report.damages[kept.kind]}")
        what = f"{name}, {spoil(kept.folder / name, numbers)}"
    try:
        kept.use()
    except SacError as error:
        report.noticed[kept.kind] += 1
        if name is None:
            report.wrong.append(f"{kept.kind}, {what}: {error}")
    except Wrong as wrong:
        report.wrong.append(f"{kept.kind}, {what}: {wrong}")
    except Exception:  # noqa: BLE001 - whatever is no error of ours is a finding
        report.wrong.append(f"{kept.kind}, {what}: {traceback.format_exc()}")


def spoil(path: Path, numbers: random.Random) -> str:
    """Change one byte of a file, or cut it off; return what was done."""
    content = bytearray(path.read_bytes())
    if numbers.random() < 0.25:
        length = numbers.randrange(len(content))
        path.write_bytes(content[:length])
        return f"cut to {length} of {len(content)} bytes"
    place = numbers.randrange(len(content))
    before = content[place]
    # A digit that becomes another digit is still JSON, and a number: the damage that is hardest to notice.
    is_digit = 48 <= before <= 57
    content[place] = 48 + (before - 48 + numbers.randint(1, 9)) % 10 if is_digit else before ^ 1 << numbers.randrange(8)
    path.write_bytes(content)
    return f"byte {place} of {len(content)} changed from {before} to {content[place]}"


def main() -> int:
    """Read the arguments, do the damage, print the report; return 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="damage", description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="damages of each file")
    parser.add_argument("--seed", type=int, default=None, help="by default another one each time")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    report = damage(seed, given.times)
    print(json.dumps(vars(report), indent=2))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
