from __future__ import annotations

from typing import Any

import pytest

from app.clock import Clock, wall_ms
from app.sim.exchange import Exchange
from app.sim.kraken import KrakenVenue, Pair, Refused
from app.sim.market import SimulatedMarket
from app.sim.views import market_at
from app.types import MINUTE_MS, parse_time

NOON = parse_time("2025-09-15T12:00:00Z")
SECOND = NOON // 1_000
MARKET = market_at("kraken", SimulatedMarket(1), 1)


@pytest.fixture
def venue() -> KrakenVenue:
    return KrakenVenue(Exchange("kraken", MARKET, Clock(NOON + 30_500, wall_ms(), speed=1e-9)))


def rows_of(venue: KrakenVenue, **parameters: str) -> list[list[Any]]:
    answer: list[list[Any]] = venue.ohlc({"pair": "XBTUSDT"} | parameters)["XBTUSDT"]
    return answer


@pytest.mark.parametrize(
    ("symbol", "pair_id", "altname"),
    [
        ("BTC/USDT", "XBTUSDT", "XBTUSDT"),
        ("ETH/USDT", "ETHUSDT", "ETHUSDT"),
        ("BTC/USD", "XXBTZUSD", "XBTUSD"),
        ("ETH/USD", "XETHZUSD", "ETHUSD"),
        ("SOL/USD", "SOLUSD", "SOLUSD"),
    ],
)
def test_pair__names__are_krakens(symbol: str, pair_id: str, altname: str) -> None:
    pair = Pair.of(symbol)
    assert (pair.id, pair.altname) == (pair_id, altname)


def test_ohlc__whatever_since__are_the_newest_720_with_the_forming_one_last(venue: KrakenVenue) -> None:
    for since in ("0", str(SECOND - 86_400)):
        rows = rows_of(venue, since=since)
        assert [row[0] for row in rows] == [SECOND - 60 * n for n in range(719, -1, -1)]


def test_ohlc__since__leaves_out_its_own_candle(venue: KrakenVenue) -> None:
    assert [row[0] for row in rows_of(venue, since=str(SECOND - 120))] == [SECOND - 60, SECOND]
    assert rows_of(venue, since=str(SECOND)) == []


def test_ohlc__last__is_the_newest_that_is_closed(venue: KrakenVenue) -> None:
    assert venue.ohlc({"pair": "XBTUSDT", "since": str(SECOND - 60)})["last"] == SECOND - 60


def test_ohlc__row__is_text_but_for_time_and_count(venue: KrakenVenue) -> None:
    row = rows_of(venue)[-2]
    [[_, *values]] = MARKET.candles("BTC/USDT", NOON - MINUTE_MS, NOON).rows()
    assert [float(row[at]) for at in (1, 2, 3, 4, 6)] == values
    assert row[4] == f"{values[3]:.1f}"
    assert [type(cell) for cell in row] == [int, str, str, str, str, str, str, int]


@pytest.mark.parametrize("name", ["XXBTZUSD", "XBTUSD", "XBT/USD"])
def test_ohlc__any_name_of_the_pair__answers_under_its_id(venue: KrakenVenue, name: str) -> None:
    assert set(venue.ohlc({"pair": name, "interval": "60"})) == {"XXBTZUSD", "last"}


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"pair": "XBTDOGE"}, "EQuery:Unknown asset pair"),
        ({"pair": ""}, "EGeneral:Invalid arguments"),
        ({"pair": "XBTUSD", "interval": "7"}, "EGeneral:Invalid arguments"),
        ({"pair": "XBTUSD", "since": "now"}, "EGeneral:Invalid arguments"),
    ],
)
def test_ohlc__bad_arguments__are_refused(venue: KrakenVenue, parameters: dict[str, str], error: str) -> None:
    with pytest.raises(Refused, match=error):
        venue.ohlc(parameters)


def test_asset_pairs__all_or_asked_for__have_their_decimals(venue: KrakenVenue) -> None:
    assert list(venue.asset_pairs({})) == ["XBTUSDT", "XXBTZUSD", "ETHUSDT", "XETHZUSD"]
    assert venue.asset_pairs({"pair": "XBTUSD,ETHUSDT"})["XXBTZUSD"]["pair_decimals"] == 1


def test_assets__codes__are_krakens(venue: KrakenVenue) -> None:
    assert {code: asset["altname"] for code, asset in venue.assets({}).items()} == {
        "XETH": "ETH",
        "ZUSD": "USD",
        "USDT": "USDT",
        "XXBT": "XBT",
    }


def test_time__is_the_markets_in_whole_seconds(venue: KrakenVenue) -> None:
    assert venue.time({}) == {"unixtime": SECOND + 30, "rfc1123": "Mon, 15 Sep 2025 12:00:30 GMT"}
