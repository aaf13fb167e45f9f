from __future__ import annotations

import math

import numpy as np
import pytest

from app.sim.klines import decimal_text, page, resample, rows, unfinished, visible
from app.sim.market import SimulatedMarket
from app.sim.recorded import RecordedMarket
from app.types import MINUTE_MS, Candles, parse_time

BTC = "BTC/USDT"
START = parse_time("2025-09-15T12:00:00Z")
NOW = START + 90 * 1_000 * MINUTE_MS
RISING = Candles.from_rows([[START, 100.0, 112.0, 94.0, 106.0, 9.0]])


def minutes(*numbers: int) -> Candles:
    return Candles.from_rows([[START + n * MINUTE_MS, 100.0 + n, 101.0 + n, 99.0 + n, 100.5 + n, 1.0] for n in numbers])


def opened(candles: Candles) -> list[int]:
    return [(time - START) // MINUTE_MS for time in candles.open_time_ms.tolist()]


def ohlcv(candles: Candles) -> list[float]:
    [[_, *values]] = candles.rows()
    return values


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        (0.0, [100.0, 100.0, 100.0, 100.0, 0.0]),
        (1 / 6, [100.0, 100.0, 97.0, 97.0, 1.5]),
        (0.5, [100.0, 103.0, 94.0, 103.0, 4.5]),
        (5 / 6, [100.0, 112.0, 94.0, 109.0, 7.5]),
    ],
)
def test_unfinished__rising_minute__falls_first_then_rises(elapsed: float, expected: list[float]) -> None:
    assert ohlcv(unfinished(RISING, elapsed, 2, 5)) == pytest.approx(expected)


def test_unfinished__falling_minute__rises_first() -> None:
    falling = Candles.from_rows([[START, 100.0, 112.0, 94.0, 97.0, 9.0]])
    assert ohlcv(unfinished(falling, 1 / 6, 2, 5)) == pytest.approx([100.0, 106.0, 100.0, 106.0, 1.5])


def test_unfinished__at_any_moment__differs_from_the_closed_candle() -> None:
    market = SimulatedMarket(1)
    for number in range(50):
        whole = market.candles(BTC, START + number * MINUTE_MS, START + (number + 1) * MINUTE_MS)
        part = unfinished(whole, 0.4, 2, 5)
        assert part.rows() != whole.rows()
        assert part.low[0] <= min(part.open[0], part.close[0]) <= max(part.open[0], part.close[0]) <= part.high[0]
        assert whole.low[0] <= part.low[0] <= part.high[0] <= whole.high[0]
        assert part.volume[0] < whole.volume[0]


def test_visible__minute_that_has_begun__is_half_made_and_the_last() -> None:
    market = SimulatedMarket(1)
    end = START + 10 * MINUTE_MS
    seen = visible(market, BTC, START, end, START + 4 * MINUTE_MS + 15_000)
    assert opened(seen) == [0, 1, 2, 3, 4]
    closed = market.candles(BTC, START, end)
    assert seen.rows()[:4] == closed.rows()[:4]
    assert seen.volume[4] == pytest.approx(closed.volume[4] / 4, abs=1e-5)


def test_visible__minute_closed__is_the_candle_of_the_market() -> None:
    market = SimulatedMarket(1)
    seen = visible(market, BTC, START, START + MINUTE_MS, START + MINUTE_MS)
    assert seen.rows() == market.candles(BTC, START, START + MINUTE_MS).rows()


def test_page__with_start__is_the_oldest_ascending() -> None:
    market = RecordedMarket(BTC, minutes(*range(50)))
    found = page(market, BTC, MINUTE_MS, NOW, START + 9 * MINUTE_MS + 1, None, 3)
    assert opened(found) == [10, 11, 12]


def test_page__without_start__is_the_newest_ascending() -> None:
    market = RecordedMarket(BTC, minutes(*range(50)))
    assert opened(page(market, BTC, MINUTE_MS, NOW, None, None, 3)) == [47, 48, 49]
    assert opened(page(market, BTC, MINUTE_MS, NOW, None, START + 20 * MINUTE_MS, 3)) == [18, 19, 20]


