from __future__ import annotations

import numpy as np
import pytest

from app.sim.market import DAY_MINUTES, DAY_MS, Listing, SimulatedMarket
from app.sim.recorded import RecordedMarket
from app.sim.views import NOISE, VenueMarket, market_at
from app.types import MINUTE_MS, Candles, FloatArray, parse_time

BTC = "BTC/USDT"
SEED = 3
MONDAY = parse_time("2026-06-01T00:00:00Z")
WEEK = (MONDAY - 7 * DAY_MS, MONDAY)
BOTH = pytest.mark.parametrize("venue", ["coinbase", "kraken"])


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return SimulatedMarket(SEED)


def week_at(venue: str, market: SimulatedMarket, symbol: str = BTC, seed: int = SEED) -> Candles:
    return market_at(venue, market, seed).candles(symbol, *WEEK)


def noise_of(seen: Candles, market: SimulatedMarket) -> FloatArray:
    """Log distance of the venue's closes from the market's, the mean taken out."""
    apart: FloatArray = np.log(seen.close / market.candles(BTC, *WEEK).close)
    return apart - apart.mean()


def test_view__binance__is_the_market_itself(market: SimulatedMarket) -> None:
    assert market_at("binance", market, SEED) is market


@pytest.mark.parametrize(
    ("venue", "symbol", "level"),
    [
        ("coinbase", "BTC/USDT", 1.000_4),
        ("kraken", "BTC/USDT", 0.999_7),
        ("coinbase", "ETH/USD", 1.000_4 * 0.999_5),
        ("kraken", "BTC/USD", 0.999_7 * 0.999_5),
    ],
)
def test_view__level__is_the_venues_and_the_quotes(
    market: SimulatedMarket, venue: str, symbol: str, level: float
) -> None:
    underlying = market.candles(symbol.replace("/USDT", "/USD").replace("/USD", "/USDT"), *WEEK)
    ratio = week_at(venue, market, symbol).close / underlying.close
    assert np.median(ratio) == pytest.approx(level, abs=2e-6)


@BOTH
def test_view__noise__is_half_a_basis_point_and_independent(market: SimulatedMarket, venue: str) -> None:
    noise = noise_of(week_at(venue, market), market)
    assert noise.std() == pytest.approx(NOISE, rel=0.05)
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.04


def test_view__venues_symbols_and_seeds__have_noise_of_their_own(market: SimulatedMarket) -> None:
    seen = [week_at("coinbase", market), week_at("kraken", market), week_at("coinbase", market, seed=SEED + 1)]
    seen.append(week_at("coinbase", market, "BTC/USD"))
    correlations = np.corrcoef([noise_of(candles, market) for candles in seen])
    assert (np.abs(correlations - np.eye(4)) < 0.04).all()


@BOTH
def test_view__candles__are_possible_and_follow_one_another(market: SimulatedMarket, venue: str) -> None:
    week = week_at(venue, market)
    assert len(week) == 7 * DAY_MINUTES
    assert (week.open[1:] == week.close[:-1]).all()
    assert (week.high >= np.maximum(week.open, week.close)).all()
    assert (week.low <= np.minimum(week.open, week.close)).all()
    listing = market_at(venue, market, SEED).listing(BTC)
    assert np.array_equal(week.close.round(listing.price_decimals), week.close)
    assert (week.volume > 0).all()


def test_view__volume__is_another_at_each_venue(market: SimulatedMarket) -> None:
    own = market.candles(BTC, *WEEK).volume
    assert np.median(week_at("coinbase", market).volume / own) == pytest.approx(0.35, rel=0.05)
    assert np.median(week_at("kraken", market).volume / own) == pytest.approx(0.12, rel=0.05)


def test_view__any_range__same_minutes(market: SimulatedMarket) -> None:
    whole = week_at("kraken", market)
    for start, minutes in ((MONDAY - DAY_MS, 1), (MONDAY - 3 * DAY_MS - 61 * MINUTE_MS, 122)):
        end = start + minutes * MINUTE_MS
        part = market_at("kraken", SimulatedMarket(SEED), SEED).candles(BTC, start, end)
        assert part.rows() == whole.between(start, end).rows()


def test_view__gap__stays_one() -> None:
    rows = [[MONDAY + n * MINUTE_MS, 100.0, 101.0, 99.0, 100.5, 1.0] for n in (0, 1, 5)]
    seen = VenueMarket(RecordedMarket(BTC, Candles.from_rows(rows)), "kraken", SEED)
    found = seen.candles(BTC, MONDAY, MONDAY + DAY_MS)
    assert found.open_time_ms.tolist() == [row[0] for row in rows]
    assert not len(seen.candles(BTC, MONDAY + 2 * MINUTE_MS, MONDAY + 5 * MINUTE_MS))


def test_view__listings__have_the_venues_ticks(market: SimulatedMarket) -> None:
    kraken = market_at("kraken", market, SEED)
    assert kraken.symbols == ("BTC/USDT", "BTC/USD", "ETH/USDT", "ETH/USD")
    assert kraken.listing("BTC/USD") == Listing("BTC/USD", 1, 8)
    assert kraken.span("BTC/USD") == market.span(BTC)
    with pytest.raises(KeyError):
        kraken.listing("SOL/USD")
