"""Build as poetry-core does, and put the files of the side panel where Jupyter looks for them.

pip installs what is below ``<name>.data/data`` into the environment: ``share/jupyter`` and ``etc/jupyter``.
poetry-core has no setting for that, so this wraps it, as PEP 517 allows (``backend-path`` in pyproject.toml).
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from pathlib import Path

from poetry.core.masonry import api
from poetry.core.masonry.api import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_DATA = Path("sacnb", "lab")
_WHEN = (2016, 1, 1, 0, 0, 0)  # as poetry-core dates files, so that the same sources make the same wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel (PEP 517)."""
    return _with_data(wheel_directory, api.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build an editable wheel (PEP 660); its panel is a copy, so a change of it needs another installation."""
    return _with_data(wheel_directory, api.build_editable(wheel_directory, config_settings, metadata_directory))


def _with_data(folder: str, name: str) -> str:
    wheel = Path(folder, name)
    made = wheel.with_suffix(".new")
    files = sorted(file for below in ("etc", "share") for file in (_DATA / below).rglob("*") if file.is_file())
    distribution = "-".join(name.split("-")[:2])
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        record = f"{distribution}.dist-info/RECORD"
        lines = []
        for file in files:
            content = file.read_bytes()
            place = f"{distribution}.data/data/{file.relative_to(_DATA).as_posix()}"
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{place},sha256={digest},{len(content)}\n")
            entry = zipfile.ZipInfo(place, _WHEN)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            new.writestr(entry, content)
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry, "".join(lines).encode() + content if entry.filename == record else content)
    os.replace(made, wheel)
    return name
