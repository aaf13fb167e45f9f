"""Coinbase's public REST over a market: what ccxt's ``coinbase`` asks for markets, time and candles.

Under ``/api/v3/brokerage`` (Advanced Trade): ``time``, ``market/products``, ``market/products/ID`` and its ``candles``;
under ``/v2`` (Coinbase App): ``time``, ``currencies``, ``currencies/crypto`` and ``exchange-rates``.

Played as the API's documents have it: candles newest first with numbers as text; start and end in seconds, both
included and both required; fewer than 350 candles a request, the minute still forming among them, none for a minute
without a trade; ten requests a second from one address, then 429. Times in ``/v2`` are whole seconds.

Not played: products that are no spot products (their lists are empty), order books, trades, tickers, volumes of a day,
the hourly limit of ``/v2``, the cache of a second, and exchange rates other than the dollar's own. Coinbase publishes
no list of its messages for bad arguments: the code is its own, some of the words are ours.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sim.exchange import Exchange
from app.sim.klines import decimal_text
from app.sim.weights import DecayingCounter
from app.types import MINUTE_MS, Candles, iso

REQUESTS_PER_SECOND = 10
CANDLES_BELOW = 350
GRANULARITY_MINUTES = {
    "ONE_MINUTE": 1,
    "FIVE_MINUTE": 5,
    "FIFTEEN_MINUTE": 15,
    "THIRTY_MINUTE": 30,
    "ONE_HOUR": 60,
    "TWO_HOUR": 120,
    "FOUR_HOUR": 240,
    "SIX_HOUR": 360,
    "ONE_DAY": 1_440,
}
TOO_MANY = {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}
NAMES = {"BTC": "Bitcoin", "ETH": "Ethereum", "USD": "US Dollar", "USDT": "Tether", "USDC": "USDC"}
UNSET = (
    "watched",
    "is_disabled",
    "new",
    "cancel_only",
    "limit_only",
    "post_only",
    "trading_disabled",
    "auction_mode",
    "view_only",
)
"""What a product in ordinary trade is not."""
FIAT = ("USD", "EUR", "GBP")
SECONDS_PATTERN = re.compile(r"[0-9]{1,12}", re.ASCII)

Parameters = Mapping[str, str]
Answer = Callable[[Parameters], Any]


class Refused(Exception):
    """Coinbase says no, with HTTP 400 and a code."""

    code = "INVALID_ARGUMENT"


@dataclass(frozen=True, slots=True)
class CoinbaseVenue:
    """The answers, apart from HTTP."""

    exchange: Exchange

    def answers(self) -> dict[str, Answer]:
        """By path; what stands in braces there is among the parameters."""
        return {
            "/api/v3/brokerage/time": self.time,
            "/api/v3/brokerage/market/products": self.products,
            "/api/v3/brokerage/market/products/{product_id}": self.product,
            "/api/v3/brokerage/market/products/{product_id}/candles": self.candles,
            "/v2/time": self.time_v2,
            "/v2/currencies": self.fiat,
            "/v2/currencies/crypto": self.crypto,
            "/v2/exchange-rates": self.exchange_rates,
        }

    def time(self, parameters: Parameters) -> dict[str, str]:
        del parameters
        now = self.exchange.now_ms()
        return {"iso": iso(now), "epochSeconds": str(now // 1_000), "epochMillis": str(now)}

    def time_v2(self, parameters: Parameters) -> dict[str, Any]:
        del parameters
        seconds = self.exchange.now_ms() // 1_000
        return {"data": {"iso": iso(1_000 * seconds), "epoch": seconds}}

    def products(self, parameters: Parameters) -> dict[str, Any]:
        """All of them are spot."""
        wanted = parameters.get("product_type", "SPOT") in ("SPOT", "UNKNOWN_PRODUCT_TYPE")
        listed = [self._described(symbol) for symbol in self.exchange.market.symbols] if wanted else []
        return {"products": listed, "num_products": len(listed)}

    def product(self, parameters: Parameters) -> dict[str, Any]:
        return self._described(self._symbol(parameters))

    def candles(self, parameters: Parameters) -> dict[str, Any]:
        """Candles that open from ``start`` to ``end``, both included, newest first."""
        symbol = self._symbol(parameters)
        minutes = GRANULARITY_MINUTES.get(parameters.get("granularity", ""))
        if minutes is None:
            raise Refused("granularity argument is invalid")
        start_ms, end_ms = (1_000 * _seconds(parameters, name) for name in ("start", "end"))
        step_ms = minutes * MINUTE_MS
        if end_ms < start_ms:
            raise Refused("start and end argument is invalid - start is after end")
        if (end_ms - start_ms) // step_ms >= CANDLES_BELOW:
            raise Refused(
                f"start and end argument is invalid - number of candles requested should be less than {CANDLES_BELOW}"
            )
        found = self.exchange.page(symbol, step_ms, start_ms, end_ms, CANDLES_BELOW)
        traded = found.part(found.volume > 0)
        self.exchange.record(symbol, step_ms, traded)
        return {"candles": candle_objects(traded, self.exchange.market.listing(symbol).price_decimals)}

    def fiat(self, parameters: Parameters) -> dict[str, Any]:
        del parameters
        held = [{"id": code, "name": NAMES.get(code, code), "min_size": "0.01"} for code in self._codes(fiat=True)]
        return {"data": held}

    def crypto(self, parameters: Parameters) -> dict[str, Any]:
        del parameters
        codes = enumerate(self._codes(fiat=False), start=100)
        return {
            "data": [
                {
                    "asset_id": str(uuid5(NAMESPACE_DNS, code)),
                    "code": code,
                    "name": NAMES.get(code, code),
                    "color": "#0052FF",
                    "sort_index": place,
                    "exponent": 8,
                    "type": "crypto",
                    "address_regex": "",
                }
                for place, code in codes
            ]
        }

    def exchange_rates(self, parameters: Parameters) -> dict[str, Any]:
        del parameters
        return {"data": {"currency": "USD", "rates": {"USD": "1.0"}}}

    def _codes(self, *, fiat: bool) -> list[str]:
        codes = {code for symbol in self.exchange.market.symbols for code in symbol.split("/")}
        return sorted(code for code in codes if (code in FIAT) is fiat)

    def _symbol(self, parameters: Parameters) -> str:
        symbol = parameters["product_id"].replace("-", "/")
        if symbol not in self.exchange.market.symbols:
            raise Refused("valid product_id is required")
        return symbol

    def _described(self, symbol: str) -> dict[str, Any]:
        listing = self.exchange.market.listing(symbol)
        base, quote = symbol.split("/")
        tick = decimal_text(10.0**-listing.price_decimals, listing.price_decimals)
        lot = decimal_text(10.0**-listing.volume_decimals, listing.volume_decimals)
        return {
            "product_id": f"{base}-{quote}",
            "price": decimal_text(self.exchange.price(symbol), listing.price_decimals),
            "base_increment": lot,
            "quote_increment": tick,
            "price_increment": tick,
            "base_min_size": lot,
            "base_max_size": "3400",
            "quote_min_size": "1",
            "quote_max_size": "150000000",
            "base_currency_id": base,
            "quote_currency_id": quote,
            "base_display_symbol": base,
            "quote_display_symbol": quote,
            "base_name": NAMES.get(base, base),
            "quote_name": NAMES.get(quote, quote),
            "display_name": f"{base}-{quote}",
            "product_type": "SPOT",
            "product_venue": "CBE",
            "status": "online",
            "alias": "",
            "alias_to": [],
            "fcm_trading_session_details": None,
        } | dict.fromkeys(UNSET, False)


def candle_objects(candles: Candles, price_decimals: int) -> list[dict[str, str]]:
    """Newest first, every number as text."""
    return [
        {
            "start": str(time // 1_000),
            "low": decimal_text(low, price_decimals),
            "high": decimal_text(high, price_decimals),
            "open": decimal_text(opening, price_decimals),
            "close": decimal_text(close, price_decimals),
            "volume": decimal_text(volume),
        }
        for time, opening, high, low, close, volume in ((int(row[0]), *row[1:]) for row in reversed(candles.rows()))
    ]


def coinbase_app(exchange: Exchange, *, clients: int = 1) -> Starlette:
    """The venue as an ASGI application, for so many clients that share an address."""
    venue = CoinbaseVenue(exchange)
    counter = DecayingCounter(REQUESTS_PER_SECOND * clients, REQUESTS_PER_SECOND * clients)
    return Starlette(routes=[Route(path, _handler(answer, counter)) for path, answer in venue.answers().items()])


def _handler(answer: Answer, counter: DecayingCounter) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        if not counter.admits(request.client.host if request.client else ""):
            return JSONResponse(TOO_MANY, 429)
        try:
            return JSONResponse(answer({**request.query_params, **request.path_params}))
        except Refused as refusal:
            words = str(refusal)
            return JSONResponse({"error": refusal.code, "error_details": words, "message": words}, 400)

    return handle


def _seconds(parameters: Parameters, name: str) -> int:
    text = parameters.get(name, "")
    if not SECONDS_PATTERN.fullmatch(text):
        raise Refused(f"{name} argument is invalid")
    return int(text)
