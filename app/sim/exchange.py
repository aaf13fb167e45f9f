"""One venue of the simulated world, whatever its protocol: the market as it stands by the venue's clock and under its
faults, and the book of what it has answered. klines.py → here → binance.py, coinbase.py, kraken.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.clock import Clock
from app.sim.faults import Fault, FaultBook
from app.sim.klines import page
from app.sim.market import Market
from app.types import MINUTE_MS, Candles

MOST_REQUESTS = 20_000


class Answered(NamedTuple):
    """Candles that were given out: ``from_ms <= time < to_ms``, both None where there were none."""

    venue: str
    symbol: str
    from_ms: int | None
    to_ms: int | None
    candles: int
    at_ms: int
    """Market time."""


class RequestLog:
    """The newest requests for candles that were answered, so that it can be proved that nothing is fetched twice."""

    def __init__(self) -> None:
        self._answered: deque[Answered] = deque(maxlen=MOST_REQUESTS)

    def add(self, answered: Answered) -> None:
        self._answered.append(answered)

    def all(self) -> Sequence[Answered]:
        return tuple(self._answered)

    def clear(self) -> None:
        self._answered.clear()


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a protocol asks of the world."""

    name: str
    market: Market
    clock: Clock
    faults: FaultBook = field(default_factory=lambda: FaultBook(()))
    log: RequestLog = field(default_factory=RequestLog)

    def now_ms(self) -> int:
        """By the venue's own clock."""
        now = self.clock.now_ms()
        return now + self.faults.skew_ms(self.name, now)

    def page(self, symbol: str, step_ms: int, start_ms: int | None, end_ms: int | None, limit: int) -> Candles:
        """See `app.sim.klines.page`."""
        faults = self.faults.of_candles(self.name)
        return page(self.market, symbol, step_ms, self.now_ms(), start_ms, end_ms, limit, faults)

    def price(self, symbol: str) -> float:
        """Of the last trade."""
        newest = self.page(symbol, MINUTE_MS, None, None, 1)
        return float(newest.close[-1]) if len(newest) else 0.0

    def record(self, symbol: str, step_ms: int, candles: Candles) -> None:
        """Note in the book that these are answered."""
        times = candles.open_time_ms
        from_ms, to_ms = (int(times[0]), int(times[-1]) + step_ms) if len(times) else (None, None)
        self.log.add(Answered(self.name, symbol, from_ms, to_ms, len(times), self.clock.now_ms()))

    def request_fault(self) -> Fault | None:
        return self.faults.of_request(self.name, self.clock.now_ms())
