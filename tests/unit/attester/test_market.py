"""The attester's own view, kept ready."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

from app.clock import Clock
from app.types import MINUTE_MS

BTC, ETH = "btc-usdt-4h", "eth-usdt-4h"


def test_fresh__before_anything_was_seen__is_nothing(bench: Any) -> None:
    assert bench.market.fresh() == {BTC: False, ETH: False}


def test_refresh__a_feed_without_its_last_minute__leaves_the_others_fresh(bench: Any, window_end_ms: int) -> None:
    bench.candles[BTC] = bench.candles[BTC].between(0, window_end_ms)
    bench.market.refresh()
    assert bench.market.fresh() == {BTC: False, ETH: True}


def test_fresh__three_minutes_later__is_still_fresh_and_then_no_more(bench: Any) -> None:
    bench.market.refresh()
    for minutes, fresh in ((3, True), (4, False)):
        later = bench.market._clock.market_start_ms + minutes * MINUTE_MS
        bench.market._clock = Clock(market_start_ms=later, speed=0)
        assert bench.market.fresh()[ETH] is fresh
        bench.market._clock = Clock(market_start_ms=later - minutes * MINUTE_MS, speed=0)


def test_background__looks_at_every_minute_by_itself_until_it_is_stopped(bench: Any, window_end_ms: int) -> None:
    asked: list[int] = []
    collect = bench.feeds[BTC].collect
    bench.feeds[BTC] = replace(bench.feeds[BTC], collect=lambda end_ms: asked.append(end_ms) or collect(end_ms))
    wall = time.time_ns() // 1_000_000
    bench.market._clock = Clock(market_start_ms=window_end_ms - 2 * MINUTE_MS + 1000, wall_start_ms=wall, speed=120)
    bench.market._settle_s = 0.0
    bench.market.start()
    give_up = time.monotonic() + 10
    while len(asked) < 3 and time.monotonic() < give_up:
        time.sleep(0.02)
    bench.market.stop()
    assert [later - earlier for earlier, later in itertools.pairwise(asked[:3])] == [MINUTE_MS] * 2
