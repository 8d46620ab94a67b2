"""What is measured within one process, by the tests marked ``benchmark``: the decoder, and the cost of a request."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

__all__ = ["measure_inside"]


def measure_inside() -> dict[str, float]:
    """Run them, and take what they recorded as properties out of pytest's report."""
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "benchmark", "-p", "no:randomly", str(here)]
        # The newer forms of this report have no place for properties.
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        subprocess.run(command, check=True, cwd=here.parents[1], stdout=sys.stderr)
        return {one.attrib["name"]: round(float(one.attrib["value"]), 3) for one in ET.parse(report).iter("property")}
