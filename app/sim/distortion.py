"""What faults do to candles: market → klines.py → here. Candles stay possible ones: high on top, low at the bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.sim.faults import Fault, FaultKind
from app.sim.market import DAY_MS, Market
from app.types import MINUTE_MS, BoolArray, Candles, FloatArray


def distorted(candles: Candles, faults: Sequence[Fault], market: Market, symbol: str, now_ms: int) -> Candles:
    """One-minute candles as the venue shows them at ``now_ms`` (its own clock), under faults given in their order."""
    for fault in faults:
        times = candles.open_time_ms
        hit = (times >= fault.from_ms) & (times < fault.until_ms)
        if hit.any():
            candles = _under(fault, candles, hit, market, symbol, now_ms)
    return candles


def _under(fault: Fault, candles: Candles, hit: BoolArray, market: Market, symbol: str, now_ms: int) -> Candles:
    decimals = market.listing(symbol).price_decimals
    settled = candles.open_time_ms + MINUTE_MS + round(fault.seconds * 1_000) <= now_ms
    match fault.kind:
        case FaultKind.FROZEN:
            return _frozen(candles, hit, _price_before(market, symbol, fault.from_ms))
        case FaultKind.WRONG_PRICE:
            return _scaled(candles, hit, 1 + fault.amount, decimals)
        case FaultKind.REVISED:
            return _provisional(candles, hit & ~settled, fault.amount, decimals)
        case FaultKind.MISSING:
            return candles.part(~hit)
        case FaultKind.LATE:
            return candles.part(~hit | settled)
    return candles


def _price_before(market: Market, symbol: str, from_ms: int) -> float:
    """The last close before; the market's first price where nothing was traded before."""
    first, _ = market.span(symbol)
    for start in (from_ms - DAY_MS, first):
        before = market.candles(symbol, start, from_ms)
        if len(before):
            return float(before.close[-1])
    return float(market.candles(symbol, first, first + MINUTE_MS).open[0])


def _frozen(candles: Candles, hit: BoolArray, price: float) -> Candles:
    def held(values: FloatArray) -> FloatArray:
        return np.where(hit, price, values)

    return replace(
        candles, open=held(candles.open), high=held(candles.high), low=held(candles.low), close=held(candles.close)
    )


def _scaled(candles: Candles, hit: BoolArray, factor: float, decimals: int) -> Candles:
    def moved(values: FloatArray) -> FloatArray:
        return np.where(hit, np.round(values * factor, decimals), values)

    return replace(
        candles, open=moved(candles.open), high=moved(candles.high), low=moved(candles.low), close=moved(candles.close)
    )


def _provisional(candles: Candles, hit: BoolArray, amount: float, decimals: int) -> Candles:
    sign = 1 - 2 * (candles.open_time_ms // MINUTE_MS % 2)
    close = np.where(hit, np.round(candles.close * (1 + sign * amount), decimals), candles.close)
    return replace(candles, close=close, high=np.maximum(candles.high, close), low=np.minimum(candles.low, close))
