"""Absolute one-minute log returns as integers, computed so that every machine gets the same ones.

An auditor has to reproduce an observation to the last integer, so nothing here may depend on a platform's ``log``:
the logarithm is a short series of IEEE 754 additions, multiplications and divisions, which round alike everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.types import MINUTE_MS, BoolArray, Candles, FloatArray, IntArray

NANO = 1_000_000_000
"""Returns are counted in billionths: a typical minute is a few hundred thousand."""

MISSING = -1
"""Marks a minute without a return; a real absolute return is never negative."""

FROZEN_RUN = 2
"""Minutes that a price may not stand still at one venue while it moves at another."""

OUTSIZED_TIMES = 4
"""The mean minute of the series: a move beyond it needs witnesses. Two venues that lie alike cannot do more."""
OUTSIZED_LEAST, OUTSIZED_MOST = 500_000, 3_000_000
"""0.05 % and 0.3 % in a minute, in nano: smaller moves never need witnesses, larger ones always do."""


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


@dataclass(frozen=True, slots=True)
class MarketSeries:
    """What several venues together say of each minute, in nano and int64.

    ``returns`` (minutes,) are absolute returns, `MISSING` where the venues do not tell; ``venues`` (minutes,) counts
    those that were heard. ``frozen`` and ``outlying`` (venues, minutes) are the returns that were set aside, venues in
    the order they were given. ``disputed`` (minutes,) is the size of a move that too few bear out, `MISSING` elsewhere.
    """

    returns: IntArray
    venues: IntArray
    frozen: BoolArray
    outlying: BoolArray
    disputed: IntArray


def market_returns(by_venue: Mapping[str, IntArray], quorum: int) -> MarketSeries:
    """One series of absolute returns out of those of one venue or more, each of shape (minutes,).

    Returns are compared, never price levels: levels differ between venues by more than the signal. First a stuck price
    is set aside (`_frozen`), then a jump that a venue makes alone (`_outlying`). A minute's return is the median over
    the others that have it. It is missing where they are fewer than ``quorum``, or do not bear out an outsized median
    (`_borne_out`). One venue alone is never contradicted: its returns are as they are.
    """
    stack = np.stack(list(by_venue.values()))
    frozen = _frozen(stack)
    moving = np.where(frozen, MISSING, stack)
    outsized = _outsized(moving)
    outlying = _outlying(moving, outsized)
    heard = np.where(outlying, MISSING, moving)
    median, venues = _median(heard)
    quorate = venues >= max(quorum, 1)
    disputed = quorate & (median >= outsized) & ~_borne_out(heard, median, venues)
    return MarketSeries(
        returns=np.where(quorate & ~disputed, median, MISSING),
        venues=venues,
        frozen=frozen,
        outlying=outlying,
        disputed=np.where(disputed, median, MISSING),
    )


def _frozen(stack: IntArray) -> BoolArray:
    """Which returns come of a price that is stuck: (venues, minutes) to the same.

    A price is stuck when it does not change over a run of minutes and another venue's does, in `FROZEN_RUN` of them or
    more. The return that ends the run is one with it: it spans all these minutes, not the one it stands at. A run is
    judged by what of it lies inside the stack.
    """
    still = stack == 0
    stuck = still & (stack > 0).any(axis=0)
    begins = still.copy()
    begins[:, 1:] &= ~still[:, :-1]
    run = np.cumsum(begins.ravel())
    length = np.bincount(run, weights=stuck.ravel())
    frozen: BoolArray = still & (length >= FROZEN_RUN)[run].reshape(stack.shape)
    frozen[:, 1:] |= frozen[:, :-1] & (stack[:, 1:] != MISSING)
    return frozen


def _outsized(stack: IntArray) -> int:
    """From which size on a move needs witnesses: a few times the mean minute of this very series, (venues, minutes)."""
    median, venues = _median(stack)
    known = median[venues > 0]
    mean = int(known.sum()) // max(1, len(known))
    return min(max(OUTSIZED_TIMES * mean, OUTSIZED_LEAST), OUTSIZED_MOST)


def _outlying(stack: IntArray, outsized: int) -> BoolArray:
    """Which returns are outsized and more than twice the median of three venues or more: (venues, minutes) to the same.

    Left in, a wrong price would still decide which of the others the median picks: the larger.
    """
    median, venues = _median(stack)
    result: BoolArray = (stack >= outsized) & (stack > 2 * median) & (venues >= 3)
    return result


def _median(stack: IntArray) -> tuple[IntArray, IntArray]:
    """The median over the venues that have the minute, `MISSING` where none has, and how many have it: (minutes,) each.

    With an even number of venues the two middle returns are averaged and rounded down, which keeps integers.
    """
    stack = np.sort(stack, axis=0)
    present = (stack != MISSING).sum(axis=0)
    absent = stack.shape[0] - present
    # MISSING sorts first, so the present values of a minute fill rows absent … n-1.
    low = np.clip(absent + (present - 1) // 2, 0, stack.shape[0] - 1)
    high = np.clip(absent + present // 2, 0, stack.shape[0] - 1)
    columns = np.arange(stack.shape[1])
    median = (stack[low, columns] + stack[high, columns]) // 2
    return np.where(present > 0, median, MISSING), present


def _borne_out(stack: IntArray, median: IntArray, venues: IntArray) -> BoolArray:
    """Whether more than two thirds of a minute's venues moved at least half as much as their median.

    Of three venues that is all of them: no two can make a jump against the third. Whoever is right, the minute is left
    out instead.
    """
    moved = (2 * stack >= median).sum(axis=0)
    result: BoolArray = 3 * moved > 2 * venues
    return result
