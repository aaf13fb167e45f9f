"""A market that happened: the candles of a file, at the times they were recorded, gaps and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.candles.files import read_candles
from app.sim.market import Listing
from app.types import MINUTE_MS, Candles, FloatArray

MOST_DECIMALS = 8


class RecordedMarket:
    """One symbol's recorded candles. When the file has ended, nothing more comes."""

    def __init__(self, symbol: str, candles: Candles) -> None:
        self._candles = candles
        prices = np.concatenate((candles.open, candles.high, candles.low, candles.close))
        self._listing = Listing(symbol, _decimals(prices), _decimals(candles.volume))

    @classmethod
    def of_file(cls, path: Path, symbol: str) -> RecordedMarket:
        """Raises `CandleFileInvalid` when the file is not what it claims to be."""
        return cls(symbol, read_candles(path))

    @property
    def symbols(self) -> tuple[str, ...]:
        return (self._listing.symbol,)

    def listing(self, symbol: str) -> Listing:
        if symbol != self._listing.symbol:
            raise KeyError(symbol)
        return self._listing

    def span(self, symbol: str) -> tuple[int, int]:
        self.listing(symbol)
        times = self._candles.open_time_ms
        return int(times[0]), int(times[-1]) + MINUTE_MS

    def candles(self, symbol: str, start_ms: int, end_ms: int) -> Candles:
        self.listing(symbol)
        return self._candles.between(start_ms, end_ms)


def _decimals(values: FloatArray) -> int:
    """The fewest decimals that write all values without loss, or as many as a venue shows."""
    for decimals in range(MOST_DECIMALS):
        if np.array_equal(values.round(decimals), values):
            return decimals
    return MOST_DECIMALS
