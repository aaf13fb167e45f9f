"""Absolute one-minute log returns as integers, computed so that every machine gets the same ones.

An auditor has to reproduce an observation to the last integer, so nothing here may depend on a platform's ``log``:
the logarithm is a short series of IEEE 754 additions, multiplications and divisions, which round alike everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from app.types import MINUTE_MS, BoolArray, Candles, FloatArray, IntArray

NANO = 1_000_000_000
"""Returns are counted in billionths: a typical minute is a few hundred thousand."""

MISSING = -1
"""Marks a minute without a return; a real absolute return is never negative."""


def log_ratio(now: FloatArray, before: FloatArray) -> FloatArray:
    """ln(now / before), elementwise.

    With x = (now − before) / (now + before), ln(now/before) = 2·atanh(x) = 2(x + x³/3 + x⁵/5 + …) (Abramowitz &
    Stegun 4.1.28). Five terms are exact to 2·10⁻¹⁵ for moves up to 10 % a minute and to 10⁻⁸ up to 50 %.
    """
    x = (now - before) / (now + before)
    square = x * x
    series: FloatArray = square / 9.0
    for odd in (7.0, 5.0, 3.0):
        series = (series + 1.0 / odd) * square
    result: FloatArray = 2.0 * x * (series + 1.0)
    return result


def signed_returns(candles: Candles, start_ms: int, end_ms: int) -> tuple[IntArray, BoolArray]:
    """ln(close_t / close_{t−1}) in nano units for each minute of ``[start_ms, end_ms)``, and which of them are known.

    Shapes (minutes,), int64 with 0 where unknown. A minute has a return only when its own candle and the one of the
    minute before are both there.
    """
    minutes = (end_ms - start_ms) // MINUTE_MS
    closes = np.full(minutes + 1, np.nan)
    part = candles.between(start_ms - MINUTE_MS, end_ms)
    closes[(part.open_time_ms - start_ms) // MINUTE_MS + 1] = part.close
    returns = np.rint(log_ratio(closes[1:], closes[:-1]) * NANO)
    known = ~np.isnan(returns)
    return np.where(known, returns, 0).astype(np.int64), known


def absolute_returns(candles: Candles, start_ms: int, end_ms: int) -> IntArray:
    """The size of each of `signed_returns`, int64 of shape (minutes,), `MISSING` where it is not known."""
    returns, known = signed_returns(candles, start_ms, end_ms)
    return np.where(known, np.abs(returns), MISSING)


def median_returns(by_venue: Mapping[str, IntArray], quorum: int) -> IntArray:
    """The median over the venues that have the minute, `MISSING` below ``quorum``; shapes (minutes,).

    Returns are compared, never price levels: levels differ between venues by more than the signal. With an even number
    of venues the two middle returns are averaged and rounded down, which keeps integers.
    """
    stack = np.sort(np.stack(list(by_venue.values())), axis=0)
    present = (stack != MISSING).sum(axis=0)
    absent = stack.shape[0] - present
    # MISSING sorts first, so the present values of a minute fill rows absent … n-1.
    low = np.clip(absent + (present - 1) // 2, 0, stack.shape[0] - 1)
    high = np.clip(absent + present // 2, 0, stack.shape[0] - 1)
    columns = np.arange(stack.shape[1])
    median = (stack[low, columns] + stack[high, columns]) // 2
    return np.where(present >= max(quorum, 1), median, MISSING)
