"""What a network learns from: windows of one or more assets, how much each counts, and the teacher's longer memory.

The student sees the observation and nothing else. A teacher may look further back: its context is a month of variation,
which costs a circuit too much and a tree nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.features.realised import Series
from app.features.returns import MISSING
from app.features.variation import WINDOW_MINUTES, VariationSpec
from app.training.circuit import INPUT_SCALE
from app.training.datasets import Period, Samples, joined, samples
from app.types import MINUTE_MS, MINUTES_PER_YEAR, BoolArray, FloatArray, IntArray

Inputs = npt.NDArray[np.float32]

DAY = 1440
CONTEXT_DAYS = (2, 3, 5, 7, 10, 14, 21, 30)
SAME_HOURS_DAYS = 28
SAME_HOURS = 240
HOURS = 168
CONTEXT = len(CONTEXT_DAYS) + SAME_HOURS_DAYS + HOURS


@dataclass(frozen=True, slots=True)
class Lesson:
    """Windows to learn from, in the order of assets and then of time.

    ``weight`` float64 (n,) has mean one; ``context`` float32 (n, `CONTEXT`) is for teachers. The first ``own`` windows
    are of the asset to forecast.
    """

    samples: Samples
    weight: FloatArray
    context: Inputs
    own: int

    def __len__(self) -> int:
        return len(self.samples)

    def where(self, part: BoolArray) -> Lesson:
        """Some of the windows, by a mask (n,)."""
        return Lesson(self.samples.where(part), self.weight[part], self.context[part], int(part[: self.own].sum()))

    def of_own(self) -> Samples:
        """The windows of the asset to forecast, which is what a forecast is judged by."""
        return self.samples.where(np.arange(len(self)) < self.own)

    def bare(self) -> Lesson:
        """Without the context, once the teachers are done with it: it is most of the memory."""
        return Lesson(self.samples, self.weight, np.empty((len(self), 0), dtype=np.float32), self.own)

    @property
    def inputs(self) -> Inputs:
        """The observation as the numbers it stands for: exact in float32."""
        return np.ldexp(self.samples.observations.astype(np.float32), -INPUT_SCALE)


def lesson(series: Series, period: Period, spec: VariationSpec, *, every: int, to_train: bool = True) -> Lesson:
    """The period's windows with their context, all counting the same."""
    part = samples(series, period, spec, every=every, to_train=to_train)
    ends = (part.end_ms - series.start_ms) // MINUTE_MS
    return Lesson(part, np.ones(len(part)), context_of(series, ends), len(part))


def context_of(series: Series, ends: IntArray) -> Inputs:
    """Roots of the mean absolute return in nano, float32 (n, `CONTEXT`), over what is known of each stretch.

    The last 2 to 30 days, then the hours of the forecast on each of the last 28 days, then the last 168 hours, newest
    first. A stretch before the recording, or without any return, takes the mean of the last week.
    """
    here = series.absolute != MISSING
    total = np.concatenate(([0], np.cumsum(np.where(here, series.absolute, 0))))
    count = np.concatenate(([0], np.cumsum(here)))
    stretches = [
        *((0, days * DAY) for days in CONTEXT_DAYS),
        *((DAY * day - SAME_HOURS, SAME_HOURS) for day in range(1, SAME_HOURS_DAYS + 1)),
        *((60 * hour, 60) for hour in range(HOURS)),
    ]
    week = _mean(total, count, ends, 0, WINDOW_MINUTES)
    result = np.empty((len(ends), CONTEXT), dtype=np.float32)
    for column, (start, length) in enumerate(stretches):
        mean = _mean(total, count, ends, start, length)
        result[:, column] = np.sqrt(np.where(np.isnan(mean), week, mean))
    return result


def as_if(series: Series, ratio: float) -> Series:
    """Another asset at our asset's usual level of volatility: every return times ``ratio``."""
    signed = np.rint(series.signed * ratio).astype(np.int64)
    return replace(series, signed=signed, absolute=np.where(series.present, np.abs(signed), MISSING))


def level_ratio(ours: Series, theirs: Series, end_ms: int) -> float | None:
    """Mean absolute return of ours over theirs in the time before ``end_ms`` that both cover; None without any."""
    start_ms = max(ours.start_ms, theirs.start_ms)
    sizes = [_level(series, start_ms, min(end_ms, ours.end_ms, theirs.end_ms)) for series in (ours, theirs)]
    return sizes[0] / sizes[1] if all(sizes) else None


def together(parts: Sequence[tuple[Lesson, float]], *, half_life_years: float | None) -> Lesson:
    """Several lessons as one, ours first, each with its weight; within each, old windows count less by their age."""
    newest = max(int(part.samples.end_ms[-1]) for part, _ in parts)
    weights = [share * part.weight * _freshness(part.samples.end_ms, newest, half_life_years) for part, share in parts]
    whole = parts[0][0].samples
    for part, _ in parts[1:]:
        whole = joined(whole, part.samples)
    weight = np.concatenate(weights)
    context = np.concatenate([part.context for part, _ in parts])
    return Lesson(whole, weight / weight.mean(), context, len(parts[0][0]))


def _freshness(end_ms: IntArray, newest: int, half_life_years: float | None) -> FloatArray:
    if half_life_years is None:
        return np.ones(len(end_ms))
    years = (newest - end_ms) / (MINUTES_PER_YEAR * MINUTE_MS)
    result: FloatArray = 0.5 ** (years / half_life_years)
    return result


def _mean(total: IntArray, count: IntArray, ends: IntArray, start: int, length: int) -> FloatArray:
    """Mean absolute return of ``length`` minutes up to ``start`` before each end; NaN where none is known."""
    last, first = np.maximum(ends - start, 0), np.maximum(ends - start - length, 0)
    known = count[last] - count[first]
    with np.errstate(invalid="ignore"):
        return np.where(known > 0, (total[last] - total[first]) / np.where(known > 0, known, 1), np.nan)


def _level(series: Series, start_ms: int, end_ms: int) -> float:
    first, last = (max(0, (time - series.start_ms) // MINUTE_MS) for time in (start_ms, end_ms))
    sizes = series.absolute[first:last]
    sizes = sizes[sizes != MISSING]
    return float(sizes.mean()) if len(sizes) else 0.0
