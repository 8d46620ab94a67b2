"""The files of the panel: what Jupyter reads of them, and what must not be in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import sacnb
import sacnb.lab

ROOM = Path(sacnb.lab.__file__).parent
PANEL = ROOM / "share" / "jupyter" / "labextensions" / "sacnb"


def test_jupyter_finds_both_parts() -> None:
    about = json.loads((PANEL / "package.json").read_text(encoding="utf-8"))
    assert (about["name"], about["version"]) == ("sacnb", sacnb.__version__)
    assert (PANEL / about["jupyterlab"]["_build"]["load"]).is_file()
    (folder,) = sacnb.lab._jupyter_labextension_paths()
    assert (ROOM / folder["src"]).samefile(PANEL)
    (point,) = sacnb.lab._jupyter_server_extension_points()
    config = json.loads((ROOM / "etc/jupyter/jupyter_server_config.d/sacnb.json").read_text(encoding="utf-8"))
    assert config["ServerApp"]["jpserver_extensions"] == {point["module"]: True}


def test_the_panel_asks_no_other_machine_and_writes_no_html_of_a_server() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (PANEL / "static").iterdir()}
    assert {"remoteEntry.js", "panel.js", "panel.css"} <= set(sources)
    for name, text in sources.items():
        addresses = set(re.findall(r"https?://[^\s'\"`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert addresses == set(), name
        # Texts of a server are set as text; the one sign that is drawn is our own.
        assert len(re.findall(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)) == (name == "tree.js"), (
            name
        )
