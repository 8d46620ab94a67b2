"""Progress: a bar in a notebook, a line in a terminal, and nothing where outputs are compared."""

from __future__ import annotations

import gc
import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import pytest

import sacnb.replay
from sacnb._pull.progress import Progress
from sacnb._tenant import Tenant
from sacnb._wire.telemetry import RequestEvent
from sacnb.errors import QueryError, SacError
from sacnb.notebook import progress, progress_bar
from sacnb.notebook.progress_bar import TAG
from sacnb.sandbox import Sandbox


def _is_open(found: object) -> bool:
    return isinstance(found, widgets.HBox) and found.comm is not None  # those of earlier tests are closed


def box_of(bundle: dict[str, Any]) -> Any:
    """Return the widget that a displayed bundle shows."""
    model_id = bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    (found,) = [one for one in gc.get_objects() if _is_open(one) and one.model_id == model_id]
    return found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_overwritten() -> None:
    terminal = Terminal()
    listen = progress(stream=terminal)
    listen(Progress(10, 1, 30, 0.0))
    listen(Progress(20, 2, 30, 0.1))  # too soon
    listen(Progress(30, 3, 30, 0.15))  # the last one is always shown
    assert terminal.getvalue() == "\r\x1b[K10 of 30 rows, 1 page\r\x1b[K30 of 30 rows, 3 pages\n"


def test_a_file_gets_nothing() -> None:
    file = io.StringIO()
    progress(stream=file)(Progress(30, 3, 30, 0.0))
    assert file.getvalue() == ""


def test_a_notebook_gets_a_bar_with_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    import IPython.display

    shown: list[Any] = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", lambda bundle, **_: shown.append(bundle))
    listen = progress()
    listen(Progress(15, 1, 30, 0.0))
    (bundle,) = shown
    assert bundle["text/plain"] == "Downloading: 15 of 30 rows, 1 page"  # for a console without widgets
    bar, text = box_of(bundle).children
    assert isinstance(bar, widgets.FloatProgress)
    assert (bar.value, text.value) == (0.5, "<div>15 of 30 rows, 1 page</div>")
    listen(Progress(30, 2, None, 1.0))
    assert "30 rows, 2 pages" in text.value


