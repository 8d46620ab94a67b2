"""The sections of the document that are mostly tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.markdown import picture, rows_text, table
from benchmarks.pictures import GROWTH, MEMORY, RATIO
from benchmarks.results import FITTED_FROM_ROWS, Results
from sacnb.sandbox.misbehaviours import PAGE_SHAPES

__all__ = ["growth", "into_snowflake", "partitions", "rest", "shapes", "side_by_side", "upload"]

LATENCIES_MS: Final = (0, 50, 500)
# What each candidate is called, and what it gives.
_NAMES: Final = {
    "limits:network": ("network alone", "nothing; it knows the links"),
    "limits:gunzip": ("network plus gunzip: **the limit**", "nothing; it finds the links"),
    "ours:stream": ("sacnb `stream()`", "Arrow record batches"),
    "ours:fetch": ("sacnb `fetch()`", "an Arrow table"),
    "ours:polars": ("sacnb `fetch().polars()`", "a polars frame"),
    "ours:pandas": ("sacnb `fetch().pandas()`", "a pandas frame"),
    "ours:parquet": ("sacnb `to_parquet()`", "Parquet files"),
    "peers:loop": ("`requests`, `json`, pandas", "a pandas frame"),
    "peers:sacapi": ("`sacapi`", "a list of dictionaries"),
    "peers:sacapi_frame": ("`sacapi`, then pandas", "a pandas frame"),
    "peers:dlt": ("`dlt`, REST source", "Parquet files"),
    "peers:python_odata": ("`python-odata`", "a list of objects"),
}
_WAYS: Final = {"ours:stream": "`stream()`", "ours:parquet": "`to_parquet()`"}


def side_by_side(results: Results) -> str:
    """Everybody, at three latencies."""
    head = ("", "gives", *(f"{latency} ms" for latency in LATENCIES_MS), "limit = 1", "CPU s", "MB above idle")
    rows = []
    for candidate, (name, gives) in _NAMES.items():
        run = results.find("compare", candidate, latency_ms=50)
        scale = results.million // run["rows"]
        times = (f"{results.seconds(candidate, latency):.2f} s" for latency in LATENCIES_MS)
        ratio = f"{results.ratio(candidate, 'limits:gunzip'):.2f}"
        marked = name + (" ¹" if scale > 1 else "")
        rows.append((marked, gives, *times, ratio, f"{run['cpu_s'] * scale:.1f}", f"{run['above_idle_mb']:,.0f}"))
    json_mb, wire_mb = (f"{results.data['compare'][name]:.0f} MB" for name in ("json_mb", "wire_mb"))
    fewer = results.find("compare", "peers:python_odata", latency_ms=50)["rows"]
    return f"""## Side by side

{rows_text(results.million)} rows of 8 columns in {results.pages} pages: {json_mb} of JSON, {wire_mb} on the wire. The
latency is that of each page. The last three columns are at 50 ms: the time divided by that of the limit, the time of
the processor, and the most memory.

{picture(RATIO, _ratio_words(results))}

{table(head, rows)}

