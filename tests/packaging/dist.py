"""Install the built wheel with all its extras in an empty environment, and run README's Python and a first hour there.

python tests/packaging/dist.py dist/sacnb-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


def main(wheel: Path) -> None:
    """Raise CalledProcessError if the wheel cannot be installed, or a line of README or the first hour fails."""
    lines = "\n".join(_PYTHON.findall(README.read_text(encoding="utf-8")))
    if "sacnb.connect(" not in lines:
        raise SystemExit(f"{README} has no Python to run.")
    call(sys.executable, "-m", "sacnb", "replay", "scan", wheel.resolve(), cwd=ROOT)
    extras = ",".join(sorted(extras_of(wheel)))
    with tempfile.TemporaryDirectory(prefix="sacnb-dist-") as folder:
        home, work = Path(folder, "venv"), Path(folder, "work")
        work.mkdir()
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        print(f"Installing {wheel.name}[{extras}] in an empty environment ...", flush=True)
        call(sys.executable, "-m", "venv", home, cwd=work)
        call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[{extras}]", cwd=work)
        call(python, "-m", "pip", "check", cwd=work)
        # The file makes tracebacks name the line; the last expression of each block is not shown.
        (work / "readme.py").write_text(lines, encoding="utf-8")
        call(python, "-W", "error::DeprecationWarning:sacnb", "readme.py", cwd=work)
        place = "import sacnb; print('README ran with', sacnb.__version__, 'from', sacnb.__file__)"
        call(python, "-c", place, cwd=work)
        empty = Path(folder, "empty")
        empty.mkdir()
        call(python, Path(__file__).with_name("first_hour.py"), cwd=empty)


def extras_of(wheel: Path) -> list[str]:
    """Return the extras that the wheel's metadata offers."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return metadata.get_all("Provides-Extra", [])


def call(*command: str | Path, cwd: Path) -> None:
    """Run a command without what the environment of this script would lead it to."""
    environ = {
        name: value for name, value in os.environ.items() if name not in _FOREIGN and not name.startswith("SAC_")
    }
    # Neither the user's cache and profiles, nor a folder that is no longer empty.
    environ["SAC_CACHE_DIR"] = str(cwd.parent / "cache")
    environ["XDG_CONFIG_HOME"] = str(cwd.parent / "config")
    subprocess.run(list(map(str, command)), cwd=cwd, env=environ, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
