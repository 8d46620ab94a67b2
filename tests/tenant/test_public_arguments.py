"""Every argument of the public face is understood, or refused with one of our errors, and never changes its meaning."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import sacnb
from sacnb import Model, SacError, Tenant, planning, replay
from sacnb._settings import Settings
from sacnb.errors import QueryError, SettingsError
from sacnb.sandbox import Sandbox

NAMES = ["Version", "Date"]
QUERY = "select Sector from US_EMPLOYMENT limit 1"
WITH_PARAMETER = "select Sector from US_EMPLOYMENT where Date >= :p limit 1"


def kinds() -> list[Any]:
    """Every kind of scalar, iterable and array, made anew, because some can be read only once."""
    texts = [None, True, False, 0, 1, -1, 2.5, 1e6, float("nan"), float("inf"), 10**30]
    texts += [
        "",
        " ",
        "Version",
        "a'b",
        "\ud800",
        "\0",
        b"Version",
        bytearray(b"x"),
        memoryview(b"x"),
        "Version" * 1000,
    ]
    iterables = [NAMES, tuple(NAMES), set(NAMES), dict.fromkeys(NAMES).keys(), (n for n in NAMES), map(str, NAMES)]
    iterables += [
        filter(None, NAMES),
        iter(NAMES),
        deque(NAMES),
        range(3),
        [],
        {},
        {"Version": 1},
        {5: 5},
        [None],
        [[1]],
        [b"x"],
    ]
    arrays = [np.array(NAMES), np.array([]), np.array(5), np.array([["a"]]), pd.Series(NAMES), pd.Index(NAMES)]
    arrays += [pl.Series(NAMES), pa.array(NAMES), pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]})]
    scalars = [np.int64(3), np.float64(2), np.bool_(True), np.str_("Version"), np.datetime64("NaT"), pa.scalar(3)]
    scalars += [pd.NaT, pd.NA, pd.Timestamp("2015-01-01"), date(2015, 1, 1), timedelta(1), Decimal("1e999999999")]
    others = [pl.col("Version"), sacnb.col("Version"), sacnb.col("Version") == "x", object(), ..., 3 + 4j]
    return [*texts, *iterables, *arrays, *scalars, *others]


def on_disk(call: Callable[[Any], object]) -> Callable[[Any], object]:
    """*call*, whose errors of the file system are the caller's to handle."""

    def run(value: Any) -> None:
        with suppress(OSError):
            call(value)

    return run


