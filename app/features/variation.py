"""Observation ``variation-v1``: how much the market moved, minute by minute, over the last week, and what time it is.

The inputs, in this order:

* the level of each of `PARTS` of the week before the window's end, newest first: ten short windows that end with it,
  the twenty hours before them, the thirty-six blocks of four hours before those. A block five days back is as long as
  the forecast's horizon and, like every sixth, at its time of day;
* the clock of New York at the window's end: sine and cosine of the minute of the day at one, two and three cycles, the
  weekday (Monday first) as a one-hot, and the same six waves again at weekends, else zeros. American market hours and
  announcements move crypto prices, and summer time moves those against UTC.

A level is the square root of the mean absolute one-minute log return: volatility is skewed, and a linear forecast from
roots is better. Levels are standardised with the training mean and deviation, clipped, multiplied by 2**input_scale and
rounded half to even. All arithmetic before the last rounding is IEEE 754 on integers, the correctly rounded square root
included, so training, serving, attesting and auditing get the same integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from app.errors import WindowIncomplete
from app.features.returns import MISSING, NANO, MarketSeries, absolute_returns, market_returns
from app.types import MINUTE_MS, BoolArray, CandlesByVenue, FloatArray, IntArray, Observation, Window, iso

NAME = "variation-v1"
SHORT_WINDOWS = (5, 10, 20, 30, 45, 60, 90, 120, 180, 240)
"""Minutes, each up to the window's end."""
SINGLE_HOURS = range(4, 24)
"""Counted back from the window's end, as the blocks are; 0 is the last."""
FOUR_HOUR_BLOCKS = range(6, 42)
PARTS = (
    *((minutes, minutes) for minutes in SHORT_WINDOWS),
    *((60 * (hour + 1), 60) for hour in SINGLE_HOURS),
    *((240 * (block + 1), 240) for block in FOUR_HOUR_BLOCKS),
)
"""(start, length) of each part in minutes: it starts so long before the window's end."""
WINDOW_MINUTES = 7 * 1440
CANDLES_NEEDED = WINDOW_MINUTES + 1
"""The first return needs the close before it."""
CYCLES = (1, 2, 3)
VARIATION_INPUTS = len(PARTS)
CLOCK_INPUTS = 2 * len(CYCLES) + 7 + 2 * len(CYCLES)
INPUTS = VARIATION_INPUTS + CLOCK_INPUTS

MAX_MISSING_SHARE = 0.05
"""Of the whole window, eight hours: above it the week is not known well enough."""
MAX_MISSING_IN_PART = 0.5
"""Of a part: a mean over less than half its minutes is not that part's mean. A short window like that refuses all; an
hour or a block takes the mean of the week instead, so that an outage of a venue does not silence the feed for seven
days.
"""


@dataclass(frozen=True, slots=True)
class VariationSpec:
    """The constants of a model's observation, as its manifest states them.

    ``mean`` and ``deviation`` have shape (`VARIATION_INPUTS`,), in roots of nano log return per minute; ``clip`` is in
    deviations.
    """

    mean: FloatArray
    deviation: FloatArray
    clip: float
    input_scale: int
    quorum: int = 1

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> VariationSpec:
        """The constants, after a check that the manifest means this very list of inputs; else `ValueError`."""
        if entry["name"] != NAME:
            raise ValueError(f"observation {entry['name']!r} is not {NAME!r}")
        fitted = {field.name for field in fields(cls)}
        if {key: value for key, value in entry.items() if key not in fitted} != _stated_list():
            raise ValueError(
                "the model's observation is another list of inputs than this version's: "
                "use it with the version of veriregime that it was released with"
            )
        spec = cls(
            mean=np.asarray(entry["mean"], dtype=np.float64),
            deviation=np.asarray(entry["deviation"], dtype=np.float64),
            clip=float(entry["clip"]),
            input_scale=int(entry["input_scale"]),
            quorum=int(entry["quorum"]),
        )
        if spec.mean.shape != (VARIATION_INPUTS,) or spec.deviation.shape != (VARIATION_INPUTS,):
            raise ValueError(f"mean and deviation must hold {VARIATION_INPUTS} numbers each")
        if not (np.isfinite(spec.mean).all() and (spec.deviation > 0).all() and spec.clip > 0):
            raise ValueError("mean must be finite, deviation and clip positive")
        if spec.to_manifest() != dict(entry):
            raise ValueError("input_scale and quorum must be whole numbers, and no number may be given as text")
        return spec

    def to_manifest(self) -> dict[str, Any]:
        return {
            **_stated_list(),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "clip": self.clip,
            "input_scale": self.input_scale,
            "quorum": self.quorum,
        }


