"""Cassettes are found by their name from where one works, upwards, and recorded where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacnb.errors import ReplayError
from sacnb.replay.document import find, name_of, place_for


@pytest.fixture
def tree(folder: Path) -> Path:
    """A checkout with notebooks, and with more cassettes above it that are none of its business."""
    for path in (
        "cassettes/top.cassette.json",
        "cassettes/both.cassette.json",
        "notebooks/beside.cassette.json",
        "notebooks/both.cassette.json",
        "../cassettes/outside.cassette.json",
    ):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("{}", encoding="utf-8")
    (folder / "notebooks" / "deep").mkdir()
    return folder


@pytest.mark.parametrize(
    ("start", "name", "found"),
    [
        (".", "top", "cassettes/top.cassette.json"),
        ("notebooks", "top", "cassettes/top.cassette.json"),
        ("notebooks/deep", "top", "cassettes/top.cassette.json"),
        ("notebooks", "beside", "notebooks/beside.cassette.json"),
        ("notebooks", "both", "notebooks/both.cassette.json"),
        (".", "both", "cassettes/both.cassette.json"),
        (".", "notebooks/beside.cassette.json", "notebooks/beside.cassette.json"),
        (".", Path("notebooks/beside.cassette.json"), "notebooks/beside.cassette.json"),
        ("notebooks", "../cassettes/top.cassette.json", "notebooks/../cassettes/top.cassette.json"),
    ],
)
def test_a_cassette_is_found(tree: Path, start: str, name: str | Path, found: str) -> None:
    assert find(name, tree / start) == tree / found


def test_the_working_directory_is_where_it_begins(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "notebooks")
    assert name_of(find("beside")) == "beside"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("outside", "There is: both, top."),
        ("tap", "Did you mean 'top'?"),
        ("beside", "There is: both, top."),
        ("other/x.json", "There is no cassette .*x.json"),
        ("", "needs a name"),
    ],
)
def test_one_that_is_not_there_is_named_with_those_that_are(tree: Path, name: str, message: str) -> None:
    with pytest.raises(ReplayError, match=message):
        find(name, tree)


def test_where_there_are_none_it_says_how_to_make_one(folder: Path) -> None:
    with pytest.raises(ReplayError, match="record"):
        find("x", folder)


@pytest.mark.parametrize(
    ("start", "name", "place"),
    [
        ("notebooks", "top", "cassettes/top.cassette.json"),
        ("notebooks", "beside", "notebooks/beside.cassette.json"),
        ("notebooks/deep", "new", "cassettes/new.cassette.json"),
        ("notebooks", "here/new.json", "notebooks/here/new.json"),
        (".", Path("new"), "new"),
    ],
)
def test_a_recording_belongs_over_the_old_one_or_into_the_nearest_folder(
    tree: Path, start: str, name: str | Path, place: str
) -> None:
    assert place_for(name, tree / start) == tree / place


def test_without_a_folder_it_belongs_beside_the_notebook(folder: Path) -> None:
    assert place_for("new", folder) == folder / "new.cassette.json"
