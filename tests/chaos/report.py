"""What came of all faults: a JSON file for machines, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from app.types import iso
from tests.chaos.driving import HELD, Result


@dataclass(frozen=True, slots=True)
class RigReport:
    name: str
    folder: str
    hours: float
    """Of the market."""
    figures: dict[str, int]
    after: Sequence[str]
    """What did not hold at the very end."""


@dataclass(frozen=True, slots=True)
class Report:
    seed: int
    wanted: int
    wanted_hours: float
    seconds: float
    invariants: Sequence[str]
    rigs: Sequence[RigReport]
    results: Sequence[Result]

    @property
    def hours(self) -> float:
        return sum(one.hours for one in self.rigs)

    @property
    def failures(self) -> list[str]:
        """One line each; none is a pass."""
        lines = [f"{one.rig} #{one.number} {one.fault}: {one.result}" for one in self.results if one.result != HELD]
        lines += [f"{one.name} at the end: {words}" for one in self.rigs for words in one.after]
        if len(self.results) < self.wanted:
            lines.append(f"only {len(self.results)} of {self.wanted} faults were played in the time there was")
        if self.hours < self.wanted_hours:
            lines.append(f"only {self.hours:.1f} of {self.wanted_hours:g} hours of the market were lived through")
        return lines

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self._as_json(), indent=1) + "\n")

    def _as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "hours": round(self.hours, 2),
            "invariants": list(self.invariants),
            "rigs": [asdict(one) for one in self.rigs],
            "totals": totals(self.results),
            "failures": self.failures,
            "results": [asdict(one) for one in self.results],
        }

    def markdown(self) -> str:
        return "\n".join([*self._every_fault(), "", *self._totals(), "", *self._summary()])

    def _every_fault(self) -> list[str]:
        rows = [
            f"| {one.number + 1} | {one.rig} | {iso(one.market_ms)} | {one.fault} | {_seconds(one.recovery_s)} | "
            f"{one.result} |"
            for one in self.results
        ]
        return ["| # | rig | market time | fault | recovery, s | result |", "|--:|---|---|---|--:|---|", *rows]

    def _totals(self) -> list[str]:
        rows = [
            f"| {kind} | {of['count']} | {_seconds(of['median_s'])} | {_seconds(of['worst_s'])} | {of['failed']} |"
            for kind, of in totals(self.results).items()
        ]
        return ["| fault | count | median, s | worst, s | failed |", "|---|--:|--:|--:|--:|", *rows]

    def _summary(self) -> list[str]:
        lines = [
            f"{len(self.results)} faults, seed {self.seed}, {self.hours:.1f} h of the market in {self.seconds:.0f} s.",
            f"Invariants, looked at after each: {'; '.join(self.invariants)}.",
        ]
        for one in self.rigs:
            counts = ", ".join(f"{many} {what}" for what, many in one.figures.items())
            lines.append(f"{one.name}: {one.hours:.1f} h, {counts}; logs in {one.folder}.")
        return [*lines, *([f"FAILED: {line}" for line in self.failures] or ["All of them hold."])]


def totals(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Per kind of fault: how often, median and worst recovery in seconds, and how many failed."""
    found: dict[str, dict[str, Any]] = {}
    for kind in sorted({one.kind for one in results}):
        of = [one for one in results if one.kind == kind]
        seconds = [one.recovery_s for one in of if one.recovery_s is not None]
        found[kind] = {
            "count": len(of),
            "median_s": median(seconds) if seconds else None,
            "worst_s": max(seconds, default=None),
            "failed": sum(one.result != HELD for one in of),
        }
    return found


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
