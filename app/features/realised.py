"""What the market really did, minute by minute: the volatility that forecasts are about, and that persistence repeats.

Training labels its windows with it and the track record judges by it, so both say the same of the same candles. Returns
are whole nano units, so every sum is exact and a label is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.features.returns import MISSING, NANO, market_returns, signed_returns
from app.types import MINUTE_MS, BoolArray, Candles, CandlesByVenue, FloatArray, IntArray

HORIZON_MINUTES = 240
THRESHOLD = 0.0005
"""Standard deviation of one-minute log returns from which the next four hours count as high."""
_BEYOND = 2**61
"""Sorts after every return; twice it still fits."""


@dataclass(frozen=True, slots=True)
class Series:
    """Every minute of a stretch of time, shapes (minutes,), returns in nano log return.

    ``absolute`` marks a minute without a return as `MISSING`; ``signed`` holds 0 there and ``present`` says so.
    """

    start_ms: int
    absolute: IntArray
    signed: IntArray
    present: BoolArray

    def __len__(self) -> int:
        return len(self.absolute)

    @property
    def end_ms(self) -> int:
        return self.start_ms + len(self) * MINUTE_MS

    def time_ms(self, index: Any) -> Any:
        """Time of one index or of an array of them."""
        return self.start_ms + index * MINUTE_MS


def is_high(volatility: FloatArray) -> BoolArray:
    """Whether a deviation of one-minute log returns reaches `THRESHOLD`."""
    return volatility >= THRESHOLD


def series_of(candles: Candles) -> Series:
    """The returns of one venue's candles from the first to the last, on a grid without holes."""
    start_ms = int(candles.open_time_ms[0])
    signed, present = signed_returns(candles, start_ms, int(candles.open_time_ms[-1]) + MINUTE_MS)
    absolute = np.where(present, np.abs(signed), MISSING)
    return Series(start_ms=start_ms, absolute=absolute, signed=signed, present=present)


def market_series(by_venue: CandlesByVenue, start_ms: int, end_ms: int, quorum: int) -> Series:
    """One series of ``[start_ms, end_ms)`` out of the candles of one venue or more; the first return needs one before.

    What `market_returns` sets aside has no say, and what it does not know is not known here. Of the others a minute's
    signed return is the median; with an even number of venues the middle two are averaged and rounded down. One venue
    alone has its own returns, as in `series_of`. What is set aside depends on the stretch that is looked at.
    """
    signed, known = (np.stack(part) for part in zip(*_returns(by_venue, start_ms, end_ms), strict=True))
    sizes = np.where(known, np.abs(signed), MISSING)
    market = market_returns(dict(zip(by_venue, sizes, strict=True)), quorum)
    present = market.returns != MISSING
    median = _signed_median(signed, known & ~market.frozen & ~market.outlying)
    return Series(start_ms=start_ms, absolute=market.returns, signed=np.where(present, median, 0), present=present)


def volatility(series: Series, ends: IntArray, minutes: int) -> tuple[FloatArray, IntArray]:
    """Population deviation of the log returns in the ``minutes`` before each end, and how many there were.

    Shapes (n,). Deviation is 0 where there is no return at all. The sums are integers and exact; only a week's squares
    times their number would not fit, so the last steps are floating point.
    """
    count = np.concatenate(([0], np.cumsum(series.present)))
    total = np.concatenate(([0], np.cumsum(series.signed)))
    squares = np.concatenate(([0], np.cumsum(series.signed**2)))
    n = count[ends] - count[ends - minutes]
    first = total[ends] - total[ends - minutes]
    second = squares[ends] - squares[ends - minutes]
    known = np.maximum(n, 1).astype(np.float64)
    variance = second / known - (first / known) ** 2
    return np.sqrt(np.maximum(variance, 0.0)) / NANO, n


def _returns(by_venue: CandlesByVenue, start_ms: int, end_ms: int) -> list[tuple[IntArray, BoolArray]]:
    return [signed_returns(candles, start_ms, end_ms) for candles in by_venue.values()]


def _signed_median(signed: IntArray, heard: BoolArray) -> IntArray:
    """Over the venues (rows) that are heard; meaningless in a minute where none is."""
    ordered = np.sort(np.where(heard, signed, _BEYOND), axis=0)
    venues = heard.sum(axis=0)
    low, high = np.maximum(venues - 1, 0) // 2, np.minimum(venues // 2, len(signed) - 1)
    columns = np.arange(signed.shape[1])
    result: IntArray = (ordered[low, columns] + ordered[high, columns]) // 2
    return result