def _stated_list() -> dict[str, Any]:
    """What a manifest says of the inputs and their rules, and every model of this version has in common."""
    return {
        "name": NAME,
        "inputs": INPUTS,
        "parts_minutes": [list(part) for part in PARTS],
        "level": "square root of the mean absolute log return per minute, in nano",
        "clock": {
            "zone_rule": "US Eastern since 2007",
            "cycles_per_day": list(CYCLES),
            "weekday_one_hot": 7,
            "weekend_waves": True,
        },
        "max_missing_share": MAX_MISSING_SHARE,
        "max_missing_in_part": MAX_MISSING_IN_PART,
    }


def observe(window: Window, spec: VariationSpec) -> Observation:
    """The observation of a window, with the larger of the quorums that the window and the model ask for.

    Raises `WindowIncomplete` when too many of its minutes are missing, and says whether venues or agreement lack.
    """
    start_ms = window.end_ms - WINDOW_MINUTES * MINUTE_MS
    by_venue = {venue: absolute_returns(candles, start_ms, window.end_ms) for venue, candles in window.candles.items()}
    if not by_venue:
        raise WindowIncomplete("no venue has candles for this window")
    quorum = max(spec.quorum, window.quorum)
    market = market_returns(by_venue, quorum)
    if market.returns[-1] == MISSING:
        raise WindowIncomplete(f"the last minute before {iso(window.end_ms)} is missing{_lacks(market, quorum)}")
    levels, complete = variation_levels(market.returns, np.asarray([WINDOW_MINUTES]))
    if not complete[0]:
        raise WindowIncomplete(
            f"{_gaps(market)} of {WINDOW_MINUTES} minutes before {iso(window.end_ms)} have no return: more than "
            f"{MAX_MISSING_SHARE:.0%} of the window, or half of one of its last {SHORT_WINDOWS[-1]} minutes' parts"
        )
    values = quantise(levels, np.asarray([window.end_ms]), spec)[0]
    return Observation(
        feed=window.feed,
        window_end_ms=window.end_ms,
        values=tuple(int(v) for v in values),
        quorum=quorum,
        candles_sha256=candles_digest(window.candles),
    )


def _lacks(market: MarketSeries, quorum: int) -> str:
    """Why the last minute has no return, for people; nothing where there is one venue and one is enough."""
    if market.disputed[-1] != MISSING:
        return f": the venues dispute a move of {market.disputed[-1] / NANO:.1%}"
    asked = len(market.frozen)
    if asked == quorum == 1:
        return ""
    aside = {"the price stands still": market.frozen, "the price jumps alone": market.outlying}
    words = [f", at {count} {what}" for what, which in aside.items() if (count := int(which[:, -1].sum()))]
    return f": {market.venues[-1]} of {asked} venues have its return{''.join(words)}; {quorum} must"


def _gaps(market: MarketSeries) -> str:
    disputed = int((market.disputed != MISSING).sum())
    return f"{int((market.returns == MISSING).sum())}" + (f" ({disputed} disputed between venues)" if disputed else "")


