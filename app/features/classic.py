"""Observation ``classic-240x7``: 240 minutes of seven indicators, the input of the original experiment.

The original names the indicators (EMAs, RSI, MACD and its signal, volume moving average) but not their recipe. These
choices are ours. They are free of the price level, because a network that has learnt prices of one year knows nothing
about the next:

* ``ema_9, ema_21, ema_50``: exponential moving average of the close over that span, divided by the close, minus 1;
* ``rsi_14``: Wilder's relative strength index (1978), 0 to 100, and 50 where the price stood still;
* ``macd, macd_signal``: Appel's EMA 12 − EMA 26 and its EMA 9, each divided by the close;
* ``volume_20``: ln(1 + mean volume of the last 20 minutes), volume in the base currency.

Every average is cut off after so many minutes that what is left out weighs less than `TRUNCATION`. So a minute's
indicators depend on the `WARM_UP` minutes before it and on nothing else, and are the same to the last bit wherever a
recording begins. Missing minutes are not filled: a minute is valid only when it and its whole warm-up are there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.types import MINUTE_MS, BoolArray, Candles, FloatArray, IntArray

NAME = "classic-240x7"
WINDOW_MINUTES = 240
EMA_SPANS = (9, 21, 50)
RSI_MINUTES = 14
MACD_FAST, MACD_SLOW, MACD_SIGNAL = 12, 26, 9
VOLUME_MINUTES = 20
INDICATORS = (*(f"ema_{span}" for span in EMA_SPANS), "rsi_14", "macd", "macd_signal", "volume_20")
INPUTS = WINDOW_MINUTES * len(INDICATORS)

TRUNCATION = 1e-8
"""Weight of the minutes that an average no longer sees: below what float32 can show."""
WARM_UP = 511
"""Minutes before a minute that its indicators look at; the 512 terms of the longest average decide."""
CLIP = 5.0
"""In deviations. Mild: it takes the edge off crashes and touches one value in several hundred."""

Float32Array = npt.NDArray[np.float32]


def classic_minutes(candles: Candles, start_ms: int, end_ms: int) -> tuple[Float32Array, BoolArray]:
    """Raw indicators of each minute of ``[start_ms, end_ms)``, and which minutes have them.

    Shapes (minutes, 7) float32 in the order of `INDICATORS`, and (minutes,). ``candles`` should begin `WARM_UP` minutes
    earlier; minutes that are not valid hold zeros.
    """
    first_ms = start_ms - WARM_UP * MINUTE_MS
    minutes = (end_ms - first_ms) // MINUTE_MS
    close, volume = np.full(minutes, np.nan), np.full(minutes, np.nan)
    part = candles.between(first_ms, end_ms)
    index = (part.open_time_ms - first_ms) // MINUTE_MS
    close[index], volume[index] = part.close, part.volume
    known = np.concatenate(([0], np.cumsum(~np.isnan(close))))
    valid = known[WARM_UP + 1 :] - known[: -WARM_UP - 1] == WARM_UP + 1
    table = np.column_stack([values[WARM_UP:].astype(np.float32) for values in _indicators(close, volume)])
    table[~valid] = 0.0
    return table, valid


def complete_windows(valid: BoolArray, ends: IntArray) -> BoolArray:
    """Which windows are valid in all their minutes; ``ends`` (n,) are the indices after each window's last minute."""
    count = np.concatenate(([0], np.cumsum(valid)))
    inside = (ends >= WINDOW_MINUTES) & (ends <= len(valid))
    end = np.where(inside, ends, WINDOW_MINUTES)
    if len(valid) < WINDOW_MINUTES:
        return np.zeros(len(ends), dtype=np.bool_)
    complete: BoolArray = inside & (count[end] - count[end - WINDOW_MINUTES] == WINDOW_MINUTES)
    return complete


def standardise(
    indicators: Float32Array,
    mean: FloatArray | Sequence[float],
    deviation: FloatArray | Sequence[float],
    clip: float = CLIP,
) -> Float32Array:
    """Indicators in deviations from their training mean, cut at ±``clip``: (…, 7) to float32 of the same shape."""
    values = (indicators - np.asarray(mean, dtype=np.float64)) / np.asarray(deviation, dtype=np.float64)
    return np.clip(values, -clip, clip).astype(np.float32)


def windows(standardised: Float32Array, ends: IntArray) -> Float32Array:
    """The 240 minutes before each end, oldest first: (minutes, 7) and (n,) to (n, 240, 7)."""
    rows = ends[:, None] + np.arange(-WINDOW_MINUTES, 0)
    gathered: Float32Array = standardised[rows]
    return gathered


def _indicators(close: FloatArray, volume: FloatArray) -> list[FloatArray]:
    macd = _ema(close, MACD_FAST) - _ema(close, MACD_SLOW)
    return [
        *(_ema(close, span) / close - 1.0 for span in EMA_SPANS),
        _rsi(close),
        macd / close,
        _ema(macd, MACD_SIGNAL) / close,
        np.log1p(np.maximum(_mean(volume, VOLUME_MINUTES), 0.0)),
    ]


def _ema(values: FloatArray, span: int) -> FloatArray:
    """Exponential moving average with the usual weight 2 / (span + 1)."""
    return _decaying_mean(values, 1.0 - 2.0 / (span + 1.0))


def _rsi(close: FloatArray) -> FloatArray:
    """100 · gain / (gain + loss), both averaged with Wilder's weight 1 / 14."""
    change = np.diff(close, prepend=np.nan)
    decay = 1.0 - 1.0 / RSI_MINUTES
    gain, loss = (_decaying_mean(np.maximum(sign * change, 0.0), decay) for sign in (1.0, -1.0))
    moved = gain + loss
    still = moved == 0.0
    result: FloatArray = np.where(still, 50.0, 100.0 * gain / np.where(still, 1.0, moved))
    return result


def _decaying_mean(values: FloatArray, decay: float) -> FloatArray:
    """Mean of the last minutes with weights 1, d, d², …, cut off at `TRUNCATION`; NaN where a minute is missing.

    Doubling: the sum over 2k minutes is the sum over k plus dᵏ times the sum over the k before. A minute's result is
    thereby made of the same additions in the same order, wherever the recording begins.
    """
    total, terms = values.copy(), 1
    while decay**terms > TRUNCATION:
        earlier = np.full_like(total, np.nan)
        earlier[terms:] = total[:-terms]
        total = total + decay**terms * earlier
        terms *= 2
    result: FloatArray = total * ((1.0 - decay) / (1.0 - decay**terms))
    return result


def _mean(values: FloatArray, minutes: int) -> FloatArray:
    """Plain moving average. Added up minute by minute, as a running sum would carry its rounding on for ever."""
    total = values.copy()
    for back in range(1, minutes):
        total[back:] += values[:-back]
    total[: minutes - 1] = np.nan
    result: FloatArray = total / minutes
    return result
