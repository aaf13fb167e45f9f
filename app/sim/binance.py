"""Binance's public spot REST over a market: ``ping``, ``time``, ``exchangeInfo`` and ``klines`` under ``/api/v3``.

Good enough that ccxt's ``binance`` needs nothing but another base URL. Fields, weights and error codes follow Binance's
``rest-api.md`` and ``errors.md``; where these are silent, the venue as it has been seen to answer: a ``limit`` above
1000 is cut silently, a ``limit`` of 0 is malformed, start and end are inclusive and an end before the start is an empty
list. Intervals above a day and of a second, ``timeZone`` and the ban (418) are not played.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.sim.exchange import Exchange
from app.sim.klines import INTERVAL_MINUTES, rows
from app.sim.market import Listing
from app.sim.weights import Usage, WeightMeter
from app.types import MINUTE_MS

WEIGHT_LIMIT = 6_000
DEFAULT_ROWS = 500
MOST_ROWS = 1_000

SYMBOL = r"^[\w\-._&&[^a-z]]{1,50}$"  # as Binance quotes it, in Java's dialect
SYMBOL_PATTERN = re.compile(r"[A-Z0-9_.\-]{1,50}")
SYMBOLS = r'^\[("[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}){0,1}\]$'
SYMBOLS_PATTERN = re.compile(r'\[("[A-Z0-9_.\-]{1,50}"(,"[A-Z0-9_.\-]{1,50}")*)?\]')
NUMBER = "^[0-9]{1,20}$"
NUMBER_PATTERN = re.compile(r"[0-9]{1,20}", re.ASCII)

Parameters = Mapping[str, str]


class Refused(Exception):
    """Binance says no: HTTP 400 with a code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path, its weight, what it accepts and what answers it."""

    path: str
    weight: int
    answer: Callable[[Parameters], Any]
    accepts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BinanceVenue:
    """The answers, apart from HTTP."""

    exchange: Exchange
    weight_limit: int = WEIGHT_LIMIT
    _symbol_of: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._symbol_of.update({symbol.replace("/", ""): symbol for symbol in self.exchange.market.symbols})

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("/api/v3/ping", 1, lambda _: {}),
            Endpoint("/api/v3/time", 1, lambda _: {"serverTime": self.exchange.now_ms()}),
            Endpoint("/api/v3/exchangeInfo", 20, self.exchange_info, ("symbol", "symbols")),
            Endpoint(
                "/api/v3/klines",
                2,
                self.klines,
                ("symbol", "interval", "startTime", "endTime", "limit"),
                ("symbol", "interval"),
            ),
        )

    def klines(self, parameters: Parameters) -> list[list[int | str]]:
        """Candles as Binance lists them, the one still forming included, none from the future of the clock."""
        symbol_id = _text(parameters, "symbol", SYMBOL_PATTERN, SYMBOL)
        start_ms = _number(parameters, "startTime")
        end_ms = _number(parameters, "endTime")
        limit = _number(parameters, "limit")
        if limit == 0:
            raise _malformed("limit")
        minutes = INTERVAL_MINUTES.get(parameters["interval"])
        if minutes is None:
            raise Refused(-1120, "Invalid interval.")
        symbol = self._known(symbol_id)
        step_ms = minutes * MINUTE_MS
        most = min(DEFAULT_ROWS if limit is None else limit, MOST_ROWS)
        found = self.exchange.page(symbol, step_ms, start_ms, end_ms, most)
        self.exchange.record(symbol, step_ms, found)
        return rows(found, step_ms)

    def exchange_info(self, parameters: Parameters) -> dict[str, Any]:
        """Trading rules of all symbols, or of those asked for."""
        symbols = [self._known(symbol_id) for symbol_id in self._asked_for(parameters)]
        return {
            "timezone": "UTC",
            "serverTime": self.exchange.now_ms(),
            "rateLimits": _rate_limits(self.weight_limit),
            "exchangeFilters": [],
            "symbols": [_symbol_info(self.exchange.market.listing(symbol)) for symbol in symbols],
        }

    def _asked_for(self, parameters: Parameters) -> Sequence[str]:
        if "symbol" in parameters and "symbols" in parameters:
            raise Refused(
                -1128,
                "Combination of optional parameters invalid. "
                "Recommendation: 'symbol' and 'symbols' cannot both be sent.",
            )
        if "symbol" in parameters:
            return [_text(parameters, "symbol", SYMBOL_PATTERN, SYMBOL)]
        if "symbols" in parameters:
            symbols: list[str] = json.loads(_text(parameters, "symbols", SYMBOLS_PATTERN, SYMBOLS))
            return symbols
        return list(self._symbol_of)

    def _known(self, symbol_id: str) -> str:
        if symbol_id not in self._symbol_of:
            raise Refused(-1121, "Invalid symbol.")
        return self._symbol_of[symbol_id]


def binance_app(exchange: Exchange, *, weight_limit: int = WEIGHT_LIMIT, clients: int = 1) -> Starlette:
    """The venue as an ASGI application, for so many clients that share an address.

    Weight is counted per address and wall-clock minute.
    """
    venue = BinanceVenue(exchange, weight_limit)
    meter = WeightMeter(weight_limit * clients)
    routes = [Route(endpoint.path, _handler(endpoint, meter)) for endpoint in venue.endpoints()]
    return Starlette(routes=routes, exception_handlers={404: _not_found})


def read_parameters(sent: Sequence[tuple[str, str]], accepts: Sequence[str], needs: Sequence[str]) -> dict[str, str]:
    """The query as a mapping. Raises `Refused` for one too many, one missing, one unknown or one empty."""
    parameters = dict(sent)
    if len(parameters) < len(sent):
        raise Refused(-1101, "Duplicate values for a parameter detected.")
    if len(sent) > len(accepts):
        raise Refused(-1101, f"Too many parameters; expected '{len(accepts)}' and received '{len(sent)}'.")
    for name in needs:
        if not parameters.get(name):
            raise _malformed(name)
    read = sum(name in accepts for name in parameters)
    if read < len(sent):
        raise Refused(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(sent)}'.",
        )
    for name, value in parameters.items():
        if not value:
            raise Refused(-1105, f"Parameter '{name}' was empty.")
    return parameters


def _handler(endpoint: Endpoint, meter: WeightMeter) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        usage = meter.charge(request.client.host if request.client else "", endpoint.weight)
        headers = {"X-MBX-USED-WEIGHT": str(usage.used), "X-MBX-USED-WEIGHT-1M": str(usage.used)}
        if usage.exceeded:
            return _back_off(usage, headers)
        try:
            sent = request.query_params.multi_items()
            parameters = read_parameters(sent, endpoint.accepts, endpoint.needs)
            return JSONResponse(endpoint.answer(parameters), headers=headers)
        except Refused as refusal:
            return JSONResponse({"code": refusal.code, "msg": str(refusal)}, 400, headers)

    return handle


def too_many(limit: int) -> dict[str, int | str]:
    """What stands in a 429."""
    message = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return {"code": -1003, "msg": message}


def _back_off(usage: Usage, headers: dict[str, str]) -> Response:
    retry = {"Retry-After": str(usage.seconds_left)}
    return JSONResponse(too_many(usage.limit), 429, headers | retry)


async def _not_found(request: Request, error: Exception) -> Response:
    del request, error
    return HTMLResponse("<html><body><h2>404 Not found</h2></body></html>", 404)


def _malformed(name: str) -> Refused:
    return Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _text(parameters: Parameters, name: str, pattern: re.Pattern[str], legal: str) -> str:
    if not pattern.fullmatch(parameters[name]):
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
    return parameters[name]


def _number(parameters: Parameters, name: str) -> int | None:
    return int(_text(parameters, name, NUMBER_PATTERN, NUMBER)) if name in parameters else None


def _rate_limits(weight_limit: int) -> list[dict[str, Any]]:
    limits = (
        ("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
        ("ORDERS", "SECOND", 10, 100),
        ("ORDERS", "DAY", 1, 200_000),
        ("RAW_REQUESTS", "MINUTE", 5, 61_000),
    )
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    return [dict(zip(names, limit, strict=True)) for limit in limits]


def _symbol_info(listing: Listing) -> dict[str, Any]:
    base, quote = listing.symbol.split("/")
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(listing),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _filters(listing: Listing) -> list[dict[str, Any]]:
    tick = f"{10.0**-listing.price_decimals:.8f}"
    lot = f"{10.0**-listing.volume_decimals:.8f}"
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000.00000000", "stepSize": lot},
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ]