¹ Measured with {rows_text(fewer)} rows, and its times multiplied by {results.million // fewer}; the memory is that of
these rows, and would grow with them.

What the numbers do not say:

* `sacapi` stops after some 990 pages, since each page is a recursion. It neither repeats a request nor renews its
  token, and puts an error of its own in the place of SAC's. Its call for a model's metadata fetches the members of
  every dimension; that is not counted here.
* The loop repeats nothing, checks nothing, and infers the types of each page anew.
* `dlt` repeats requests, keeps state, infers a schema and normalizes every row in Python: it is made for any source.
  `python-odata` makes an object of every row.
* All of these make floats of decimals. sacnb keeps them exact, compares the count and all keys, and `to_parquet()` has
  every page on the disk as soon as it is decoded."""


def _ratio_words(results: Results) -> str:
    who = {
        "ours:pandas": "sacnb into pandas",
        "peers:loop": "requests and pandas",
        "peers:sacapi_frame": "sacapi and pandas",
        "ours:parquet": "sacnb into Parquet",
        "peers:dlt": "dlt into Parquet",
        "limits:gunzip": "the limit",
    }
    return "Bars of seconds. " + " ".join(
        f"At {latency} ms a page: "
        + ", ".join(f"{name} {results.seconds(candidate, latency):.1f}" for candidate, name in who.items())
        + "."
        for latency in LATENCIES_MS
    )


def growth(results: Results) -> str:
    """From few rows to many."""
    head = ["rows"] + [f"{way} {what}" for way in _WAYS.values() for what in ("s", "CPU s", "MB above idle")]
    rows = [
        (
            rows_text(pair[0]["rows"]),
            *(
                text
                for run in pair
                for text in (f"{run['seconds']:.2f}", f"{run['cpu_s']:.2f}", f"{run['above_idle_mb']:.0f}")
            ),
        )
        for pair in zip(*(results.growth(candidate) for candidate in _WAYS), strict=True)
    ]
    exponents = " and ".join(
        f"{results.exponent(one):.2f} for {way} ({results.exponent(one, 'cpu_s'):.2f} in CPU seconds)"
        for one, way in _WAYS.items()
    )
    fitted = [run["rows"] for run in results.growth("ours:stream") if run["rows"] >= FITTED_FROM_ROWS]
    first, last = results.growth("ours:stream")[0], results.largest("ours:stream")
    alt = (
        f"Two plots of lines: seconds by rows, both axes logarithmic, for stream() from {first['seconds']:.2f} s for "
        f"{rows_text(first['rows'])} rows to {last['seconds']:.1f} s for {rows_text(last['rows'])}; and the most "
        f"memory by rows, from {first['above_idle_mb']:.0f} to {last['above_idle_mb']:.0f} MB above idle."
    )
    memory = " ".join(_level(results, candidate, way) for candidate, way in _WAYS.items())
    return f"""## Growth

At 50 ms a page. Below {rows_text(FITTED_FROM_ROWS)} rows a pull costs what a request costs, whatever the rows. From
there the time grows with an exponent of {exponents}. That
is the slope of the line through the logarithms of rows and seconds, by least squares over
{", ".join(map(rows_text, fitted))} rows: 1 means twice the time for twice the rows.

{picture(GROWTH, alt)}

{table(head, rows)}

The memory of the largest of these pulls, looked at from outside every 100 ms, with the interpreter and its libraries:

{picture(MEMORY, "Two lines of memory over time. " + memory)}

{memory} What grows is eight bytes a row, by which repeated keys are found:
{8 * last["rows"] / 1e6:.0f} MB at the end, and never more than 128."""


def _level(results: Results, candidate: str, way: str) -> str:
    samples = results.largest(candidate)["runs"][0]["samples"]
    fifth = max(1, len(samples) // 5)
    early, late = (_mean(part) for part in (samples[fifth : 2 * fifth], samples[-fifth:]))
    return f"{way} has {early:.0f} MB on average in the second fifth of its time, and {late:.0f} MB in the last."


def _mean(samples: Sequence[Sequence[float]]) -> float:
    return statistics.fmean(mb for _, mb in samples)


def partitions(results: Results) -> str:
    """Several streams."""
    runs = sorted(results.data["partitions"]["runs"], key=lambda run: (run["rows"], run["partitions"]))
    rows = [
        (
            rows_text(run["rows"]),
            str(run["partitions"]),
            f"{run['seconds']:.2f}",
            f"{results.speedup(run['rows'], run['partitions']):.2f}",
            f"{run['above_idle_mb']:.0f}",
        )
        for run in runs
    ]
    return f"""## Partitions

`fetch()` at 500 ms a page, with as many streams as partitions. Before the first page SAC is asked for the members of a
dimension, and then for the count of each part: two waits. And where the rows of a part end within a page, that page
costs as much as a full one. So partitions gain more, the more rows there are.

{table(("rows", "partitions", "s", "times as fast as one", "MB above idle"), rows)}"""


def shapes(results: Results) -> str:
    """What SAC's unusual pages cost."""
    ratios = sorted(results.shapes().items(), key=lambda pair: pair[1])
    rows = [(f"`{name}`", PAGE_SHAPES[name], f"{ratio:.2f}") for name, ratio in ratios]
    return f"""## Shapes of a page

Decoding 50,000 rows beside the same rows as a plain page, each the best of several, in turns. Only the columns that
need it are read in another way. What is refused, such as half a character, is not in this list.

{table(("shape", "what it is", "plain = 1"), rows)}"""


def rest(results: Results) -> str:
    """The cache, imports, the first batch, the session, the decoder."""
    write, read, file = (results.data["cache"][name] for name in ("write", "read", "file"))
    inside, imports = results.data["inside"], results.data["imports"]
    stream = results.find("compare", "ours:stream", latency_ms=50)
    first_ms = statistics.median(run["first_s"] for run in stream["runs"]) * 1000
    page_ms = results.seconds("limits:gunzip", 50) / results.pages * 1000
    ours, theirs = inside["decode_ours_ms"], inside["decode_theirs_ms"]
    rows = [
        (f"keep {rows_text(write['rows'])} rows in the cache", f"{write['seconds']:.2f} s, {_file_mb(write):.0f} MB"),
        ("have them back as polars, in a fresh process", f"{read['seconds']:.2f} s ({_all(read)})"),
        ("the same file by polars alone, without checksums", f"{file['seconds']:.2f} s ({_all(file)})"),
        ("ten rows from a cold process: `requests` and pandas", f"{results.data['cold']['theirs']['ms']:.0f} ms"),
        ("the same: sacnb and polars", f"{results.data['cold']['ours']['ms']:.0f} ms"),
        ("`import pandas`", f"{imports['pandas']['ms']:.0f} ms"),
        ("`import sacnb`", f"{imports['sacnb']['ms']:.0f} ms"),
        ("the first page, come and unpacked, at 50 ms", f"{page_ms:.0f} ms"),
        ("the first batch of `stream()`", f"{first_ms:.0f} ms"),
        ("a request, the network left out: `OAuth2Session`", f"{inside['request_bare_us']:.0f} µs"),
        ("the same: sacnb, read to the end and checked", f"{inside['request_ours_us']:.0f} µs"),
        ("of it the guard of the token", f"{inside['request_guard_us']:.1f} µs"),
        ("a request over loopback: `OAuth2Session`", f"{inside['loopback_bare_us']:.0f} µs"),
        ("the same: sacnb", f"{inside['loopback_ours_us']:.0f} µs"),
        ("decode 50,000 rows: `json` and pandas", f"{theirs:.0f} ms"),
        ("decode 50,000 rows: sacnb", f"{ours:.0f} ms, {theirs / ours:.1f} times as fast"),
        ("decode 50,000 rows that the fast decoder refuses", f"{inside['decode_strict_ms']:.0f} ms"),
        ("decode with two threads beside one", f"{inside['decode_threads_ratio']:.2f} times as fast"),
        *_writes(inside),
    ]
    return f"""## The rest

{table(("what", "measured"), rows)}"""


def _writes(inside: dict[str, float]) -> list[tuple[str, str]]:
    """Rows sent to SAC, as far as a run has measured them, and to Snowflake by runs before it had a section."""
    uploaded = f"{inside.get('upload_rows', 50_000):,.0f}"
    appended = f"{inside.get('snowpipe_rows', 0):,.0f}"
    lines = {
        "upload_ours_ms": (f"upload {uploaded} rows of a write: sacnb", "ms", 0),
        "upload_theirs_ms": ("the same: `sacapi`, from a list of dictionaries", "ms", 0),
        "upload_wire_ms": ("the same bytes by `requests` alone", "ms", 1),
        "snowpipe_ours_s": (f"append {appended} rows to the Snowflake simulator: sacnb", "s", 2),
        "snowpipe_naive_s": ("the same: one append a page, each waited for", "s", 2),
        "snowflake_sign_ms": ("sign a token for Snowflake (goal: below 10 ms)", "ms", 2),
        "snowflake_guard_ms": ("its guard, for each request (goal: below 5 ms)", "ms", 4),
    }
    return [
        (what, f"{inside[name]:,.{digits}f} {unit}") for name, (what, unit, digits) in lines.items() if name in inside
    ]


_INTO_SNOWFLAKE: Final = (
    ("snowflake:ours", 1, "sacnb, one channel"),
    ("snowflake:ours", 4, "sacnb, four channels"),
    ("snowflake:sdk", None, "Snowflake's SDK, from dictionaries that are ready"),
    ("snowflake:naive", None, "one append for 10,000 rows, each waited for"),
)


def upload(results: Results) -> str:
    """Rows into an import job beside others; empty where a run has not measured it."""
    if "upload" not in results.data:
        return ""
    found = results.data["upload"]
    wire_s = found["wire"]["seconds"]
    names = {
        "wire": "the wire: bytes that are there already",
        "sacnb": "sacnb: check, encode, send",
        "sacapi": "`sacapi`",
    }
    rows = [
        (name, f"{found[one]['seconds']:.2f} s", f"{found['rows'] / found[one]['seconds']:,.0f}",
         f"{found[one]['seconds'] / wire_s:.2f}")
        for one, name in names.items()
    ]  # fmt: skip
    return f"""## Upload

{rows_text(found["rows"])} rows of 5 columns, {found["mb"]:.0f} MB of JSON, from a polars frame to a server on this
machine that only reads them, in one upload. sacnb checks types, lengths, digits and repeated keys, and keeps decimals
exact; `sacapi` checks nothing, and takes dictionaries, which the frame is made into. Members are not checked here, and
nothing is read back: how long SAC takes for that, and for the import itself, is not known.

{table(("", "s", "rows a second", "the wire = 1"), rows)}"""


def into_snowflake(results: Results) -> str:
    """Rows into the simulator of Snowflake beside others; empty where a run has not measured it."""
    if "snowflake" not in results.data:
        return ""
    found = results.data["snowflake"]

    def run(candidate: str, channels: int | None) -> dict[str, Any]:
        return results.find("snowflake", candidate, **({} if channels is None else {"channels": channels}))

    best = run("snowflake:ours", 4)["seconds"]
    rows = []
    for candidate, channels, name in _INTO_SNOWFLAKE:
        one = run(candidate, channels)
        ratio = f"{one['seconds'] / best:.2f}"
        costs = (f"{one['cpu_s']:.2f}", f"{one['simulator_cpu_s']:.2f}", f"{one['above_idle_mb']:.0f}")
        rows.append((name, f"{one['seconds']:.2f} s", ratio, *costs))
    load = run("snowflake:load", 3)
    samples = load["runs"][0]["samples"]
    fifth = max(1, len(samples) // 5)
    means = [f"{_mean(samples[at : at + fifth]):.0f}" for at in range(0, 5 * fifth, fifth)]
    dictionaries_s = statistics.median(one["dictionaries_s"] for one in run("snowflake:sdk", None)["runs"])
    naive, sdk = (run(name, None)["seconds"] / best for name in ("snowflake:naive", "snowflake:sdk"))
    return f"""## Into Snowflake

{rows_text(results.million)} rows into [the simulator](snowflake.md#try-it-without-an-account), which is not
Snowflake: it reads each row on this machine, and has no network between. One channel is held to the 20 MB a second,
before compression, that Snowflake allows it. The SDK takes dictionaries; to make them of the frame takes another
{dictionaries_s:.1f} s.

{table(("", "s", "four channels = 1", "CPU s of the client", "CPU s of the simulator", "MB above idle"), rows)}

Four channels take {1 / sdk:.2f} times as long as the SDK (goal: at most 1.5), and the naive client {naive:.2f} times as
long as they (goal: at least 3). A token is signed in {found["sign_ms"]:.2f} ms (goal: below 10), and its guard takes
{found["guard_ms"]:.4f} ms a request (goal: below 5).

`to_snowflake(channels=3)` loads as many rows from the sandbox in {load["seconds"]:.1f} s. Its memory, looked at from
outside every 100 ms, on average in each fifth of that time: {", ".join(means)} MB."""


def _file_mb(run: dict[str, Any]) -> float:
    return float(run["runs"][0]["file_mb"])


def _all(run: dict[str, Any]) -> str:
    return ", ".join(f"{one['seconds']:.2f}" for one in run["runs"])
