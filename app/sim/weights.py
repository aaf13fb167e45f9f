"""How much of its request budget a client has used: Binance counts weight per address and minute, the others requests
against a counter that decays. All by the wall's time, whatever the market's: they guard the machine, not the market."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.clock import wall_ms
from app.types import MINUTE_MS


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client has used in this minute, this request included."""

    used: int
    limit: int
    seconds_left: int
    """Until the count starts again, at least one."""

    @property
    def exceeded(self) -> bool:
        return self.used > self.limit


class WeightMeter:
    """Counts by the wall's minutes."""

    def __init__(self, limit: int, wall: Callable[[], int] = wall_ms) -> None:
        self._limit = limit
        self._wall = wall
        self._minute = 0
        self._used: dict[str, int] = {}

    def charge(self, client: str, weight: int) -> Usage:
        """Refused requests count too: who does not back off stays out."""
        minute, into_minute = divmod(self._wall(), MINUTE_MS)
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
        self._used[client] = self._used.get(client, 0) + weight
        return Usage(self._used[client], self._limit, -(-(MINUTE_MS - into_minute) // 1_000))


class DecayingCounter:
    """Counts up by one with each request and down by ``per_second``; a request that would take it above ``most`` is
    refused, and not counted."""

    def __init__(self, most: float, per_second: float, wall: Callable[[], int] = wall_ms) -> None:
        self._most = most
        self._per_ms = per_second / 1_000
        self._wall = wall
        self._counts: dict[str, tuple[float, int]] = {}

    def admits(self, client: str) -> bool:
        now = self._wall()
        count, at = self._counts.get(client, (0.0, now))
        count = max(0.0, count - max(0, now - at) * self._per_ms)
        admitted = count + 1 <= self._most
        self._counts[client] = (count + admitted, now)
        return admitted
