"""One market, seen from several venues: market.py → here → the protocols.

At a venue a symbol trades at the market's price, moved by the venue's own level and by a little noise: ``price =
market's × (1 + level) × exp(noise)``. The noise at the end of each minute is normal and independent, a function of
(seed, venue, symbol, minute) alone. Nothing is kept: a day of noise is drawn in microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.sim.market import DAY_MINUTES, Listing, Market
from app.types import MINUTE_MS, Candles, FloatArray, IntArray

NOISE = 0.000_05
"""Standard deviation of the log price around the market's: half a basis point, a tenth of a usual minute's move."""
VOLUME_NOISE = 0.3
USD_LEVEL = -0.000_5
"""Prices in USD against those in USDT."""

_PRICE_STREAM, _VOLUME_STREAM = 0, 1


@dataclass(frozen=True, slots=True)
class View:
    """How a venue sees the market."""

    level: float
    """Of its prices, relative to the market's."""
    volume_share: float
    """Of the market's volume."""
    price_decimals: Mapping[str, int]
    """By base currency."""
    volume_decimals: int = 8


VIEWS: Mapping[str, View] = {
    "coinbase": View(level=0.000_4, volume_share=0.35, price_decimals={"BTC": 2, "ETH": 2}),
    "kraken": View(level=-0.000_3, volume_share=0.12, price_decimals={"BTC": 1, "ETH": 2}),
}
"""Binance is not here: it is the market itself."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A symbol of the venue, and what it is made from."""

    listing: Listing
    source: str
    factor: float
    stream: int


class VenueMarket:
    """A market as the venue sees it. Each symbol in USDT is listed in USD as well."""

    def __init__(self, market: Market, venue: str, seed: int) -> None:
        self._market = market
        self._view = VIEWS[venue]
        pairs = [self._pair(source, quote, f"{seed}|{venue}") for source in market.symbols for quote in ("USDT", "USD")]
        self._pairs = {pair.listing.symbol: pair for pair in pairs}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._pairs)

    def listing(self, symbol: str) -> Listing:
        return self._pairs[symbol].listing

    def span(self, symbol: str) -> tuple[int, int]:
        return self._market.span(self._pairs[symbol].source)

    def candles(self, symbol: str, start_ms: int, end_ms: int) -> Candles:
        pair = self._pairs[symbol]
        whole = self._market.candles(pair.source, start_ms, end_ms)
        if not len(whole):
            return whole
        minutes = whole.open_time_ms // MINUTE_MS
        before, after = _drawn(pair.stream, _PRICE_STREAM, minutes)
        opening = self._seen(pair, whole.open, NOISE * before)
        close = self._seen(pair, whole.close, NOISE * after)
        between = NOISE * (before + after) / 2
        high = np.maximum.reduce([self._seen(pair, whole.high, between), opening, close])
        low = np.minimum.reduce([self._seen(pair, whole.low, between), opening, close])
        return Candles(whole.open_time_ms, opening, high, low, close, self._volume(pair, whole.volume, minutes))

    def _pair(self, source: str, quote: str, seed: str) -> _Pair:
        base = source.partition("/")[0]
        symbol = f"{base}/{quote}"
        listing = Listing(symbol, self._view.price_decimals[base], self._view.volume_decimals)
        factor = (1 + self._view.level) * (1 + (USD_LEVEL if quote == "USD" else 0.0))
        stream = int.from_bytes(hashlib.sha256(f"{seed}|{symbol}".encode()).digest()[:8], "big")
        return _Pair(listing, source, factor, stream)

    def _seen(self, pair: _Pair, price: FloatArray, noise: FloatArray) -> FloatArray:
        return np.round(price * pair.factor * np.exp(noise), pair.listing.price_decimals)

    def _volume(self, pair: _Pair, volume: FloatArray, minutes: IntArray) -> FloatArray:
        _, noise = _drawn(pair.stream, _VOLUME_STREAM, minutes)
        share = self._view.volume_share * np.exp(VOLUME_NOISE * noise)
        return np.round(volume * share, pair.listing.volume_decimals)


def market_at(venue: str, market: Market, seed: int) -> Market:
    """The market as it is seen at the venue."""
    return VenueMarket(market, venue, seed) if venue in VIEWS else market


def _drawn(stream: int, purpose: int, minutes: IntArray) -> tuple[FloatArray, FloatArray]:
    """Standard normals of the minutes before these, and of these."""
    days = range(int(minutes[0] - 1) // DAY_MINUTES, int(minutes[-1]) // DAY_MINUTES + 1)
    normals = np.concatenate([_day(stream, purpose, day) for day in days])
    at = minutes - days[0] * DAY_MINUTES
    return normals[at - 1], normals[at]


def _day(stream: int, purpose: int, day: int) -> FloatArray:
    bits = np.random.Philox(key=stream << 64 | day << 8 | purpose)
    return np.random.Generator(bits).standard_normal(DAY_MINUTES)
