"""What is proved: windows of a market, as the integers that each circuit takes.

The market is the simulated one unless a candle file is given, so that everybody measures the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.candles.files import read_candles
from app.errors import CandleFileInvalid
from app.features.classic import WARM_UP, classic_minutes, complete_windows, standardise, windows
from app.features.realised import series_of
from app.features.variation import WINDOW_MINUTES, VariationSpec, quantise, variation_levels
from app.sim.market import SimulatedMarket
from app.training.classic.baseline import TRAINING, check_classic
from app.types import MINUTE_MS, Candles, FloatArray, IntArray

SYMBOL = "BTC/USDT"
SEED = 0
LAST_MS = 1_757_937_600_000
"""2025-09-15T12:00:00Z, the end of the simulated market's last window."""
SPAN_MINUTES = 28 * 1440
"""The simulated windows end within so long a stretch of time: every weekday four times, every hour."""
EXACT_SCALE = 40
"""Far finer than a float32 input: what a network sees where nothing is rounded."""


@dataclass(frozen=True, slots=True)
class Windows:
    """n windows before they become integers: ``levels`` float64 (n, parts), ``end_ms`` int64 (n,)."""

    levels: FloatArray
    end_ms: IntArray
    spec: VariationSpec

    def __len__(self) -> int:
        return len(self.end_ms)

    def at_scale(self, scale: int) -> IntArray:
        """Observations, int64 (n, inputs), in units of 2**-scale."""
        return quantise(self.levels, self.end_ms, replace(self.spec, input_scale=scale))

    def exact(self) -> FloatArray:
        """The same without rounding, float64 (n, inputs)."""
        return np.ldexp(self.at_scale(EXACT_SCALE).astype(np.float64), -EXACT_SCALE)


def simulated_candles(minutes: int) -> Candles:
    """The last ``minutes`` of the simulated market."""
    return SimulatedMarket(SEED).candles(SYMBOL, LAST_MS - minutes * MINUTE_MS, LAST_MS)


def market_windows(spec: VariationSpec, count: int, candles: Path | None = None) -> Windows:
    """``count`` windows evenly over the simulated market's last weeks, or over a candle file.

    Raises `CandleFileInvalid` for a file that cannot be used, or that has too few complete windows.
    """
    recorded = simulated_candles(WINDOW_MINUTES + 1 + SPAN_MINUTES) if candles is None else read_candles(candles)
    series = series_of(recorded)
    if len(series) < WINDOW_MINUTES + count:
        raise CandleFileInvalid(f"{count} windows need {WINDOW_MINUTES + count} minutes, there are {len(series)}")
    ends = np.linspace(WINDOW_MINUTES + 1, len(series), count).astype(np.int64)
    levels, complete = variation_levels(series.absolute, ends)
    if not complete.all():
        raise CandleFileInvalid(f"{int((~complete).sum())} of {count} windows of {candles} have too many gaps")
    return Windows(levels, series.time_ms(ends), spec)


def classic_windows(folder: Path, count: int) -> FloatArray:
    """``count`` windows of the simulated market as the classic networks see them, float64 (n, 240, 7).

    Raises `ModelFolderInvalid` when ``folder`` is not what `veriregime train classic` writes.
    """
    check_classic(folder)
    observation = json.loads((folder / TRAINING).read_text())["observation"]
    start_ms = LAST_MS - SPAN_MINUTES * MINUTE_MS
    raw, valid = classic_minutes(simulated_candles(SPAN_MINUTES + WARM_UP), start_ms, LAST_MS)
    minutes = standardise(raw, observation["mean"], observation["deviation"], observation["clip"])
    usable = np.flatnonzero(complete_windows(valid, np.arange(len(valid) + 1)))
    ends = usable[np.linspace(0, len(usable) - 1, count).astype(np.int64)]
    return windows(minutes, ends).astype(np.float64)


def integers(inputs: FloatArray, scale: int) -> list[list[int]]:
    """Inputs (n, …) in units of 2**-scale, each window in one row."""
    flat = inputs.reshape(len(inputs), -1)
    rounded: list[list[int]] = np.rint(np.ldexp(flat, scale)).astype(np.int64).tolist()
    return rounded


def in_groups(observations: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """``size`` observations after one another make one row, as a circuit for several windows takes them."""
    groups = (observations[first : first + size] for first in range(0, len(observations) - size + 1, size))
    return [[value for observation in group for value in observation] for group in groups]
