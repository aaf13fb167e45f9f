"""The classic samples: one indicator row per minute, and which windows of it are learnt from, validated and tested on.

A window is 240 rows of the same array, one minute after the window before. The windows themselves would take 6.5 GB and
are cut out batch by batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.errors import CandleFileInvalid
from app.features.classic import (
    WARM_UP,
    WINDOW_MINUTES,
    Float32Array,
    classic_minutes,
    complete_windows,
    standardise,
)
from app.features.realised import HORIZON_MINUTES, Series, is_high, series_of, volatility
from app.types import MINUTE_MS, BoolArray, Candles, FloatArray, IntArray, iso

LEAST_SAMPLES = 5_000
"""Below this the validation and test parts hardly outlast one label."""
PARTS = ("train", "validation", "test")
SHARES = (0.70, 0.15, 0.15)
PAST_MINUTES = (60, 240)


@dataclass(frozen=True, slots=True)
class Part:
    """The windows of one period, n of them in the order of time.

    ``ends`` int64 are the indices after each window's last minute in `ClassicData.minutes`, ``high`` what came after,
    ``past`` the deviation of one-minute log returns over the last `PAST_MINUTES`.
    """

    ends: IntArray
    high: BoolArray
    past: dict[int, FloatArray]

    def __len__(self) -> int:
        return len(self.ends)


@dataclass(frozen=True, slots=True)
class ClassicData:
    """Standardised indicators (minutes, 7) from ``start_ms`` on, and the windows in them."""

    start_ms: int
    minutes: Float32Array
    mean: FloatArray
    deviation: FloatArray
    train: Part
    validation: Part
    test: Part
    samples: int
    """Usable windows taken from the file, those lost to the embargo included."""
    left_out: int
    """Windows between the first and the last of them that touch a gap."""

    def parts(self) -> dict[str, Part]:
        return {name: getattr(self, name) for name in PARTS}

    def end_ms(self, part: Part) -> IntArray:
        return self.start_ms + MINUTE_MS * part.ends


def classic_data(candles: Candles, wanted: int, every: int = 1) -> ClassicData:
    """The last ``wanted`` usable windows of the candles, ``every`` minutes apart, or all where there are fewer.

    Raises `CandleFileInvalid` when there are fewer than `LEAST_SAMPLES`, or when training knows one class only.
    """
    series = series_of(candles)
    raw, valid = classic_minutes(candles, series.start_ms, series.end_ms)
    ends, left_out = _usable_ends(series, valid, wanted, every)
    first = int(ends[0]) - WINDOW_MINUTES
    parts = {name: _part(series, part, first) for name, part in zip(PARTS, split(ends), strict=True)}
    _check_classes(series, parts["train"], first)
    raw, valid = raw[first : int(ends[-1])], valid[first : int(ends[-1])]
    to_learn = int(parts["train"].ends[-1])
    mean, deviation = _moments(raw[:to_learn][valid[:to_learn]])
    minutes = standardise(raw, mean, deviation)
    return ClassicData(
        start_ms=int(series.time_ms(first)),
        minutes=minutes,
        mean=mean,
        deviation=deviation,
        **parts,
        samples=len(ends),
        left_out=left_out,
    )


def split(ends: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """70, 15 and 15 % in the order of time, with an embargo.

    A window whose label is not known yet when the first window of the next part is made belongs to no part: between
    two parts lie `HORIZON_MINUTES` at least. What a window looks back on may lie in the part before.
    """
    one, two = (round(share * len(ends)) for share in (SHARES[0], SHARES[0] + SHARES[1]))
    train, validation, test = ends[:one], ends[one:two], ends[two:]
    return (
        train[train + HORIZON_MINUTES <= validation[0]],
        validation[validation + HORIZON_MINUTES <= test[0]],
        test,
    )


def _usable_ends(series: Series, valid: BoolArray, wanted: int, every: int) -> tuple[IntArray, int]:
    """Windows whose indicators and label touch no gap: the last ``wanted``, and how many between them are left out."""
    last, least = len(series) - HORIZON_MINUTES, WARM_UP + WINDOW_MINUTES
    candidates = np.arange(last, least - 1, -every, dtype=np.int64)[::-1]
    _, ahead = volatility(series, candidates + HORIZON_MINUTES, HORIZON_MINUTES)
    ends = candidates[complete_windows(valid, candidates) & (ahead == HORIZON_MINUTES)][-wanted:]
    if len(ends) < LEAST_SAMPLES:
        raise CandleFileInvalid(
            f"candles from {iso(series.start_ms)} to {iso(series.end_ms)} are too few: every {every} min they hold "
            f"{len(ends)} windows without a gap in the {least} minutes before them and the {HORIZON_MINUTES} after; "
            f"{LEAST_SAMPLES} are needed"
        )
    return ends, int(ends[-1] - ends[0]) // every + 1 - len(ends)


def _part(series: Series, ends: IntArray, first: int) -> Part:
    return Part(
        ends=ends - first,
        high=is_high(volatility(series, ends + HORIZON_MINUTES, HORIZON_MINUTES)[0]),
        past={minutes: volatility(series, ends, minutes)[0] for minutes in PAST_MINUTES},
    )


def _check_classes(series: Series, train: Part, first: int) -> None:
    """Only training needs both classes: validation and test of one class can still be judged."""
    if train.high.all() or not train.high.any():
        between = " to ".join(iso(int(series.time_ms(first + train.ends[at]))) for at in (0, -1))
        raise CandleFileInvalid(
            f"training windows, {between}, are all {'high' if train.high[0] else 'low'}: nothing to tell apart"
        )


def _moments(rows: Float32Array) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of the indicators over valid training minutes, shapes (7,); a constant one has deviation 1."""
    values = rows.astype(np.float64)
    deviation = values.std(axis=0)
    # A mean of equal numbers is off by rounding, and so is their deviation: next to nothing is nothing.
    constant = deviation <= 1e-9 * np.maximum(np.abs(values.mean(axis=0)), 1e-9)
    return values.mean(axis=0), np.where(constant, 1.0, deviation)