def test_a_pull_tells_it(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    terminal = Terminal()
    facts = connect_to(sandbox, page_size=100).model("US_EMPLOYMENT").facts(where={"Sector": "31"})
    facts.fetch(progress=progress(stream=terminal))
    assert terminal.getvalue().endswith("\n")
    assert "228 of 228 rows, 3 pages" in terminal.getvalue()


def test_nothing_is_shown_while_a_cassette_is_in_use(tmp_path: Path) -> None:
    terminal = Terminal()
    with sacnb.replay.cassette(tmp_path / "a.yaml", mode="record"):
        progress(stream=terminal)(Progress(30, 3, 30, 0.0))
    assert terminal.getvalue() == ""


class Screen:
    """The outputs of a kernel: displays, their updates, and the cell of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import IPython
        import IPython.display

        self.shown: list[Any] = []
        self.left: list[dict[str, str]] = []
        self.cells: list[Any] = []
        self.running: Any = {"msg_id": "first cell"}
        self._thread_parent: Any = None
        shell = SimpleNamespace(kernel=object(), display_pub=self)
        monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
        monkeypatch.setattr(IPython.display, "display", self.display)

    @property
    def parent_header(self) -> Any:
        """As of ipykernel 7: the thread's own cell, or else the running one."""
        return self._thread_parent or self.running

    def set_thread_parent(self, parent: Any) -> Any:
        before, self._thread_parent = self._thread_parent, parent
        return before

    def reset_thread_parent(self, before: Any) -> None:
        self._thread_parent = before

    def display(self, shown: Any, *, raw: bool, display_id: bool, metadata: dict[str, Any]) -> Any:
        assert metadata == {TAG: True}
        assert (raw, display_id) == (True, True)
        self.shown.append(shown)
        self.cells.append(self.parent_header["msg_id"])
        return SimpleNamespace(update=self.update)

    def update(self, texts: dict[str, str], *, raw: bool, metadata: dict[str, Any]) -> None:
        assert metadata == {TAG: True}
        self.left.append(texts)
        self.cells.append(self.parent_header["msg_id"])


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    return Screen(monkeypatch)


@pytest.fixture
def slow(sandbox: Sandbox, connect_to: Callable[..., Tenant], time: Any) -> Tenant:
    """A tenant whose answers take 0.7 seconds of the test's clock."""
    tenant = connect_to(sandbox, page_size=100)
    tenant.telemetry.add_hook(lambda event: time.advance(0.7) if isinstance(event, RequestEvent) else None)
    return tenant


WHERE = {"Sector": "31"}
WAYS: dict[str, Callable[[Tenant, Path], object]] = {
    "fetch": lambda sac, _: sac.model("US_EMPLOYMENT").facts(where=WHERE).fetch(),
    "refresh": lambda sac, _: sac.model("US_EMPLOYMENT").refresh(where=WHERE),
    "to_parquet": lambda sac, folder: sac.model("US_EMPLOYMENT").facts(where=WHERE).to_parquet(folder / "jobs"),
    "scan": lambda sac, _: sac.model("US_EMPLOYMENT").scan(where=WHERE).collect(),
    "sql": lambda sac, _: sac.sql("select * from US_EMPLOYMENT where Sector = '31'"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_long_download_in_a_notebook_shows_a_bar_and_leaves_text(
    way: str, slow: Tenant, screen: Screen, tmp_path: Path
) -> None:
    WAYS[way](slow, tmp_path)
    (bundle,) = screen.shown
    assert "HBox" not in bundle["text/plain"]
    model_id = bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert model_id not in widgets.Widget.get_manager_state()["state"]  # closed: a bar belongs to its kernel
    (left,) = screen.left
    assert left["text/plain"].startswith("228 rows, 3 pages, in ")
    assert left["text/html"] == f"<div>{left['text/plain']}</div>"


def test_a_quick_download_shows_nothing(
    sandbox: Sandbox, connect_to: Callable[..., Tenant], screen: Screen, tmp_path: Path
) -> None:
    quick = connect_to(sandbox, page_size=100)
    for way in WAYS.values():
        way(quick, tmp_path)
    assert (screen.shown, screen.left) == ([], [])


def test_a_failed_download_leaves_its_progress(slow: Tenant, sandbox: Sandbox, screen: Screen) -> None:
    sandbox.misbehave("error_503", on="facts", after=2)
    with pytest.raises(SacError):
        slow.model("US_EMPLOYMENT").facts(where=WHERE).fetch()
    (left,) = screen.left
    assert left["text/plain"].startswith("200 of 228 rows, 2 pages, in ")


def test_the_bar_of_a_thread_appears_in_the_cell_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    import IPython.display
    from ipykernel.zmqshell import ZMQDisplayPublisher

    publisher = ZMQDisplayPublisher()
    cells: list[str] = []

    def display(*_: Any, **__: Any) -> Any:
        cells.append(publisher.parent_header["msg_id"])
        return SimpleNamespace(update=lambda *_, **__: None)

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object(), display_pub=publisher))
    monkeypatch.setattr(IPython.display, "display", display)
    begun, later = threading.Event(), threading.Event()

    def pull() -> None:
        with progress_bar.long_work() as listen:
            begun.set()
            later.wait(20)
            listen(Progress(10, 1, 30, 2.0))

    publisher.set_parent({"header": {"msg_id": "first cell"}})
    thread = threading.Thread(target=pull)
    thread.start()
    assert begun.wait(20)
    publisher.set_parent({"header": {"msg_id": "second cell"}})
    later.set()
    thread.join()
    assert cells == ["first cell"]
    assert publisher.parent_header["msg_id"] == "second cell"


def test_progress_can_be_none_or_a_function(slow: Tenant, screen: Screen) -> None:
    facts = slow.model("US_EMPLOYMENT").facts(where=WHERE)
    facts.fetch(progress=None)
    seen: list[int] = []
    facts.fetch(progress=lambda reached: seen.append(reached.rows))
    assert seen == [100, 200, 228]
    assert screen.shown == []
    with pytest.raises(QueryError, match="progress must be a function or 'auto', got 'always'"):
        facts.fetch(progress="always")  # type: ignore[arg-type]


def test_a_program_shows_none(slow: Tenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without IPython, in a terminal of IPython, and where ipywidgets is missing."""
    import IPython

    monkeypatch.setattr(progress_bar, "_Bar", None)
    for shell in (None, SimpleNamespace(kernel=None), SimpleNamespace()):
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        for way in WAYS.values():
            way(slow, tmp_path)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    WAYS["fetch"](slow, tmp_path)


def test_under_a_cassette_there_is_none_however_long_it_takes(screen: Screen, tmp_path: Path) -> None:
    with sacnb.replay.cassette(tmp_path / "a.json", mode="record"), progress_bar.long_work() as listen:
        listen(Progress(10, 1, 30, 100.0))
    assert (screen.shown, screen.left) == ([], [])


def test_a_bar_stays_in_the_cell_that_started_the_download(slow: Tenant, screen: Screen) -> None:
    """A thread outlives its cell, and by default displays in whatever cell is running."""
    facts = slow.model("US_EMPLOYMENT").facts(where=WHERE)
    slow.telemetry.add_hook(lambda _: screen.__setattr__("running", {"msg_id": "second cell"}))
    facts.fetch()
    assert screen.cells == ["first cell", "first cell"]


def test_without_a_console_progress_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        progress()(Progress(30, 3, 30, 0.0))
