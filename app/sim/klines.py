"""What a venue shows of a market at one moment: market → here → exchange.py → the protocols.

Pure functions: the minute that is still forming, what faults do, candles of longer intervals, a page of them, and their
rows as text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal

import numpy as np

from app.sim.distortion import distorted
from app.sim.faults import Fault
from app.sim.market import Market, join
from app.types import MINUTE_MS, Candles

INTERVAL_MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1_440,
}

SHORTEST_READ_MS = 1_000 * MINUTE_MS
LONGEST_READ_MS = 14_400 * MINUTE_MS


def page(
    market: Market,
    symbol: str,
    step_ms: int,
    now_ms: int,
    start_ms: int | None,
    end_ms: int | None,
    limit: int,
    faults: Sequence[Fault] = (),
) -> Candles:
    """At most ``limit`` candles of ``step_ms`` that open within start and end, both inclusive, and not after now.

    With a start the oldest ones, without it the newest; ascending either way. Gaps are passed over, so a page is full
    as long as there is anything to fill it with.
    """
    first, after_last = market.span(symbol)
    low = _round_up(max(first - first % step_ms, start_ms or 0), step_ms)
    newest = now_ms if end_ms is None else min(end_ms, now_ms)
    high = min(newest // step_ms * step_ms + step_ms, _round_up(after_last, step_ms))
    forward = start_ms is not None
    parts: list[Candles] = []
    found = 0
    for start, end in _reads(low, high, limit * step_ms, step_ms, forward):
        parts.append(resample(visible(market, symbol, start, end, now_ms, faults), step_ms))
        found += len(parts[-1])
        if found >= limit:
            break
    candles = join(parts if forward else parts[::-1])
    cut = slice(limit) if forward else slice(-limit, None)
    return candles.part(cut)


def visible(
    market: Market, symbol: str, start_ms: int, end_ms: int, now_ms: int, faults: Sequence[Fault] = ()
) -> Candles:
    """One-minute candles as they stand at ``now_ms``: the minute that has begun is there, half made; none after it."""
    minute = now_ms // MINUTE_MS * MINUTE_MS
    candles = market.candles(symbol, start_ms, min(end_ms, minute + MINUTE_MS))
    if len(candles) and candles.open_time_ms[-1] == minute:
        listing = market.listing(symbol)
        forming = candles.part(slice(-1, None))
        elapsed = (now_ms - minute) / MINUTE_MS
        half_made = unfinished(forming, elapsed, listing.price_decimals, listing.volume_decimals)
        candles = join([candles.part(slice(-1)), half_made])
    return distorted(candles, faults, market, symbol, now_ms)


def unfinished(candle: Candles, elapsed: float, price_decimals: int, volume_decimals: int) -> Candles:
    """The single candle as it looks after ``elapsed`` of its minute, in [0, 1).

    The price is taken to run in straight lines from the open over both extremes, the one against the outcome first,
    to the close, a third of the minute each; high and low are those of the run so far.
    """
    opening, close = candle.open[0], candle.close[0]
    extremes = (candle.low[0], candle.high[0]) if close >= opening else (candle.high[0], candle.low[0])
    corners = np.array([opening, *extremes, close])
    times = np.array([0.0, 1 / 3, 2 / 3, 1.0])
    price = np.round(np.interp(elapsed, times, corners), price_decimals)
    run = np.append(corners[times <= elapsed], price)
    volume = np.round(candle.volume * elapsed, volume_decimals)
    return Candles(candle.open_time_ms, candle.open, run.max(keepdims=True), run.min(keepdims=True), run[-1:], volume)


def resample(candles: Candles, step_ms: int) -> Candles:
    """Candles of ``step_ms``, opening on its multiples, out of one-minute candles."""
    if step_ms == MINUTE_MS or not len(candles):
        return candles
    opens, at = np.unique(candles.open_time_ms // step_ms * step_ms, return_index=True)
    last = np.append(at[1:], len(candles)) - 1
    return Candles(
        opens,
        candles.open[at],
        np.maximum.reduceat(candles.high, at),
        np.minimum.reduceat(candles.low, at),
        candles.close[last],
        np.add.reduceat(candles.volume, at).round(8),
    )


def rows(candles: Candles, step_ms: int) -> list[list[int | str]]:
    """Binance's twelve elements for each candle.

    The market knows no single trades: quote volume is volume at the candle's mean price, the number of trades grows
    with volume, and takers buy half of it.
    """
    mean = (candles.open + candles.high + candles.low + candles.close) / 4
    own = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    texts = zip(*([decimal_text(value) for value in column.tolist()] for column in own), strict=True)
    derived = zip((candles.volume * mean).tolist(), candles.volume.tolist(), strict=True)
    return [
        [
            *(time, *prices_and_volume, time + step_ms - 1),
            *(f"{quote:.8f}", math.ceil(40 * volume), f"{volume / 2:.8f}", f"{quote / 2:.8f}", "0"),
        ]
        for time, prices_and_volume, (quote, volume) in zip(candles.open_time_ms.tolist(), texts, derived, strict=True)
    ]


def decimal_text(value: float, decimals: int = 8) -> str:
    """With so many decimals, as a venue writes it; with more where fewer would lose some of the float."""
    text = f"{value:.{decimals}f}"
    return text if float(text) == value else format(Decimal(repr(value)), "f")


def _reads(low: int, high: int, wanted_ms: int, step_ms: int, forward: bool) -> Iterator[tuple[int, int]]:
    """The stretches in which to read from one end until enough is found: long enough to get over gaps, and short
    enough not to hold years of minutes at once."""
    width = _round_up(max(min(wanted_ms, LONGEST_READ_MS), SHORTEST_READ_MS), step_ms)
    if forward:
        for start in range(low, high, width):
            yield start, min(start + width, high)
    else:
        for end in range(high, low, -width):
            yield max(end - width, low), end


def _round_up(time_ms: int, step_ms: int) -> int:
    return -(-time_ms // step_ms) * step_ms
