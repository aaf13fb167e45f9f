"""Time as the market sees it. On a live venue that is the system's clock; on a simulated one it may be another day,
and may run faster. Every stage is handed a clock instead of asking the system.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.types import MINUTE_MS


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Market time = ``market_start_ms`` + (wall time − ``wall_start_ms``) × ``speed``; by default the wall's own."""

    market_start_ms: int = 0
    wall_start_ms: int = 0
    speed: float = 1.0

    def now_ms(self) -> int:
        return self.market_start_ms + round((wall_ms() - self.wall_start_ms) * self.speed)

    def last_minute_ms(self) -> int:
        """The newest minute boundary: everything before it is closed."""
        return self.now_ms() // MINUTE_MS * MINUTE_MS

    def seconds_until(self, market_ms: int) -> float:
        """Wall seconds until the market's clock shows ``market_ms``; negative once it is past."""
        return (market_ms - self.now_ms()) / 1000 / self.speed

    @property
    def haste(self) -> float:
        """By how much a wait is shorter where the market runs faster than real time; at least 1."""
        return max(1.0, self.speed)