def variation_levels(returns: IntArray, ends: IntArray) -> tuple[FloatArray, BoolArray]:
    """Root of the mean absolute return of every part of many windows at once, over the minutes that are known.

    ``returns`` is one value per minute, ``ends`` the index after each window's last minute (each ≥ `WINDOW_MINUTES`).
    Gives (len(ends), `VARIATION_INPUTS`) float64 in roots of nano per minute, and a mask of the windows that are
    complete enough to use.
    """
    here = returns != MISSING
    total = np.concatenate(([0], np.cumsum(np.where(here, returns, 0))))
    count = np.concatenate(([0], np.cumsum(here)))
    start, length = np.asarray(PARTS).T
    first = ends[:, None] - start
    after = first + length
    sums = total[after] - total[first]
    counts = count[after] - count[first]
    known = count[ends] - count[ends - WINDOW_MINUTES]
    week = (total[ends] - total[ends - WINDOW_MINUTES]) / np.maximum(known, 1)
    enough = counts >= (1 - MAX_MISSING_IN_PART) * length
    levels: FloatArray = np.sqrt(np.where(enough, sums / np.maximum(counts, 1), week[:, None]))
    recent = enough[:, : len(SHORT_WINDOWS)].all(axis=1)
    complete: BoolArray = recent & (known >= (1 - MAX_MISSING_SHARE) * WINDOW_MINUTES)
    return levels, complete


def clock_inputs(window_end_ms: IntArray) -> FloatArray:
    """Season of each time in New York, shape (n, `CLOCK_INPUTS`), within [−1, 1]."""
    minutes = new_york_minutes(window_end_ms // MINUTE_MS)
    angle = 2 * np.pi * (minutes % 1440) / 1440
    waves = np.column_stack([wave(cycle * angle) for cycle in CYCLES for wave in (np.sin, np.cos)])
    weekday = _weekday(minutes // 1440)
    return np.concatenate([waves, np.eye(7)[weekday], np.where(weekday >= 5, waves.T, 0.0).T], axis=1)


def new_york_minutes(utc_minutes: IntArray) -> IntArray:
    """Minutes since 1970 on a clock in New York: UTC−5, and UTC−4 in summer.

    Summer is from 07:00 UTC on the second Sunday of March until 06:00 UTC on the first Sunday of November, which is the
    law since 2007. It is held as arithmetic and not asked of a time zone database, so that an auditor gets the same
    integers whatever is installed. Should the law change, a released model keeps the rule it was trained with.
    """
    year = utc_minutes.astype("datetime64[m]").astype("datetime64[Y]")
    summer = _first_sunday(year, month=3) + 7, _first_sunday(year, month=11)
    starts, ends = summer[0] * 1440 + 7 * 60, summer[1] * 1440 + 6 * 60
    return utc_minutes - np.where((utc_minutes >= starts) & (utc_minutes < ends), 4 * 60, 5 * 60)


def _first_sunday(year: Any, month: int) -> IntArray:
    """Days since 1970 of a month's first Sunday; ``year`` is datetime64 in years."""
    first: IntArray = (year.astype("datetime64[M]") + (month - 1)).astype("datetime64[D]").astype(np.int64)
    return first + 6 - _weekday(first)


def _weekday(day: IntArray) -> IntArray:
    """0 is Monday; 1970-01-01 was a Thursday."""
    return (day + 3) % 7


def quantise(levels: FloatArray, window_end_ms: IntArray, spec: VariationSpec) -> IntArray:
    """Levels and times to the circuit's integers, shape (n, `INPUTS`)."""
    standard = np.clip((levels - spec.mean) / spec.deviation, -spec.clip, spec.clip)
    inputs = np.concatenate([standard, clock_inputs(window_end_ms)], axis=1)
    integers: IntArray = np.rint(inputs * 2**spec.input_scale).astype(np.int64)
    return integers


def candles_digest(candles: CandlesByVenue) -> str:
    """SHA-256 (hex) over ``venue:digest`` lines, venues in alphabetical order."""
    lines = "".join(f"{venue}:{candles[venue].digest()}\n" for venue in sorted(candles))
    return hashlib.sha256(lines.encode()).hexdigest()