@pytest.fixture
def model(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Model:
    return connect_to(sandbox).model("US_EMPLOYMENT")


@pytest.fixture
def arguments(
    sandbox: Sandbox, connect_to: Callable[..., Tenant], model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Callable[[Any], object]]:
    """Calls of the public face by the argument that they are given; none of them asks for rows in vain."""
    monkeypatch.chdir(tmp_path)
    sac = connect_to(sandbox)
    small = model.facts(where={"Sector": "31"}, since="2020", dims=["Version"])

    def record(**options: Any) -> None:
        with replay.cassette(**{"name": "x", "mode": "record", **options}):
            pass

    result = model.facts(where={"Sector": "31"}, limit=0).fetch()
    versions = {"base": "public.Plan", "against": "public.Actual"}
    of_facts = ("where", "since", "until", "date", "dims", "measures", "select", "order_by", "limit", "page_size")
    calls: dict[str, Callable[[Any], object]] = {
        f"facts({name})": lambda value, name=name: model.facts(**{name: value})
        for name in (*of_facts, "check_count", "partitions")
    }
    calls |= {
        f"where {name}": lambda value, name=name: model.facts(where={name: value}).url
        for name in ("Sector", "Employees", "Date")
    }
    calls |= {f"scan({name})": lambda value, name=name: model.scan(**{name: value}) for name in ("decimals", "dims")}
    calls |= {
        f"sql({name})": lambda value, name=name: sac.sql(QUERY, **{name: value})
        for name in ("parameters", "limit", "decimals", "lazy", "large_rows", "namespace")
    }
    calls |= {
        f"refresh({name})": lambda value, name=name: small.refresh(**{name: value}) for name in ("max_age_s", "strict")
    }
    calls |= {
        f"fetch({name})": lambda value, name=name: small.fetch(**{name: value}) for name in ("progress", "cancelled")
    }
    calls |= {
        f"connect({name})": lambda value, name=name: Settings.resolve(
            **{"environ": {}, "tenant_url": "sandbox", name: value}
        )
        for name in ("tenant_url", "page_size", "cache_dir", "ca_bundle", "log", "replay_cassette", "dotenv_path")
    }
    calls |= {
        f"cassette({name})": lambda value, name=name: record(**{name: value})
        for name in ("name", "mode", "hide", "secrets")
    }
    calls |= {
        f"tidy({name})": lambda value, name=name: result.tidy(**{name: value})
        for name in ("grain", "date", "agg", "labels")
    }
    calls |= {
        f"variance({name})": lambda value, name=name: result.variance(**{**versions, name: value})
        for name in ("base", "by", "measure", "grain", "accounts", "better")
    }
    calls |= {
        f"plot({name})": lambda value, name=name: result.plot(**{name: value})
        for name in ("by", "kind", "labels", "other", "title", "theme")
    }
    return (
        calls
        | {
            "to_csv": on_disk(result.to_csv),
            "to_arrow": on_disk(result.to_arrow),
            "separator": lambda value: result.to_csv(io.BytesIO(), separator=value),
            "from_parquet": on_disk(sacnb.Result.from_parquet),
            "pandas": lambda value: result.pandas(backend=value),
            "explore": lambda value: sac.explore(value).close(),
        }
        | {
            f"refresh_panel({name})": lambda value, name=name: model.refresh_panel(**{name: value}).close()
            for name in ("every_minutes", "grain", "agg")
        }
        | {
            f"cache.{name}": lambda value, name=name: getattr(sac.cache, name)(value)
            for name in ("show", "clear", "clean_staging", "history", "repair")
        }
        | {
            "cache.clear(older_than)": lambda value: sac.cache.clear(older_than=value),
            "clean_staging(older_than)": lambda value: sac.cache.clean_staging(older_than=value),
            "as_of": lambda value: sac.cache.as_of("x", value),
            "track(check_every)": lambda value: model.track(check_every=value),
            "to_snowflake(client)": lambda value: small.to_snowflake("T", client=value),
            "to_snowflake(channel)": lambda value: small.to_snowflake("T", channel=value),
            "spread(totals)": lambda value: planning.spread(value, {"Store": ["a"], "Amount": [1.0]}),
            "spread(scale)": lambda value: planning.spread(5, {"Store": ["a"], "Amount": [1.0]}, scale=value),
            "clear": lambda value: planning.clear(model, value, version="public.Nothing", dry_run=True),
            "what_if(where)": lambda value: planning.what_if(
                model, "public.Plan", base="public.Actual", where=value
            ).__enter__(),
            "write": lambda value: model.write(value, version="public.Nothing", dry_run=True),
            "write(pivot)": lambda value: model.write({"a": [1]}, version="x", pivot=value),
            "write(defaults)": lambda value: model.write({"a": [1]}, version="x", defaults={"Sector": value}),
        }
        | {
            "members": model.members,
            "model": sac.model,
            "model(namespace)": lambda value: sac.model("US_EMPLOYMENT", value),
            "models": sac.models,
            "explain(count)": lambda value: model.explain(count=value),
            "sql": sac.sql,
            "parameter": lambda value: sac.sql(WITH_PARAMETER, {"p": value}),
            "sac.explain": lambda value: sac.explain(QUERY, limit=value),
            "to_parquet": small.to_parquet,
            "partitions": small.partitions,
            "partitions(at_once)": lambda value: small.partitions(1, at_once=value),
            "read_slice": sacnb.read_slice,
            "read": sac.read,
            "scan_paths": replay.scan_paths,
            "scan_text": lambda value: list(replay.scan_text(value)),
            "known_secrets": lambda value: list(replay.scan_text("some text", known_secrets=value)),
            "record_notebook": replay.record_notebook,
            "prune": replay.prune,
        }
    )


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.long)])
def test_every_kind_of_value_is_understood_or_a_typed_error(
    arguments: dict[str, Callable[[Any], object]], step: int
) -> None:
    """Give each argument every eighth kind, the next argument the kinds after these; all to all in a long test."""
    untyped = []
    for number, (name, call) in enumerate(arguments.items()):
        for value in kinds()[number % step :: step]:
            try:
                call(value)
            except SacError as error:
                assert str(error)  # noqa: PT017 - only the type, and that it says something
            except Exception as error:  # noqa: BLE001 - what the test looks for
                untyped.append(f"{name}: {type(value).__name__} {value!r:.40}: {type(error).__name__}: {error!s:.80}")
    assert untyped == []


def iterables(of: list[str]) -> Iterator[Any]:
    yield from (of, tuple(of), (one for one in of), filter(None, of), map(str, of), dict.fromkeys(of).keys(), deque(of))
    yield from (np.array(of), pd.Series(of), pd.Index(of), pl.Series(of), pa.array(of))


@pytest.mark.parametrize("name", ["dims", "measures", "select", "order_by", "where"])
def test_a_list_of_names_is_the_same_query_in_every_kind_of_iterable(model: Model, name: str) -> None:
    of = {"dims": NAMES, "measures": ["Employees"], "select": [*NAMES, "Employees"], "order_by": ["-Date", "Sector"]}
    if name == "where":
        urls = {model.facts(where={"Sector": kind}).url for kind in iterables(["31", "32"])}
    else:
        urls = {model.facts(**{name: kind}).url for kind in iterables(of[name])}
    assert len(urls) == 1


def test_a_text_is_one_name(model: Model) -> None:
    assert model.facts(dims="Version").url == model.facts(dims=["Version"]).url
    assert model.facts(order_by="-Employees").url == model.facts(order_by=["-Employees"]).url


@pytest.mark.parametrize("wanted", [0, -1, 2.5, True, "many"])
def test_a_page_of_no_rows_is_refused(model: Model, wanted: Any) -> None:
    with pytest.raises(QueryError, match="page_size must be a whole number of at least 1"):
        model.facts(page_size=wanted)


def test_a_text_is_no_truth_value(model: Model) -> None:
    with pytest.raises(QueryError, match="check_count must be True or False, got 'False'"):
        model.facts(check_count="False")  # type: ignore[arg-type]


def test_an_array_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="page_size"):
        sacnb.connect("sandbox", page_size=np.array([1, 2]))  # type: ignore[arg-type]
    assert sacnb.connect("sandbox", page_size=np.int64(7)).settings.page_size == 7  # type: ignore[arg-type]
