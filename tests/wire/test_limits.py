"""What comes is bounded by settings, in memory too, and an error names the setting that it passed."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sacnb import planning
from sacnb._auth import ClientCredentials, TokenEnvelope
from sacnb._auth.token import utc_now
from sacnb._files import read_bounded
from sacnb._odata.page import read_pages
from sacnb._settings import Secret
from sacnb._settings.files import read_dotenv
from sacnb._settings.variables import Bound, Limits
from sacnb._wire import DispatchContext
from sacnb.errors import BadAnswer, QueryError, RefreshError, ReplayError, SettingsError
from sacnb.replay.document import read
from sacnb.snowflake.engine import engine
from sacnb.snowflake.settings import resolve

PATH = "/api/v1/dataexport/things"
Connect = Callable[..., DispatchContext]


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """Fail where more memory is taken meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1_000_000
    finally:
        tracemalloc.stop()


# -- answers ----------------------------------------------------------------------------------------------------------


def test_what_is_no_page_of_rows_has_the_shorter_bound(tenant: Any, reply: Any, connect: Connect) -> None:
    body = gzip.compress(b'{"value":[' + b" " * 20_000_000 + b"]}")
    tenant.answers[PATH] = [reply(body=body, headers={"Content-Encoding": "gzip"})]
    session = connect(tenant, max_document_mb=2, max_answer_mb=30).session
    with at_most(15), pytest.raises(BadAnswer, match=r"longer than 2 MB \(SAC_MAX_DOCUMENT_MB\)") as caught:
        session.fetch("GET", PATH, operation="list things")
    assert caught.value.hint == "If the answer is right, raise SAC_MAX_DOCUMENT_MB."
    assert len(session.fetch("GET", PATH, operation="read rows", is_bulk=True).body) > 20_000_000


def test_the_smaller_of_both_bounds_holds(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(body=b'{"value":[' + b" " * 1_000_001 + b"]}")]
    with pytest.raises(BadAnswer, match=r"1 MB \(SAC_MAX_ANSWER_MB\)") as caught:
        connect(tenant, max_document_mb=2, max_answer_mb=1).session.fetch("GET", PATH, operation="list things")
    assert (
        caught.value.hint
        == "A lower SAC_PAGE_SIZE makes pages shorter. If the answer is right, raise SAC_MAX_ANSWER_MB."
    )


def test_an_answer_of_snowflake_has_a_bound_of_its_own(tenant: Any, reply: Any) -> None:
    tenant.answers[PATH] = [reply(body=b"{" + b" " * 1_000_001 + b"}")]
    source: Any = SimpleNamespace(name="s", principal="p", renewable=True, fetch=_token)
    context = engine(tenant.url, source, token_type="OAUTH", verify=True, max_answer_mb=1)
    with context, pytest.raises(BadAnswer, match=r"1 MB \(SNOWFLAKE_MAX_ANSWER_MB\)") as caught:
        context.session.fetch("GET", PATH, operation="channel status")
    assert str(caught.value.hint).endswith("If the answer is right, raise SNOWFLAKE_MAX_ANSWER_MB.")


def _token(now: datetime) -> TokenEnvelope:
    return TokenEnvelope(Secret("t"), now, now + timedelta(hours=1))


@pytest.mark.filterwarnings("ignore:A pasted token")
@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "many"])
def test_a_bound_of_snowflake_is_a_whole_number(wrong: str) -> None:
    given = {"SNOWFLAKE_ACCOUNT": "a-b", "SNOWFLAKE_TOKEN": "t", "SNOWFLAKE_MAX_ANSWER_MB": wrong}
    with pytest.raises(SettingsError, match=r"SNOWFLAKE_MAX_ANSWER_MB is .* expected megabytes"):
        resolve({}, given)
    assert resolve({}, {**given, "SNOWFLAKE_MAX_ANSWER_MB": "7"}).max_answer_mb == 7


