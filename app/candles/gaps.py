"""The minutes that are missing between candles, counted and in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.types import MINUTE_MS, IntArray, iso


@dataclass(frozen=True, slots=True)
class Gaps:
    """Minutes missing between the first candle and the last."""

    count: int
    minutes: int
    longest_minutes: int
    longest_from_ms: int | None
    """Open time of the first minute missing in the longest gap, the earliest of equals."""

    @classmethod
    def of(cls, open_time_ms: IntArray) -> Gaps:
        missing = np.diff(open_time_ms) // MINUTE_MS - 1
        if not missing.any():
            return cls(0, 0, 0, None)
        at = int(missing.argmax())
        longest_from_ms = int(open_time_ms[at]) + MINUTE_MS
        return cls(int(np.count_nonzero(missing)), int(missing.sum()), int(missing[at]), longest_from_ms)

    def words(self) -> str:
        """For people."""
        if self.longest_from_ms is None:
            return "no gaps"
        return (
            f"{self.count:,} {'gap' if self.count == 1 else 'gaps'}, {self.minutes:,} minutes missing, "
            f"the longest {self.longest_minutes:,} from {iso(self.longest_from_ms)}"
        )
