"""A simulated year of ticks and proofs: when each window is stored and proved, what waits, and what is shed.

Within a minute every window is followed: the venues' answers one after another, the ticks of each process one after
another, then the first free prover, with service times drawn from those that were measured. From minute to minute only
numbers are carried: what was not proved waits, the newest first, and what cannot be caught up with is shed as
`app.steps.backlog` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import numpy as np

from app.bench.capacity_constants import SETTLE_S, VENUE_SPACING_S, VENUES, Constants
from app.bench.capacity_model import Plant
from app.bench.year_troubles import Troubles
from app.steps.backlog import Backlog
from app.types import BoolArray, FloatArray

Say = Callable[[str], None]
CATCH_UP_S = 600.0
_CHUNK = 8_192
_STRAGGLER_S = 0.5
_WITHIN_S = (1.0, 5.0, 60.0)
_NEVER = np.inf


@dataclass(slots=True)
class ProvingYear:
    """What came of all windows."""

    windows: int = 0
    skipped: int = 0
    """Too few venues had the minute."""
    shed: int = 0
    proved_later: int = 0
    """After they had waited for a later minute."""
    backlog_most: int = 0
    longest_wait_minutes: int = 0
    after_s: list[FloatArray] = field(default_factory=list)
    """From the minute's end to the proof, of those that no later minute had to prove."""
    waited_s: list[FloatArray] = field(default_factory=list)
    """Of that, since the prediction was stored."""
    stored_s: list[FloatArray] = field(default_factory=list)
    busy_minutes: list[FloatArray] = field(default_factory=list)
    """Cores that proved, in the mean of each minute."""

    def told(self) -> dict[str, Any]:
        after, stored = np.concatenate(self.after_s), np.concatenate(self.stored_s)
        due = self.windows - self.skipped
        waited = np.concatenate(self.waited_s)
        shares = {f"within_{limit:g}_s": round(float((waited <= limit).sum()) / due, 6) for limit in _WITHIN_S}
        busy = np.concatenate(self.busy_minutes)
        return {
            "windows": self.windows,
            "skipped": self.skipped,
            "shed": self.shed,
            "proved_later": self.proved_later,
            **shares,
            "stored_s": _spread(stored),
            "proved_s": _spread(after),
            "backlog_most": self.backlog_most,
            "longest_wait_minutes": self.longest_wait_minutes,
            "proving_cores": {"mean": round(float(busy.mean()), 3), "most": round(float(busy.max()), 3)},
        }


