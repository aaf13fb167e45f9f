"""A run: rigs side by side, each with its schedule."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.driving import Drive, Result
from tests.chaos.invariants.watch import Watch
from tests.chaos.report import Report, RigReport
from tests.chaos.schedule import Cast, Planned, schedule
from tests.rig.ground import Ground, ground
from tests.rig.rig import ALONE, TWO_OF_EACH, Rig, RigOptions, rig

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
_CLOSING_S = 40.0
"""What is left of the time limit for the last look and the end of everything."""
_POSTGRES_SHARE = 0.68
"""Of the faults: there more are played at once, for others go on where one is down."""

SHED_SOON = {"CATCH_UP_S": "45"}
"""What waits for its proof in vain is known for stuck soon, and not taken for a backlog."""


@dataclass(frozen=True, slots=True)
class Play:
    options: RigOptions
    planned: Sequence[Planned]
    at_once: int
    lives_ms: int
    """Market time that the rig is kept for at least, unless time runs out."""


def cast_of(options: RigOptions) -> Cast:
    with_workers = [name for name, role in options.processes.items() if role in ("serve", "prover")]
    return Cast(options.store, tuple(options.processes), with_workers)


def plays(seed: int, faults: int, hours: float, speed: float) -> list[Play]:
    """`serve` on SQLite, and two of every role on one PostgreSQL."""
    alone = RigOptions("sqlite", "sqlite", ALONE, speed, seed, settings=SHED_SOON)
    many = RigOptions("postgresql", "postgresql", TWO_OF_EACH, speed, seed + 1, settings=SHED_SOON)
    of_many = round(faults * _POSTGRES_SHARE)
    lives_ms = round(hours * _HOUR_MS / 2)
    return [
        Play(alone, schedule(seed, faults - of_many, cast_of(alone)), 2, lives_ms),
        Play(many, schedule(seed, of_many, cast_of(many)), 3, lives_ms),
    ]


def run(
    seed: int, plays: Sequence[Play], folder: Path, limit_s: float, tell: Callable[[Result], None], hours: float = 0.0
) -> Report:
    """All plays at the same time. Raises `ExceptionGroup`, or what kept a rig from coming up."""
    began_s = time.monotonic()
    deadline_s = began_s + limit_s - _CLOSING_S
    names: list[str] = []
    results: list[Result] = []
    with ground(folder / "ground") as shared, ThreadPoolExecutor(max_workers=len(plays)) as players:
        played = [players.submit(_play, play, shared, folder / play.options.name, deadline_s, tell) for play in plays]
        reports = []
        for one in played:
            report, of_rig, names = one.result()
            reports.append(report)
            results += of_rig
    wanted = sum(len(play.planned) for play in plays)
    return Report(seed, wanted, hours, time.monotonic() - began_s, names, reports, results)


def _play(
    play: Play, shared: Ground, folder: Path, deadline_s: float, tell: Callable[[Result], None]
) -> tuple[RigReport, list[Result], list[str]]:
    with rig(play.options, shared, folder) as running:
        watch = Watch(running)
        drive = Drive(running, watch, play.planned, at_once=play.at_once, tell=tell, over_ms=play.lives_ms)
        drive.go(deadline_s)
        _live_on(running, watch, play.lives_ms, deadline_s)
        after = watch.settle()
        hours, figures = running.lived_ms() / _HOUR_MS, watch.figures()
    after += [f"no process left behind: {words}" for words in [*running.left_behind(), *running.still_there()]]
    report = RigReport(play.options.name, str(running.folder), hours, figures, after)
    return report, drive.results, watch.names


def _live_on(running: Rig, watch: Watch, lives_ms: int, deadline_s: float) -> None:
    """In peace, where the faults were over before the market's hours."""
    while running.lived_ms() < lives_ms and time.monotonic() < deadline_s:
        time.sleep(1.0)
