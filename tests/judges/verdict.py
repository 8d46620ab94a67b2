"""What a judge found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Verdict:
    """The outcome of one judge: how much it tried, what was wrong, and what it could not judge."""

    judge: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    not_judged: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [f"{self.judge}: {self.tried:,} tried, {len(self.wrong):,} wrong"]
        lines += [f"    not judged: {count:,} {reason}" for reason, count in sorted(self.not_judged.items())]
        lines += [f"    WRONG {one}" for one in sorted(self.wrong, key=len)[:20]]
        if len(self.wrong) > 20:
            lines.append(f"    ... and {len(self.wrong) - 20:,} more")
        return "\n".join(lines)
