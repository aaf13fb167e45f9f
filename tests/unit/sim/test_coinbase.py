from __future__ import annotations

from typing import Any

import pytest

from app.clock import Clock, wall_ms
from app.sim.coinbase import CoinbaseVenue, Refused
from app.sim.exchange import Exchange
from app.sim.market import SimulatedMarket
from app.sim.recorded import RecordedMarket
from app.sim.views import market_at
from app.types import MINUTE_MS, Candles, parse_time

NOON = parse_time("2025-09-15T12:00:00Z")
SECOND = NOON // 1_000
STOPPED = Clock(NOON + 30_500, wall_ms(), speed=1e-9)
MARKET = market_at("coinbase", SimulatedMarket(1), 1)


@pytest.fixture
def venue() -> CoinbaseVenue:
    return CoinbaseVenue(Exchange("coinbase", MARKET, STOPPED))


def ask(venue: CoinbaseVenue, **parameters: str) -> list[dict[str, str]]:
    usual = {"product_id": "BTC-USDT", "granularity": "ONE_MINUTE", "start": str(SECOND - 300), "end": str(SECOND)}
    answer: list[dict[str, str]] = venue.candles(usual | parameters)["candles"]
    return answer


def test_candles__start_and_end__are_included_newest_first(venue: CoinbaseVenue) -> None:
    found = ask(venue, end=str(SECOND - 60))
    assert [int(candle["start"]) for candle in found] == [SECOND - 60 * n for n in (1, 2, 3, 4, 5)]
    [row] = MARKET.candles("BTC/USDT", NOON - MINUTE_MS, NOON).rows()
    texts = [found[0][name] for name in ("open", "high", "low", "close", "volume")]
    assert [float(text) for text in texts] == row[1:]
    assert all(isinstance(text, str) for text in found[0].values())
    assert found[0]["close"] == f"{row[4]:.2f}"


def test_candles__minute_that_forms__is_the_newest_and_none_is_from_the_future(venue: CoinbaseVenue) -> None:
    assert ask(venue, end=str(SECOND + 600))[0]["start"] == str(SECOND)
    assert ask(venue, start=str(SECOND + 60), end=str(SECOND + 600)) == []


def test_candles__up_to_350__are_given(venue: CoinbaseVenue) -> None:
    assert len(ask(venue, start=str(SECOND - 349 * 60))) == 350


def test_candles__minutes_without_a_trade__are_absent() -> None:
    rows = [
        [NOON + n * MINUTE_MS, 100.0, 101.0, 99.0, 100.5, volume] for n, volume in ((-5, 1.0), (-4, 0.0), (-2, 2.0))
    ]
    exchange = Exchange("coinbase", RecordedMarket("BTC/USDT", Candles.from_rows(rows)), STOPPED)
    found = ask(CoinbaseVenue(exchange))
    assert [int(candle["start"]) for candle in found] == [SECOND - 120, SECOND - 300]
    assert exchange.log.all()[0].candles == 2


def test_candles__hours__are_served_too(venue: CoinbaseVenue) -> None:
    found = ask(venue, granularity="ONE_HOUR", start=str(SECOND - 86_400))
    assert len(found) == 25


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"product_id": "DOGE-USD"}, "valid product_id is required"),
        ({"granularity": "1m"}, "granularity argument is invalid"),
        ({"start": ""}, "start argument is invalid"),
        ({"end": "now"}, "end argument is invalid"),
        ({"start": str(SECOND + 1)}, "start is after end"),
        ({"start": str(SECOND - 350 * 60)}, "number of candles requested should be less than 350"),
    ],
)
def test_candles__bad_arguments__are_refused(venue: CoinbaseVenue, parameters: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        ask(venue, **parameters)


def test_products__spot__are_all_with_their_ticks(venue: CoinbaseVenue) -> None:
    answer = venue.products({})
    assert [product["product_id"] for product in answer["products"]] == ["BTC-USDT", "BTC-USD", "ETH-USDT", "ETH-USD"]
    bitcoin: dict[str, Any] = venue.product({"product_id": "BTC-USD"})
    assert (bitcoin["price_increment"], bitcoin["base_increment"]) == ("0.01", "0.00000001")
    assert bitcoin["trading_disabled"] is False
    assert float(bitcoin["price"]) > 0


def test_products__futures__are_none(venue: CoinbaseVenue) -> None:
    assert venue.products({"product_type": "FUTURE"}) == {"products": [], "num_products": 0}


def test_time__both_versions__are_the_markets(venue: CoinbaseVenue) -> None:
    assert venue.time({})["epochMillis"] == str(NOON + 30_500)
    assert venue.time_v2({})["data"]["epoch"] == SECOND + 30
