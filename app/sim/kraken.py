"""Kraken's public REST over a market: ``Time``, ``Assets``, ``AssetPairs`` and ``OHLC`` under ``/0/public``.

Good enough that ccxt's ``kraken`` needs nothing but another base URL. Played as Kraken's documents have it: ``error``
and ``result`` in a 200; candles under the id of their pair (``XXBTZUSD``, ``XBTUSDT``), oldest first, the one still
forming last, the newest 720 and no older ones whatever ``since`` asks for; ``last`` the time of the newest that is
closed; the clock in whole seconds. Of the limit they say that about one request a second is in order: played is a
counter per address that fifteen at once fill and that falls by one a second; above it, ``EGeneral:Too many requests``.

``since`` leaves out the candle that opens at it, which is how ccxt uses it. Not played: weeks and half-months, order
books, trades, tickers, fees, the filling of minutes without a trade, and anything that needs a key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sim.exchange import Exchange
from app.sim.klines import decimal_text
from app.sim.weights import DecayingCounter
from app.types import MINUTE_MS, Candles

KEPT_CANDLES = 720
BURST = 15
REQUESTS_PER_SECOND = 1
INTERVALS = ("1", "5", "15", "30", "60", "240", "1440")
TOO_MANY = {"error": ["EGeneral:Too many requests"]}
INVALID_ARGUMENTS = "EGeneral:Invalid arguments"
UNKNOWN_PAIR = "EQuery:Unknown asset pair"
SINCE_PATTERN = re.compile(r"-?[0-9]{1,12}", re.ASCII)

SHORT = {"BTC": "XBT", "DOGE": "XDG"}
"""Kraken's own codes."""
LEGACY = {"XBT": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "XDG": "XXDG", "USD": "ZUSD", "EUR": "ZEUR"}
"""Assets of its first years, coins behind an X and money behind a Z. In the id of a pair only where both have one."""

Parameters = Mapping[str, str]
Answer = Callable[[Parameters], Any]


class Refused(Exception):
    """Kraken says no: the text of an ``error`` in a 200."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A symbol under Kraken's names."""

    symbol: str
    base: str
    quote: str

    @classmethod
    def of(cls, symbol: str) -> Pair:
        base, quote = (SHORT.get(code, code) for code in symbol.split("/"))
        return cls(symbol, base, quote)

    @property
    def id(self) -> str:
        both = self.base in LEGACY and self.quote in LEGACY
        return asset_id(self.base) + asset_id(self.quote) if both else self.altname

    @property
    def altname(self) -> str:
        return self.base + self.quote

    @property
    def wsname(self) -> str:
        return f"{self.base}/{self.quote}"


def asset_id(short: str) -> str:
    return LEGACY.get(short, short)