def proving_year(
    constants: Constants, plant: Plant, troubles: Troubles, seed: int, say: Say
) -> tuple[ProvingYear, BoolArray]:
    """The year, and in which minutes windows were proved in time to be published."""
    rng, year = np.random.default_rng([seed, 2]), ProvingYear()
    minutes = len(troubles.no_quorum)
    proved = np.zeros(minutes, dtype=np.int64)
    work_s = np.zeros(minutes)
    for first in range(0, minutes, _CHUNK):
        part = slice(first, min(minutes, first + _CHUNK))
        say(f"proving, {100 * first // minutes} % of the year")
        after, stored, served = _minutes(constants, plant, troubles, part, rng)
        in_time = np.isfinite(after) & (after <= 60 + SETTLE_S)
        proved[part] = in_time.sum(axis=1)
        work_s[part] = np.where(in_time, served, 0).sum(axis=1)
        year.after_s.append(after[in_time].astype(np.float32))
        year.waited_s.append((after - stored)[in_time].astype(np.float32))
        year.stored_s.append(stored[:: max(1, len(stored) // 500)].ravel().astype(np.float32))
    due = np.where(troubles.no_quorum, 0, plant.feeds)
    year.windows, year.skipped = minutes * plant.feeds, int(troubles.no_quorum.sum()) * plant.feeds
    _carry(constants, plant, troubles, due - np.where(troubles.no_quorum, 0, proved), work_s, year)
    return year, (proved > 0) & ~troubles.no_quorum


def _minutes(
    constants: Constants, plant: Plant, troubles: Troubles, part: slice, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Seconds from the minute's end until each window is proved and stored, and what its proof took, (minutes, feeds).

    Infinite where no prover is there.
    """
    stored = _stored(constants, plant, troubles.one_venue_away[part], rng)
    served = rng.choice(np.asarray(constants.proof_s), size=stored.shape)
    free = np.zeros((len(stored), plant.provers))
    free[troubles.provers_away[part]] = _NEVER
    free[troubles.half_away[part], plant.provers - plant.provers // 2 :] = _NEVER
    rows, after = np.arange(len(stored)), np.empty_like(stored)
    for place in np.argsort(stored[0]):  # by process and turn: nearly the order of arrival in every minute
        first = free.argmin(axis=1)
        done = np.maximum(stored[:, place], free[rows, first]) + served[:, place]
        free[rows, first] = done
        after[:, place] = done
    after[troubles.no_quorum[part]] = _NEVER
    return after, stored, served


def _stored(constants: Constants, plant: Plant, one_away: BoolArray, rng: np.random.Generator) -> FloatArray:
    """A process asks for one candle after another and reckons one window after another, each when it has both."""
    ticks = rng.choice(np.asarray(constants.tick_s), size=(len(one_away), plant.feeds))
    spacing = sorted(VENUE_SPACING_S.values())[VENUES // 2]
    stored = np.empty_like(ticks)
    done = np.zeros((len(one_away), plant.pipelines))
    late = np.where(one_away, _STRAGGLER_S, 0.0)
    for number in range(plant.feeds):
        turn, process = divmod(number, plant.pipelines)
        shown = SETTLE_S + (turn + 1) * spacing + late
        done[:, process] = np.maximum(done[:, process], shown) + ticks[:, number]
        stored[:, number] = done[:, process]
    return stored


def _carry(
    constants: Constants, plant: Plant, troubles: Troubles, left: Any, work_s: FloatArray, year: ProvingYear
) -> None:
    """What each minute leaves, ``left``, waits until later ones have time for it."""
    each_s = mean(constants.proof_s)
    keep_of = {slots: _bearable(each_s, plant, slots) for slots in (plant.provers, plant.provers - plant.provers // 2)}
    waiting: deque[list[int]] = deque()
    total = 0
    for minute in range(len(left)):
        slots = 0 if troubles.provers_away[minute] else plant.provers
        if slots and troubles.half_away[minute]:
            slots -= plant.provers // 2
        spare = int(max(0.0, 60 * slots - work_s[minute]) / each_s)
        while total and spare:
            newest = waiting[-1]
            taken = min(spare, newest[1])
            spare, total, newest[1] = spare - taken, total - taken, newest[1] - taken
            work_s[minute] += taken * each_s
            year.proved_later += taken
            year.longest_wait_minutes = max(year.longest_wait_minutes, minute - newest[0])
            if not newest[1]:
                waiting.pop()
        if left[minute]:
            waiting.append([minute, int(left[minute])])
            total += int(left[minute])
        year.backlog_most = max(year.backlog_most, total)
        while slots and total > keep_of[slots]:
            dropped = min(total - keep_of[slots], waiting[0][1])
            total, waiting[0][1] = total - dropped, waiting[0][1] - dropped
            year.shed += dropped
            if not waiting[0][1]:
                waiting.popleft()
    year.busy_minutes.append(work_s / 60)


def _bearable(each_s: float, plant: Plant, slots: int) -> int:
    """How many windows the product lets wait."""
    backlog = Backlog(CATCH_UP_S, plant.feeds / 60, plant.feeds)
    backlog.add(each_s, joint=False)
    found = backlog.bearable(slots)
    return plant.feeds if found is None else found[0]


def _spread(seconds: FloatArray) -> dict[str, float]:
    median, p95, p99 = np.percentile(seconds, [50, 95, 99])
    figures = {"median": median, "p95": p95, "p99": p99, "largest": seconds.max()}
    return {name: round(float(value), 3) for name, value in figures.items()}
