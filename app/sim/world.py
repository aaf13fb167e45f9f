"""All venues and what steers them, as one ASGI application: the protocols → here → server.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from app.clock import Clock
from app.sim import coinbase, kraken
from app.sim.binance import WEIGHT_LIMIT, binance_app, too_many
from app.sim.control import Control
from app.sim.exchange import Exchange, RequestLog
from app.sim.faults import Fault, FaultBook
from app.sim.interference import Interference
from app.sim.market import DAY_MS, Market


@dataclass(frozen=True, slots=True)
class World:
    """The markets by venue, the time they share, and how much their clients may ask."""

    markets: Mapping[str, Market]
    clock: Clock
    faults: Iterable[Fault] = ()
    weight_limit: int = WEIGHT_LIMIT
    """Binance's, per client."""
    clients: int = 1
    """How many share an address: the limits are for each of them, as if it had its own."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: nobody is kept waiting then."""

    def application(self) -> Starlette:
        """Each venue under its name, and what steers them at the root. Raises `BadInput` for a fault of no venue."""
        book, log = FaultBook(self.markets, self.faults), RequestLog()
        exchanges = [Exchange(name, market, self.clock, book, log) for name, market in self.markets.items()]
        venues = [Mount(f"/{exchange.name}", app=self._interfered(exchange)) for exchange in exchanges]
        return Starlette(routes=[*venues, *Control(self.clock, book, log).routes()])

    def warm_up(self) -> None:
        """Make the days that clients will ask for first, so that the first answer is as quick as the others."""
        now = self.clock.now_ms()
        for market in self.markets.values():
            for symbol in market.symbols:
                market.candles(symbol, now - 8 * DAY_MS, now)

    def _interfered(self, exchange: Exchange) -> Interference:
        apps: Mapping[str, Callable[[], tuple[Starlette, Mapping[str, Any]]]] = {
            "binance": lambda: (
                binance_app(exchange, weight_limit=self.weight_limit, clients=self.clients),
                too_many(self.weight_limit),
            ),
            "coinbase": lambda: (coinbase.coinbase_app(exchange, clients=self.clients), coinbase.TOO_MANY),
            "kraken": lambda: (kraken.kraken_app(exchange, clients=self.clients), kraken.TOO_MANY),
        }
        app, refusal = apps[exchange.name]()
        return Interference(app, exchange, refusal, self.closing)