@dataclass(frozen=True, slots=True)
class KrakenVenue:
    """The answers, apart from HTTP."""

    exchange: Exchange
    _pair_of: dict[str, Pair] = field(init=False, default_factory=dict)
    """By id and by its other names, as clients may write them."""

    def __post_init__(self) -> None:
        for pair in map(Pair.of, self.exchange.market.symbols):
            self._pair_of.update(dict.fromkeys((pair.id, pair.altname, pair.wsname), pair))

    def answers(self) -> dict[str, Answer]:
        return {
            "/0/public/Time": self.time,
            "/0/public/Assets": self.assets,
            "/0/public/AssetPairs": self.asset_pairs,
            "/0/public/OHLC": self.ohlc,
        }

    def time(self, parameters: Parameters) -> dict[str, Any]:
        del parameters
        seconds = self.exchange.now_ms() // 1_000
        return {"unixtime": seconds, "rfc1123": format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)}

    def assets(self, parameters: Parameters) -> dict[str, Any]:
        del parameters
        shorts = sorted({short for pair in self._pair_of.values() for short in (pair.base, pair.quote)})
        return {asset_id(short): _asset(short) for short in shorts}

    def asset_pairs(self, parameters: Parameters) -> dict[str, Any]:
        """All pairs, or those asked for."""
        asked = parameters["pair"].split(",") if parameters.get("pair") else list(self._pair_of)
        return {pair.id: self._described(pair) for pair in map(self._known, asked)}

    def ohlc(self, parameters: Parameters) -> dict[str, Any]:
        """The newest candles, those after ``since``; ``last`` is where to ask on from."""
        pair = self._known(parameters.get("pair", ""))
        interval, since = parameters.get("interval", "1"), parameters.get("since", "0")
        if interval not in INTERVALS or not SINCE_PATTERN.fullmatch(since):
            raise Refused(INVALID_ARGUMENTS)
        step_ms = int(interval) * MINUTE_MS
        kept = self.exchange.page(pair.symbol, step_ms, None, None, KEPT_CANDLES)
        shown = kept.part(kept.open_time_ms > 1_000 * int(since))
        self.exchange.record(pair.symbol, step_ms, shown)
        closed = kept.open_time_ms[kept.open_time_ms + step_ms <= self.exchange.now_ms()]
        rows = ohlc_rows(shown, self.exchange.market.listing(pair.symbol).price_decimals)
        return {pair.id: rows, "last": int(closed[-1]) // 1_000 if len(closed) else 0}

    def _known(self, name: str) -> Pair:
        if not name:
            raise Refused(INVALID_ARGUMENTS)
        if name not in self._pair_of:
            raise Refused(UNKNOWN_PAIR)
        return self._pair_of[name]

    def _described(self, pair: Pair) -> dict[str, Any]:
        listing = self.exchange.market.listing(pair.symbol)
        return {
            "altname": pair.altname,
            "wsname": pair.wsname,
            "aclass_base": "currency",
            "base": asset_id(pair.base),
            "aclass_quote": "currency",
            "quote": asset_id(pair.quote),
            "lot": "unit",
            "cost_decimals": 5,
            "pair_decimals": listing.price_decimals,
            "lot_decimals": listing.volume_decimals,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [],
            "fees_maker": [],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": "0.00005",
            "costmin": "0.5",
            "tick_size": decimal_text(10.0**-listing.price_decimals, listing.price_decimals),
            "status": "online",
        }


def ohlc_rows(candles: Candles, price_decimals: int) -> list[list[Any]]:
    """Time in seconds, the four prices, their average, volume, number of trades.

    The market knows no single trades: the average weighs the prices alike, the number of trades grows with volume.
    """
    return [
        [
            int(row[0]) // 1_000,
            *(decimal_text(price, price_decimals) for price in row[1:5]),
            f"{sum(row[1:5]) / 4:.{price_decimals}f}",
            decimal_text(row[5]),
            math.ceil(40 * row[5]),
        ]
        for row in candles.rows()
    ]


def kraken_app(exchange: Exchange, *, clients: int = 1) -> Starlette:
    """The venue as an ASGI application, for so many clients that share an address."""
    venue = KrakenVenue(exchange)
    counter = DecayingCounter(BURST * clients, REQUESTS_PER_SECOND * clients)
    routes = [Route(path, _handler(answer, counter)) for path, answer in venue.answers().items()]
    return Starlette(routes=routes, exception_handlers={404: _unknown_method})


def _handler(answer: Answer, counter: DecayingCounter) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        if not counter.admits(request.client.host if request.client else ""):
            return JSONResponse(TOO_MANY)
        try:
            return JSONResponse({"error": [], "result": answer(request.query_params)})
        except Refused as refusal:
            return JSONResponse({"error": [str(refusal)]})

    return handle


async def _unknown_method(request: Request, error: Exception) -> Response:
    del request, error
    return JSONResponse({"error": ["EGeneral:Unknown method"]}, 404)


def _asset(short: str) -> dict[str, Any]:
    money = asset_id(short).startswith("Z")
    decimals, shown = (4, 2) if money else (10, 5)
    described = {"aclass": "currency", "altname": short, "decimals": decimals}
    return described | {"display_decimals": shown, "status": "enabled"}
