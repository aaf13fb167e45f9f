from __future__ import annotations

from typing import Any

import pytest

from app.clock import Clock, wall_ms
from app.sim.binance import BinanceVenue, Refused, read_parameters
from app.sim.exchange import Exchange
from app.sim.market import SimulatedMarket
from app.types import MINUTE_MS, parse_time

START = parse_time("2025-09-15T12:00:00Z")
ACCEPTS = ("symbol", "interval", "limit")
NEEDS = ("symbol", "interval")


@pytest.fixture
def venue() -> BinanceVenue:
    stopped = Clock(START + 30_000, wall_ms(), speed=1e-9)
    return BinanceVenue(Exchange("binance", SimulatedMarket(1), stopped))


def ask(venue: BinanceVenue, **parameters: str) -> Any:
    return venue.klines({"symbol": "BTCUSDT", "interval": "1m"} | parameters)


def test_klines__without_limit__are_the_last_500_with_the_forming_one(venue: BinanceVenue) -> None:
    found = ask(venue)
    assert len(found) == 500
    assert found[-1][0] == START
    assert found[-1][6] == START + 59_999


def test_klines__limit_above_the_most__is_cut_silently(venue: BinanceVenue) -> None:
    assert len(ask(venue, limit="1001")) == 1_000


def test_klines__start_in_the_future__are_none(venue: BinanceVenue) -> None:
    assert ask(venue, startTime=str(START + MINUTE_MS)) == []
    assert ask(venue, startTime="9" * 20) == []


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ({"symbol": "NOTREAL"}, -1121, "Invalid symbol."),
        ({"symbol": "BTC/USDT"}, -1100, "parameter 'symbol'"),
        ({"symbol": "btcusdt"}, -1100, "parameter 'symbol'"),
        ({"interval": "7m"}, -1120, "Invalid interval."),
        ({"interval": "1M"}, -1120, "Invalid interval."),
        ({"limit": "0"}, -1102, "'limit' was not sent, was empty/null, or malformed"),
        ({"limit": "-5"}, -1100, "legal range is '^[0-9]{1,20}$'"),
        ({"limit": "٣"}, -1100, "parameter 'limit'"),
        ({"startTime": "1.5"}, -1100, "parameter 'startTime'"),
        ({"endTime": "now"}, -1100, "parameter 'endTime'"),
    ],
)
def test_klines__bad_parameter__is_refused_with_the_code_of_binance(
    venue: BinanceVenue, parameters: dict[str, str], code: int, words: str
) -> None:
    with pytest.raises(Refused) as refusal:
        ask(venue, **parameters)
    assert refusal.value.code == code
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ([], -1102, "'symbol'"),
        ([("symbol", "")], -1102, "'symbol'"),
        ([("symbol", "BTCUSDT")], -1102, "'interval'"),
        ([("symbol", "A"), ("interval", "1m"), ("from", "1")], -1104, "read '2' parameter(s) but was sent '3'"),
        ([("symbol", "A"), ("symbol", "B")], -1101, "Duplicate values"),
        ([(name, "1") for name in ("a", "b", "c", "d")], -1101, "expected '3' and received '4'"),
        ([("symbol", "A"), ("interval", "1m"), ("limit", "")], -1105, "Parameter 'limit' was empty."),
    ],
)
def test_parameters__that_do_not_fit__are_refused(sent: list[tuple[str, str]], code: int, words: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_parameters(sent, ACCEPTS, NEEDS)
    assert refusal.value.code == code
    assert words in str(refusal.value)


def test_parameters__that_fit__are_a_mapping() -> None:
    sent = [("interval", "1m"), ("symbol", "BTCUSDT")]
    assert read_parameters(sent, ACCEPTS, NEEDS) == {"symbol": "BTCUSDT", "interval": "1m"}


def test_exchange_info__all__lists_every_symbol_with_its_rules(venue: BinanceVenue) -> None:
    info = venue.exchange_info({})
    assert [symbol["symbol"] for symbol in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert info["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 6_000,
    }
    bitcoin = info["symbols"][0]
    rules = {rule["filterType"]: rule for rule in bitcoin["filters"]}
    assert bitcoin["status"] == "TRADING"
    assert rules["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert rules["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert rules["NOTIONAL"]["minNotional"] == "5.00000000"


@pytest.mark.parametrize(
    ("parameters", "symbols"),
    [
        ({"symbol": "ETHUSDT"}, ["ETHUSDT"]),
        ({"symbols": '["ETHUSDT","BTCUSDT"]'}, ["ETHUSDT", "BTCUSDT"]),
        ({"symbols": "[]"}, []),
    ],
)
def test_exchange_info__symbols_asked_for__are_those_listed(
    venue: BinanceVenue, parameters: dict[str, str], symbols: list[str]
) -> None:
    assert [symbol["symbol"] for symbol in venue.exchange_info(parameters)["symbols"]] == symbols


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"symbol": "NOTREAL"}, -1121),
        ({"symbols": '["BTCUSDT","NOTREAL"]'}, -1121),
        ({"symbols": "BTCUSDT"}, -1100),
        ({"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
    ],
)
def test_exchange_info__bad_symbols__are_refused(venue: BinanceVenue, parameters: dict[str, str], code: int) -> None:
    with pytest.raises(Refused) as refusal:
        venue.exchange_info(parameters)
    assert refusal.value.code == code
