"""What ``make test`` says at its start and at its end.

    python tests/summary.py begin        how long it will take
    python tests/summary.py end CODE     what ran, what was skipped and why, from the reports that pytest wrote

Runs before anything is installed, so it needs the standard library only.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

FOLDER = Path(__file__).parents[1] / ".tools" / "test"
LAST = FOLDER.with_name("last_test.json")
BEGAN = FOLDER / "began.json"
USUAL = "about nine and a half minutes on two free cores, and two more where .venv must be installed first"


@dataclass
class Tally:
    """Tests counted over all reports, and the reasons why some were skipped."""

    passed: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, report: Path) -> None:
        for case in ElementTree.parse(report).iter("testcase"):
            skip = case.find("skipped")
            if skip is not None:
                reason = skip.get("message", "no reason given")
                if reason == "collection skipped":  # a whole file; its text is ('path', line, 'Skipped: reason')
                    reason = (skip.text or reason).rpartition("Skipped: ")[2].strip("'\") ")
                self.skipped[reason] += 1
            elif case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            else:
                self.passed[report.stem] += 1

    def line(self, seconds: float, code: int) -> str:
        """Return one line: how it went, what ran, what did not and why."""
        ran = ", ".join(f"{count:,} {name}" for name, count in self.passed.items())
        parts = [f"make test {'passed' if code == 0 else 'FAILED'} after {duration(seconds)}"]
        parts.append(f"ran: {ran}" if ran else "no test ran")
        if self.failed:
            parts.append(f"failed: {self.failed}")
        reasons = "; ".join(f"{count} ({reason})" for reason, count in self.skipped.most_common())
        parts.append(f"skipped: {reasons or 'nothing'}")
        return " | ".join(parts)


def begin() -> str:
    """Forget the reports of an earlier run, and return a line that says how long this one takes."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    BEGAN.write_text(json.dumps(time.time()), encoding="utf-8")
    last = _read(LAST)
    return "make test takes " + (f"about {duration(last)}, as the last time here" if last else USUAL) + "."


def end(code: int) -> str:
    """Return the closing line, and remember how long a run that passed took."""
    tally = Tally()
    for report in sorted(FOLDER.glob("*.xml")):
        tally.add(report)
    seconds = time.time() - (_read(BEGAN) or time.time())
    if code == 0:
        LAST.write_text(json.dumps(seconds), encoding="utf-8")
    return tally.line(seconds, code)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["begin"]:
            print(begin())
        case ["end", code] if re.fullmatch(r"\d+", code):
            print(end(int(code)))
        case _:
            sys.exit(__doc__)