def test_a_reply_to_a_request_for_a_token_has_a_megabyte(raw: Any) -> None:
    bomb = gzip.compress(b'{"access_token":"' + b"x" * 30_000_000 + b'"}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    raw.answer = lambda _: [head + bomb]
    with at_most(15), pytest.raises(RefreshError, match="longer than 1 MB"):
        ClientCredentials(raw.url + "/oauth/token", "client", "canary-secret").fetch(utc_now())


# -- lists ------------------------------------------------------------------------------------------------------------


class Pages:
    """A list whose pages have ``rows`` rows each, and no end."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.asked = 0

    def get(self, url: str) -> Any:
        self.asked += 1
        body = {"value": [{"ID": str(n)} for n in range(self.rows)], "@odata.nextLink": f"/things?at={self.asked}"}
        return SimpleNamespace(body=json.dumps(body).encode(), status=200, url=url)


@pytest.mark.parametrize(
    ("rows", "setting", "asked"),
    [(7, "SAC_MAX_LIST_ROWS", 15), (0, "SAC_MAX_EMPTY_PAGES", 20)],
)
def test_a_list_without_an_end_is_given_up(rows: int, setting: str, asked: int) -> None:
    pages = Pages(rows)
    limits = Limits(list_rows=100, empty_pages=20)
    with pytest.raises(BadAnswer, match=rf"\({setting}\)") as caught:
        read_pages(pages.get, "https://acme.invalid/things", limits)
    assert f"raise {setting}" in str(caught.value.hint)
    assert pages.asked == asked


def test_all_members_up_to_the_bound_are_read_and_one_more_is_refused() -> None:
    body = b'{"value":[' + b"{}," * 49_999 + b"{}]}"
    found = SimpleNamespace(body=body, status=200, url="https://acme.invalid/things")
    limits = Limits(list_rows=50_000)
    assert len(read_pages(lambda _: found, found.url, limits)) == 50_000
    found.body = body.replace(b"[{}", b"[{},{}", 1)
    with at_most(20), pytest.raises(BadAnswer, match=r"more than 50,000 rows \(SAC_MAX_LIST_ROWS\)"):
        read_pages(lambda _: found, found.url, limits)


def test_the_settings_reach_the_session(tenant: Any, connect: Connect) -> None:
    given = connect(tenant, max_answer_mb=3, max_document_mb=2, max_list_rows=7, max_empty_pages=5)
    assert given.session.limits == Limits(Bound(3, "SAC_MAX_ANSWER_MB"), Bound(2, "SAC_MAX_DOCUMENT_MB"), 7, 5)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_MAX_FILE_MB", "1")


@pytest.mark.usefixtures("one_megabyte")
def test_a_cassette_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.cassette.json"
    path.write_bytes(b" " * 1_000_001)
    with pytest.raises(ReplayError, match=r"longer than 1 MB \(SAC_MAX_FILE_MB\); if that is right, raise"):
        read(path)


@pytest.mark.usefixtures("one_megabyte")
def test_a_workbook_that_unpacks_to_more_than_the_bound_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 20_000_000)
    assert path.stat().st_size < 100_000
    for source in (path, io.BytesIO(path.read_bytes())):
        with at_most(5), pytest.raises(QueryError, match=r"longer than 1 MB \(SAC_MAX_FILE_MB\)"):
            planning.read_template(source)


@pytest.mark.usefixtures("one_megabyte")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_of_a_pipe_without_an_end_no_more_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            for _ in range(1_000):
                file.write(b" " * 65_536)

    writer = threading.Thread(target=write)
    writer.start()
    with at_most(4), pytest.raises(OSError, match="SAC_MAX_FILE_MB"):
        read_bounded(pipe)
    writer.join()


@pytest.mark.parametrize("wrong", ["0", "-1", "1e3", "many", "9" * 30])
def test_a_bound_of_files_that_is_none_is_said(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.cassette.json"
    path.write_bytes(b"{}")
    monkeypatch.setenv("SAC_MAX_FILE_MB", wrong)
    with pytest.raises(ReplayError, match=r"SAC_MAX_FILE_MB is .*; expected a whole number of megabytes"):
        read(path)


def test_a_file_of_settings_has_a_megabyte(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"#" * 1_000_000)
    assert read_dotenv(path) == {}
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(SettingsError, match="longer than 1 MB"):
        read_dotenv(path)
