"""Inputs and labels of a candle file: the first step of training, and the only one that reads prices.

Inputs are made by the very functions that serve (`app.features`), so a released model sees what it was trained on, and
labels by the one that judges what was served. Labels look ahead, which no forecast may do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import CandleFileInvalid
from app.features.realised import HORIZON_MINUTES, Series, is_high, volatility
from app.features.variation import INPUTS, VARIATION_INPUTS, WINDOW_MINUTES, VariationSpec, quantise, variation_levels
from app.judging.scores import realised_ln_vol
from app.types import MINUTE_MS, BoolArray, FloatArray, IntArray, iso

LEAST_SAMPLES = 100
LEAST_DAYS = 180
PAST_MINUTES = (60, 240, 1440, WINDOW_MINUTES)
"""What persistence (an hour, four hours) and HAR-RV (four hours, a day, a week) look back on."""
CHUNK = 20_000
"""Windows worked on at once: their levels take 10 MB instead of gigabytes."""

Observations = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Period:
    """The minutes ``[start, end)`` of a series, as indices. A sample belongs to it with its whole label window."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Split:
    """A recording cut at dates, `HORIZON_MINUTES` of embargo before each cut.

    ``folds`` are for choosing: pairs of what lies before a date and the stretch of validation after it, oldest first.
    ``train`` is everything before the test, ``test`` the newest part.
    """

    folds: tuple[tuple[Period, Period], ...]
    train: Period
    test: Period


@dataclass(frozen=True, slots=True)
class Samples:
    """Windows of one period with what came after them.

    ``end_ms`` int64 (n,), ``observations`` int16 (n, `INPUTS`) at the circuit's input scale, ``volatility`` float64
    (n,) the deviation of the next `HORIZON_MINUTES` one-minute log returns, ``past`` the same of the last
    `PAST_MINUTES`, ``left_out`` how many windows serving would refuse for gaps, or have a gap in their future.
    """

    end_ms: IntArray
    observations: Observations
    volatility: FloatArray
    past: dict[int, FloatArray]
    left_out: int

    def __len__(self) -> int:
        return len(self.end_ms)

    @property
    def high(self) -> BoolArray:
        return is_high(self.volatility)

    @property
    def ln_vol(self) -> FloatArray:
        """ln of annualised volatility, the third output's target."""
        return realised_ln_vol(self.volatility)

    def where(self, part: BoolArray) -> Samples:
        """Some of the windows, by a mask (n,)."""
        return Samples(
            end_ms=self.end_ms[part],
            observations=self.observations[part],
            volatility=self.volatility[part],
            past={minutes: values[part] for minutes, values in self.past.items()},
            left_out=0,
        )


def joined(earlier: Samples, later: Samples) -> Samples:
    """Both periods' windows as one."""
    return Samples(
        end_ms=np.concatenate([earlier.end_ms, later.end_ms]),
        observations=np.concatenate([earlier.observations, later.observations]),
        volatility=np.concatenate([earlier.volatility, later.volatility]),
        past={minutes: np.concatenate([earlier.past[minutes], later.past[minutes]]) for minutes in earlier.past},
        left_out=earlier.left_out + later.left_out,
    )


def usable_ends(series: Series, period: Period, every: int) -> tuple[IntArray, int]:
    """Ends of the period's usable windows, ``every`` minutes apart, and how many had to be left out.

    A usable window has a complete week before it and all `HORIZON_MINUTES` returns after it, inside the period.
    """
    # The very first minute has no return, as there is no close before it.
    start = max(period.start, WINDOW_MINUTES + 1)
    ends = np.arange(start, period.end - HORIZON_MINUTES + 1, every, dtype=np.int64)
    if not len(ends):
        return ends, 0
    _, ahead = volatility(series, ends + HORIZON_MINUTES, HORIZON_MINUTES)
    complete = np.concatenate([mask for _, _, mask in _chunks(series, ends)])
    keep = complete & (ahead == HORIZON_MINUTES)
    return ends[keep], int((~keep).sum())


def check_period(series: Series, period: Period, every: int) -> None:
    """Raise `CandleFileInvalid` when a period has too few usable windows, or windows of one class only."""
    ends, _ = usable_ends(series, period, every)
    ahead = volatility(series, ends + HORIZON_MINUTES, HORIZON_MINUTES)[0]
    if len(ends) and not ahead.any():
        start, end = (iso(int(series.time_ms(index))) for index in (period.start, period.end))
        raise CandleFileInvalid(f"prices do not move from {start} to {end}")
    _check_samples(series, period, ends, ahead, to_train=True)


def has_enough(series: Series, period: Period, every: int) -> bool:
    """Whether a period has so many usable windows that something can be learnt or judged."""
    return len(usable_ends(series, period, every)[0]) >= LEAST_SAMPLES


