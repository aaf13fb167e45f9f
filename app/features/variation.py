"""Observation ``variation-v1``: how much the market moved, minute by minute, over the last week, and what time it is.

The inputs, in this order:

* mean absolute one-minute log return over each of `SHORT_WINDOWS` minutes before the window's end;
* the same over each of the last 168 hours, newest first;
* the clock at the window's end: sine and cosine of the minute of the day at one, two and three cycles, then the weekday
  (Monday first) as a one-hot.

Means are standardised with the training mean and deviation, clipped, multiplied by 2**input_scale and rounded half to
even. All arithmetic before the last rounding is IEEE 754 on integers, so training, serving, attesting and auditing get
the same integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import WindowIncomplete
from app.features.returns import MISSING, absolute_returns, median_returns
from app.types import MINUTE_MS, CandlesByVenue, FloatArray, IntArray, Observation, Window, iso

NAME = "variation-v1"
SHORT_WINDOWS = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240)
HOURS = 168
WINDOW_MINUTES = HOURS * 60
CANDLES_NEEDED = WINDOW_MINUTES + 1
"""The first return needs the close before it."""
CYCLES = (1, 2, 3)
VARIATION_INPUTS = len(SHORT_WINDOWS) + HOURS
INPUTS = VARIATION_INPUTS + 2 * len(CYCLES) + 7

MAX_MISSING_SHARE = 0.05
"""Of the whole window, eight hours: above it the week is not known well enough."""
MAX_MISSING_IN_PART = 0.5
"""Of a part: a mean over less than half its minutes is not that part's mean. A short window like that refuses all;
an hour takes the mean of the week instead, so that an outage of a venue does not silence the feed for seven days.
"""


@dataclass(frozen=True, slots=True)
class VariationSpec:
    """The constants of a model's observation, as its manifest states them.

    ``mean`` and ``deviation`` have shape (179,), in nano log return per minute; ``clip`` is in deviations.
    """

    mean: FloatArray
    deviation: FloatArray
    clip: float
    input_scale: int
    quorum: int = 1

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> VariationSpec:
        spec = cls(
            mean=np.asarray(entry["mean"], dtype=np.float64),
            deviation=np.asarray(entry["deviation"], dtype=np.float64),
            clip=float(entry["clip"]),
            input_scale=int(entry["input_scale"]),
            quorum=int(entry["quorum"]),
        )
        if entry["name"] != NAME:
            raise ValueError(f"observation {entry['name']!r} is not {NAME!r}")
        if spec.mean.shape != (VARIATION_INPUTS,) or spec.deviation.shape != (VARIATION_INPUTS,):
            raise ValueError(f"mean and deviation must hold {VARIATION_INPUTS} numbers each")
        if not (np.isfinite(spec.mean).all() and (spec.deviation > 0).all() and spec.clip > 0):
            raise ValueError("mean must be finite, deviation and clip positive")
        if spec.to_manifest() != dict(entry):
            raise ValueError("the stated windows, hours or rules are not those of this observation")
        return spec

    def to_manifest(self) -> dict[str, Any]:
        return {
            "name": NAME,
            "inputs": INPUTS,
            "short_windows_minutes": list(SHORT_WINDOWS),
            "hours": HOURS,
            "clock_cycles_per_day": list(CYCLES),
            "return_unit": "nano absolute log return per minute",
            "max_missing_share": MAX_MISSING_SHARE,
            "max_missing_in_part": MAX_MISSING_IN_PART,
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "clip": self.clip,
            "input_scale": self.input_scale,
            "quorum": self.quorum,
        }


def observe(window: Window, spec: VariationSpec) -> Observation:
    """The observation of a window.

    Raises `WindowIncomplete` when too many of its minutes are missing.
    """
    start_ms = window.end_ms - WINDOW_MINUTES * MINUTE_MS
    by_venue = {venue: absolute_returns(candles, start_ms, window.end_ms) for venue, candles in window.candles.items()}
    if not by_venue:
        raise WindowIncomplete("no venue has candles for this window")
    returns = median_returns(by_venue, spec.quorum)
    ends = np.asarray([len(returns)])
    if returns[-1] == MISSING:
        raise WindowIncomplete(f"the last minute before {iso(window.end_ms)} is missing")
    means, complete = variation_means(returns, ends)
    if not complete[0]:
        missing = int((returns == MISSING).sum())
        raise WindowIncomplete(
            f"{missing} of {WINDOW_MINUTES} minutes before {iso(window.end_ms)} have no return: more than "
            f"{MAX_MISSING_SHARE:.0%} of the window, or half of one of its last {SHORT_WINDOWS[-1]} minutes' parts"
        )
    values = quantise(means, np.asarray([window.end_ms]), spec)[0]
    return Observation(
        feed=window.feed,
        window_end_ms=window.end_ms,
        values=tuple(int(v) for v in values),
        venues=tuple(sorted(window.candles)),
        candles_sha256=candles_digest(window.candles),
    )


def variation_means(returns: IntArray, ends: IntArray) -> tuple[FloatArray, Any]:
    """Mean absolute return of every part of many windows at once, over the minutes that are known.

    ``returns`` is one value per minute, ``ends`` the index after each window's last minute (each ≥ `WINDOW_MINUTES`).
    Gives (len(ends), 179) float64 in nano per minute, and a mask of the windows that are complete enough to use.
    """
    here = returns != MISSING
    total = np.concatenate(([0], np.cumsum(np.where(here, returns, 0))))
    count = np.concatenate(([0], np.cumsum(here)))
    after = np.stack([ends] * len(SHORT_WINDOWS) + [ends - 60 * hour for hour in range(HOURS)], axis=1)
    length = np.asarray([*SHORT_WINDOWS, *([60] * HOURS)])
    sums = total[after] - total[after - length]
    counts = count[after] - count[after - length]
    known = count[ends] - count[ends - WINDOW_MINUTES]
    week = (total[ends] - total[ends - WINDOW_MINUTES]) / np.maximum(known, 1)
    enough = counts >= (1 - MAX_MISSING_IN_PART) * length
    means = np.where(enough, sums / np.maximum(counts, 1), week[:, None])
    recent = enough[:, : len(SHORT_WINDOWS)].all(axis=1)
    return means, recent & (known >= (1 - MAX_MISSING_SHARE) * WINDOW_MINUTES)


def clock_inputs(window_end_ms: IntArray) -> FloatArray:
    """Season of each time, shape (n, 13), within [−1, 1]."""
    minutes = window_end_ms // MINUTE_MS
    angle = 2 * np.pi * (minutes % 1440) / 1440
    waves = [wave(cycle * angle) for cycle in CYCLES for wave in (np.sin, np.cos)]
    weekday = (minutes // 1440 + 3) % 7  # 1970-01-01 was a Thursday
    return np.column_stack([*waves, np.eye(7)[weekday]])


def quantise(means: FloatArray, window_end_ms: IntArray, spec: VariationSpec) -> IntArray:
    """Means and times to the circuit's integers, shape (n, 192)."""
    standard = np.clip((means - spec.mean) / spec.deviation, -spec.clip, spec.clip)
    inputs = np.concatenate([standard, clock_inputs(window_end_ms)], axis=1)
    integers: IntArray = np.rint(inputs * 2**spec.input_scale).astype(np.int64)
    return integers


def candles_digest(candles: CandlesByVenue) -> str:
    """SHA-256 (hex) over ``venue:digest`` lines, venues in alphabetical order."""
    lines = "".join(f"{venue}:{candles[venue].digest()}\n" for venue in sorted(candles))
    return hashlib.sha256(lines.encode()).hexdigest()
