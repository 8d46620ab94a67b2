"""Run the tests of Spark and Daft with the oldest and newer releases of each; docs/engines.md has the table.

    python tests/engines/versions.py                       all
    python tests/engines/versions.py pyspark==4.1.* daft   some of them, or others

Each has an environment of its own below ``.tools/engines``, made by uv from the package index. Java comes from the
system.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "engines"
VERSIONS = ("pyspark==4.0.0", "pyspark==4.1.*", "pyspark==4.2.*", "pyspark", "daft==0.6.0", "daft==0.7.0", "daft")
TESTS = {
    "pyspark": ("tests/engines/test_spark.py", "tests/engines/test_spark_options.py"),
    "daft": ("tests/engines/test_daft.py",),
}


def main(versions: list[str]) -> int:
    """Run the tests with each of these, all without names, and return 1 if one has failed."""
    uv = Path(sys.executable).with_name("uv")
    failed = []
    for version in versions or list(VERSIONS):
        engine = re.split("[<>=~]", version)[0]
        home = TOOLS / re.sub(r"[^a-z0-9.]+", "_", version).strip("_.")
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        print(f"{version}: installing ...", flush=True)
        call(uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
        extras = ("--extra", "sandbox", "--extra", {"pyspark": "spark"}.get(engine, engine))
        runners = ("pytest", "pytest-timeout", "hypothesis")
        call(uv, "pip", "install", "--quiet", "--python", python, "-r", "pyproject.toml", *extras, version, *runners)
        packages = subprocess.run([uv, "pip", "freeze", "--python", python], capture_output=True, text=True, check=True)
        told = [one for one in packages.stdout.split() if one.partition("==")[0] in {engine, "pandas", "pyarrow"}]
        print(f"{version}: {', '.join(told)}", flush=True)
        command = [python, "-m", "pytest", "-q", "-rs", "--timeout", "600", *TESTS[engine]]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        if subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode != 0:
            failed.append(version)
    print(f"Failed: {', '.join(failed)}" if failed else "All of them pass.")
    return int(bool(failed))


def call(*command: str | Path) -> None:
    """Run a command of the project. Raises CalledProcessError."""
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