def fit_spec(series: Series, ends: IntArray, *, clip: float, input_scale: int) -> VariationSpec:
    """The observation's constants, among them mean and deviation of every level over the training windows."""
    if not len(ends):
        raise CandleFileInvalid("no window to train on has a complete week before it: there is nothing to learn from")
    total, squares = np.zeros(VARIATION_INPUTS), np.zeros(VARIATION_INPUTS)
    for _, levels, _ in _chunks(series, ends):
        total += levels.sum(axis=0)
        squares += (levels**2).sum(axis=0)
    mean = total / len(ends)
    deviation = np.sqrt(np.maximum(squares / len(ends) - mean**2, 0.0))
    if not (deviation > 0).all():
        raise CandleFileInvalid("prices do not move over the training period: there is nothing to learn from")
    return VariationSpec(mean=mean, deviation=deviation, clip=clip, input_scale=input_scale)


def samples(series: Series, period: Period, spec: VariationSpec, *, every: int, to_train: bool = True) -> Samples:
    """The period's usable windows, ``every`` minutes apart, as inputs and labels.

    Raises `CandleFileInvalid` when there are too few, or, where something is to be learnt from them, when they are all
    of one class. A window after which the price stands still has no volatility to forecast and is left out.
    """
    ends, left_out = usable_ends(series, period, every)
    ahead = volatility(series, ends + HORIZON_MINUTES, HORIZON_MINUTES)[0]
    moving = ahead > 0
    ends, ahead, left_out = ends[moving], ahead[moving], left_out + int((~moving).sum())
    _check_samples(series, period, ends, ahead, to_train=to_train)
    observations = np.empty((len(ends), INPUTS), dtype=np.int16)
    done = 0
    for part, levels, _ in _chunks(series, ends):
        observations[done : done + len(part)] = quantise(levels, series.time_ms(part), spec)
        done += len(part)
    return Samples(
        end_ms=series.time_ms(ends),
        observations=observations,
        volatility=ahead,
        past={minutes: volatility(series, ends, minutes)[0] for minutes in PAST_MINUTES},
        left_out=left_out,
    )


def calendar_split(series: Series) -> Split:
    """Test on the last six calendar months, choose on up to three half-years before them.

    A month that has begun counts on top of the six. Raises `CandleFileInvalid` when less than half a year is left to
    train on before the only half-year of validation.
    """
    month = np.datetime64(series.end_ms, "ms").astype("datetime64[M]")
    cuts = [_index(series, month - back) for back in (24, 18, 12, 6)]
    enough = [cut for cut in cuts[:-1] if _before(cut).end - _before(cut).start >= LEAST_DAYS * 1440]
    return _split(series, [*(enough or cuts[-2:-1]), cuts[-1]], least_days=LEAST_DAYS)


def share_split(series: Series) -> Split:
    """70 % to train on, 15 % to validate, 15 % to test: for files of a few weeks."""
    return _split(series, [len(series) * 70 // 100, len(series) * 85 // 100], least_days=14)


def between(series: Series, start_ms: int, end_ms: int) -> Period:
    """The minutes of a stretch of time that the series has."""
    first, last = (min(max(0, (time - series.start_ms) // MINUTE_MS), len(series)) for time in (start_ms, end_ms))
    return Period(first, last)


def _index(series: Series, month: np.datetime64) -> int:
    return (int(month.astype("datetime64[ms]").astype(np.int64)) - series.start_ms) // MINUTE_MS


def _before(cut: int) -> Period:
    """What may be learnt before a cut: a week of history comes first, and every label is known at the cut."""
    return Period(WINDOW_MINUTES + 1, cut - HORIZON_MINUTES)


def _split(series: Series, cuts: Sequence[int], *, least_days: int) -> Split:
    """Folds between each two cuts, and the test after the last."""
    before = [_before(cut) for cut in cuts]
    stretches = [Period(first, last - HORIZON_MINUTES) for first, last in itertools.pairwise(cuts)]
    if before[0].end - before[0].start < least_days * 1440:
        raise CandleFileInvalid(
            f"candles from {iso(series.start_ms)} to {iso(series.end_ms)} are too few: before validation and test "
            f"there must be a week of history and {least_days} days to train on"
        )
    return Split(
        folds=tuple(zip(before[:-1], stretches, strict=True)), train=before[-1], test=Period(cuts[-1], len(series))
    )


def _check_samples(series: Series, period: Period, ends: IntArray, ahead: FloatArray, *, to_train: bool) -> None:
    between = f"between {iso(int(series.time_ms(period.start)))} and {iso(int(series.time_ms(period.end)))}"
    if len(ends) < LEAST_SAMPLES:
        raise CandleFileInvalid(
            f"{between} only {len(ends)} windows have a complete week before them and four complete hours after "
            f"them; {LEAST_SAMPLES} are needed"
        )
    share = float(is_high(ahead).mean())
    if to_train and share in (0.0, 1.0):
        raise CandleFileInvalid(
            f"{between} every window is {'high' if share else 'low'}: there is nothing to tell apart"
        )


def _chunks(series: Series, ends: IntArray) -> Iterator[tuple[IntArray, FloatArray, Any]]:
    for first in range(0, len(ends), CHUNK):
        part = ends[first : first + CHUNK]
        start, stop = int(part[0]) - WINDOW_MINUTES, int(part[-1])
        levels, complete = variation_levels(series.absolute[start:stop], part - start)
        yield part, levels, complete
