"""How much of its request budget a client has used: Binance counts weight per address and minute."""

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
    """Counts by the wall's minutes, whatever the market's clock says: it guards the machine, not the market."""

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
