"""Which venues can be compared, and which of them have been far from the others for long.

What a venue says of a single minute is weighed in `app.features.returns`, and an auditor repeats that. Here an hour is
looked at, so that a venue which is wrong all the time is named and can be left out of the window before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.features.returns import NANO, absolute_returns, market_returns, signed_returns
from app.types import MINUTE_MS, BoolArray, Candles, CandlesByVenue, FloatArray

DOLLARS = frozenset({"USD", "USDT", "USDC", "FDUSD", "TUSD", "USDP", "PYUSD", "DAI", "BUSD"})
"""Quote currencies that stand for the same unit: their own returns are far smaller than those of what they price."""

LOOK_BACK = 60
LEAST_MINUTES = 30
"""That at least three venues must have in common: of two, nobody can tell which is wrong."""

FAR_LEVEL = 0.03
"""Between price levels; twice the largest distance that a real venue kept up for an hour in the recorded quarter."""
FAR_RETURNS = 1.5
"""Times the market's mean move, beside `RETURNS_FLOOR`. A market that has nothing to do with this one is at about 1.2,
the thinnest recorded venue at 1.15 in its worst hour: what is beyond makes noise of its own."""
RETURNS_FLOOR = 20_000
"""Nano: a fifth of a basis point, below which the last digit of a price shows."""
FAR_STILL = 0.8
"""Of the minutes in which the others move; the thinnest recorded venue stood still in 0.71 in its worst hour."""


def same_market(symbol: str, feed_symbol: str) -> bool:
    """Whether a market's returns can stand for the feed's: the same base, and the same quote or both dollars.

    Symbols as ccxt writes them, such as ``BTC/USD`` and ``BTC/USDT``.
    """
    base, _, quote = symbol.partition("/")
    feed_base, _, feed_quote = feed_symbol.partition("/")
    return base == feed_base and (quote == feed_quote or {quote, feed_quote} <= DOLLARS)


@dataclass(frozen=True, slots=True)
class SetAside:
    """How many of a venue's last minutes were set aside, by what was wrong with them."""

    frozen: int
    outlying: int


def set_aside(candles: CandlesByVenue, end_ms: int, minutes: int = LOOK_BACK) -> Mapping[str, SetAside]:
    """What every venue said in the ``minutes`` before ``end_ms`` that the others contradict: for metrics."""
    if not candles:
        return {}
    start_ms = end_ms - minutes * MINUTE_MS
    market = market_returns({name: absolute_returns(part, start_ms, end_ms) for name, part in candles.items()}, 1)
    counts = zip(market.frozen.sum(axis=1).tolist(), market.outlying.sum(axis=1).tolist(), strict=True)
    return {name: SetAside(*count) for name, count in zip(candles, counts, strict=True)}


def far_venues(candles: CandlesByVenue, end_ms: int) -> dict[str, str]:
    """Venues that were far from the others in most of the last `LOOK_BACK` minutes, each with the reason in words.

    Every measure is a median or a share of the minutes that three venues or more have, so ten minutes of nonsense make
    no venue far, and half an hour does. Nobody is judged where fewer than `LEAST_MINUTES` are in common.
    """
    venues = sorted(candles)
    if len(venues) < 3:
        return {}
    closes, returns = _grid([candles[venue] for venue in venues], end_ms)
    common = np.isfinite(returns).sum(axis=0) >= 3
    if common.sum() < LEAST_MINUTES:
        return {}
    closes, returns = closes[:, common], returns[:, common]
    gaps, market = np.log(closes / np.nanmedian(closes, axis=0)), np.nanmedian(returns, axis=0)
    moving = (np.nan_to_num(returns) != 0).any(axis=0)
    reasons = {
        venue: _why_far(gaps[row], returns[row], market, moving)
        for row, venue in enumerate(venues)
        if np.isfinite(returns[row]).sum() >= LEAST_MINUTES
    }
    return {venue: words for venue, words in reasons.items() if words is not None}


def _grid(candles: list[Candles], end_ms: int) -> tuple[FloatArray, FloatArray]:
    """Closes and signed returns in nano of the last minutes, (venues, `LOOK_BACK`) each, NaN where there is none."""
    start_ms = end_ms - LOOK_BACK * MINUTE_MS
    closes = np.full((len(candles), LOOK_BACK), np.nan)
    returns = np.full_like(closes, np.nan)
    for row, part in enumerate(candles):
        inside = part.between(start_ms, end_ms)
        closes[row, (inside.open_time_ms - start_ms) // MINUTE_MS] = inside.close
        signed, known = signed_returns(part, start_ms, end_ms)
        returns[row, known] = signed[known]
    return closes, returns


def _why_far(gaps: FloatArray, returns: FloatArray, market: FloatArray, moving: BoolArray) -> str | None:
    """What is wrong with a venue by its distances from the median level and its returns against the median's.

    Shapes (minutes,); ``moving`` says when any venue's price changed.
    """
    here = np.isfinite(returns)
    still = int(((returns == 0) & moving).sum())
    gaps, returns, market = gaps[here], returns[here], market[here]
    if still > FAR_STILL * len(returns):
        return f"its price stood still in {still} of {len(returns)} minutes in which the others moved"
    if float(np.median(np.abs(gaps))) > FAR_LEVEL:
        away = float(np.expm1(np.median(gaps)))
        return f"its price was {away:+.1%} from the median of the venues over the last hour"
    apart, move = float(np.median(np.abs(returns - market))), float(np.mean(np.abs(market)))
    if apart > FAR_RETURNS * move + RETURNS_FLOOR:
        return f"its minutes differ by {apart / NANO:.3%} from those of the median, which moves by {move / NANO:.3%}"
    return None