def test_page__start_and_end__are_inclusive() -> None:
    market = RecordedMarket(BTC, minutes(*range(50)))
    start, end = START + 4 * MINUTE_MS, START + 6 * MINUTE_MS
    assert opened(page(market, BTC, MINUTE_MS, NOW, start, end, 500)) == [4, 5, 6]
    assert opened(page(market, BTC, MINUTE_MS, NOW, start, start, 500)) == [4]
    assert opened(page(market, BTC, MINUTE_MS, NOW, end, start, 500)) == []


def test_page__gaps__are_passed_over_and_never_filled() -> None:
    market = RecordedMarket(BTC, minutes(0, 1, 5, 5_000, 70_000))
    assert opened(page(market, BTC, MINUTE_MS, NOW, START, None, 4)) == [0, 1, 5, 5_000]
    assert opened(page(market, BTC, MINUTE_MS, NOW, None, None, 3)) == [5, 5_000, 70_000]


def test_page__future_of_the_clock__is_not_shown() -> None:
    market = RecordedMarket(BTC, minutes(*range(50)))
    now = START + 7 * MINUTE_MS
    assert opened(page(market, BTC, MINUTE_MS, now, START + 6 * MINUTE_MS, NOW, 500)) == [6, 7]
    assert opened(page(market, BTC, MINUTE_MS, now, START + 8 * MINUTE_MS, NOW, 500)) == []


def test_page__start_of_time__begins_at_the_listing() -> None:
    market = SimulatedMarket(1)
    found = page(market, BTC, MINUTE_MS, NOW, 0, None, 2)
    assert found.open_time_ms[0] == market.span(BTC)[0]


def test_page__hours__are_those_of_their_minutes() -> None:
    market = SimulatedMarket(1)
    hour = 60 * MINUTE_MS
    now = START + 3 * hour + 30 * MINUTE_MS
    found = page(market, BTC, hour, now, START - hour + 1, None, 500)
    assert opened(found) == [0, 60, 120, 180]
    inside = market.candles(BTC, START, START + hour)
    first = found.rows()[0]
    assert first[1:5] == [inside.open[0], inside.high.max(), inside.low.min(), inside.close[-1]]
    assert first[5] == pytest.approx(inside.volume.sum())
    newest = page(market, BTC, hour, now, None, None, 3)
    assert newest.rows() == found.rows()[1:]


def test_page__days__read_over_several_stretches() -> None:
    found = page(SimulatedMarket(1), BTC, 1_440 * MINUTE_MS, START, None, None, 25)
    assert len(found) == 25
    assert (np.diff(found.open_time_ms) == 1_440 * MINUTE_MS).all()


def test_resample__gap__leaves_out_the_empty_candle() -> None:
    assert opened(resample(minutes(0, 1, 14, 15), 5 * MINUTE_MS)) == [0, 10, 15]


def test_rows__row__has_the_twelve_elements_of_binance() -> None:
    candles = Candles.from_rows([[START, 63_000.01, 63_002.0, 63_000.0, 63_001.99, 2.5]])
    assert rows(candles, MINUTE_MS) == [
        [
            START,
            "63000.01000000",
            "63002.00000000",
            "63000.00000000",
            "63001.99000000",
            "2.50000000",
            START + 59_999,
            "157502.50000000",
            100,
            "1.25000000",
            "78751.25000000",
            "0",
        ]
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (63_000.01, "63000.01000000"),
        (0.0, "0.00000000"),
        (1e-8, "0.00000001"),
        (1.25e-10, "0.000000000125"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e22, "10000000000000000000000.00000000"),
        (math.pi, "3.141592653589793"),
    ],
)
def test_decimal_text__float__is_read_back_exactly(value: float, text: str) -> None:
    assert decimal_text(value) == text
    assert float(text) == value
