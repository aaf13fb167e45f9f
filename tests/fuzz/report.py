"""What a session left behind, in words and as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_COVERED = re.compile(r"cov: (\d+)")
_ARTIFACTS = ("crash-", "timeout-", "oom-", "leak-")


@dataclass(slots=True)
class TargetReport:
    """Of one target, over all the sessions that it took."""

    target: str
    runs: int = 0
    seconds: float = 0.0
    """Within the product, without the making of inputs."""
    slowest_s: float = 0.0
    edges_covered: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    """By kind, the file that shows it."""

    def add(self, folder: Path, code: int, log: str) -> int:
        """The session that ended with ``code`` and wrote ``log``; gives how many inputs it ran."""
        path = folder / f"{self.target}.json"
        told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"runs": 0}
        path.unlink(missing_ok=True)
        self.runs += told["runs"]
        self.seconds += told.get("seconds", 0.0)
        self.slowest_s = max(self.slowest_s, told.get("slowest_s", 0.0))
        self.outcomes = dict((Counter(self.outcomes) + Counter(told.get("outcomes", {}))).most_common())
        self.findings.update(told.get("findings", {}))
        self.edges_covered = max([self.edges_covered, *map(int, _COVERED.findall(log))])
        for kind in _ARTIFACTS:
            for artifact in folder.glob(f"{self.target}-{kind}*"):
                self.findings[f"the process ended: {kind}{artifact.name[-8:]}"] = artifact.name
        if code and not told["runs"]:
            self.findings[f"the session did not start, code {code}"] = log[-400:]
        return int(told["runs"])

    def words(self) -> str:
        outcomes = ", ".join(f"{word} {count:,}" for word, count in self.outcomes.items())
        return (
            f"{self.target}: {self.runs:,} inputs in {self.seconds:.0f} s, slowest {self.slowest_s:.3f} s, "
            f"{self.edges_covered:,} edges, {len(self.findings)} findings\n  {outcomes}"
        )


def as_json(seed: int, reports: Sequence[TargetReport]) -> dict[str, Any]:
    return {
        "seed": seed,
        "runs": sum(report.runs for report in reports),
        "findings": sum(len(report.findings) for report in reports),
        "slowest_s": max((report.slowest_s for report in reports), default=0.0),
        "targets": [asdict(report) for report in reports],
    }
