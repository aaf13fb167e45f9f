from __future__ import annotations

import numpy as np
import pytest

from app.sim.market import DAY_MINUTES, DAY_MS, LISTED_MS, SimulatedMarket
from app.types import MINUTE_MS, Candles, FloatArray, parse_time

BTC = "BTC/USDT"
MONDAY = parse_time("2026-06-01T00:00:00Z")


@pytest.fixture(scope="module")
def year() -> Candles:
    return SimulatedMarket(seed=7).candles(BTC, MONDAY - 364 * DAY_MS, MONDAY)


@pytest.fixture(scope="module")
def moves(year: Candles) -> FloatArray:
    """Absolute one-minute returns of whole days, shape (364, 1440)."""
    return np.abs(np.log(year.close / year.open)).reshape(-1, DAY_MINUTES)


def test_market__same_seed__same_candles() -> None:
    ask = (BTC, MONDAY, MONDAY + DAY_MS)
    assert SimulatedMarket(3).candles(*ask).digest() == SimulatedMarket(3).candles(*ask).digest()


def test_market__another_seed_or_symbol__another_market() -> None:
    market = SimulatedMarket(3)
    span = (MONDAY, MONDAY + DAY_MS)
    assert market.candles(BTC, *span).digest() != SimulatedMarket(4).candles(BTC, *span).digest()
    bitcoin, ether = market.candles(BTC, *span), market.candles("ETH/USDT", *span)
    correlation = np.corrcoef(np.diff(np.log(bitcoin.close)), np.diff(np.log(ether.close)))[0, 1]
    assert abs(correlation) < 0.15


def test_market__any_range_in_any_order__same_minutes() -> None:
    asked_at_once = SimulatedMarket(3).candles(BTC, MONDAY - 5 * DAY_MS, MONDAY + 5 * DAY_MS)
    market = SimulatedMarket(3)
    market.candles(BTC, MONDAY + 40 * DAY_MS, MONDAY + 41 * DAY_MS)
    for start, minutes in ((MONDAY + 3 * DAY_MS, 1), (MONDAY - 61 * MINUTE_MS, 122), (MONDAY - DAY_MS, 3_000)):
        end = start + minutes * MINUTE_MS
        part = market.candles(BTC, start, end)
        assert len(part) == minutes
        assert part.digest() == asked_at_once.between(start, end).digest()


def test_market__every_minute__is_there_and_opens_at_the_close_before(year: Candles) -> None:
    assert (np.diff(year.open_time_ms) == MINUTE_MS).all()
    assert (year.open[1:] == year.close[:-1]).all()


def test_market__every_candle__is_consistent_and_on_the_tick(year: Candles) -> None:
    assert (year.high >= np.maximum(year.open, year.close)).all()
    assert (year.low <= np.minimum(year.open, year.close)).all()
    assert (year.high > year.low).mean() > 0.999
    assert (year.volume > 0).all()
    for prices in (year.open, year.high, year.low, year.close):
        assert np.array_equal(prices.round(2), prices)
    assert np.array_equal(year.volume.round(5), year.volume)


def test_market__price__stays_near_its_level(year: Candles) -> None:
    assert year.low.min() > 50_000
    assert year.high.max() < 125_000


def test_market__volatility__is_that_of_bitcoin(moves: FloatArray) -> None:
    hourly = moves.reshape(-1, 60).mean(axis=1)
    assert 3e-4 < np.median(hourly) < 6e-4


def test_market__windows_of_four_hours__split_between_low_and_high(year: Candles) -> None:
    returns = np.diff(np.log(year.close), prepend=np.log(year.open[0]))
    high = returns.reshape(-1, 240).std(axis=1) >= 0.0005
    assert 0.3 < high.mean() < 0.7


def test_market__day__is_liveliest_in_the_american_morning(moves: FloatArray) -> None:
    by_hour = moves.mean(axis=0).reshape(24, 60).mean(axis=1)
    assert 13 <= np.argmax(by_hour) <= 17
    assert by_hour.max() > 1.5 * by_hour.min()


def test_market__week__is_quieter_at_its_end(moves: FloatArray) -> None:
    by_weekday = moves.mean(axis=1).reshape(-1, 7).mean(axis=0)
    assert by_weekday[5:].max() < by_weekday[:5].min()


def test_market__volatility__clusters_for_hours_and_for_days(moves: FloatArray) -> None:
    hourly = np.log(moves.reshape(364, 24, 60).mean(axis=2))
    without_season = hourly - hourly.mean(axis=0)
    series = without_season.ravel()
    for hours, least in ((1, 0.7), (24, 0.3), (72, 0.15)):
        assert np.corrcoef(series[hours:], series[:-hours])[0, 1] > least


def test_market__returns__have_tails_and_no_trend(year: Candles) -> None:
    returns = np.log(year.close / year.open)
    assert np.mean(returns**4) / np.mean(returns**2) ** 2 > 5
    assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.02


def test_market__volume__follows_volatility(year: Candles) -> None:
    assert np.corrcoef(np.log(year.volume), np.log(year.high / year.low))[0, 1] > 0.3


def test_market__before_its_listing__is_empty() -> None:
    market = SimulatedMarket()
    assert len(market.candles(BTC, 0, LISTED_MS)) == 0
    assert market.candles(BTC, 0, LISTED_MS + 2 * MINUTE_MS).open_time_ms[0] == LISTED_MS
    assert market.span(BTC)[0] == LISTED_MS


def test_market__symbol_it_does_not_have__is_a_key_error() -> None:
    with pytest.raises(KeyError):
        SimulatedMarket().candles("DOGE/USDT", MONDAY, MONDAY + MINUTE_MS)
