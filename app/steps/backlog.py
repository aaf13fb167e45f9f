"""How fast windows are proved here, and how many may wait before the oldest are shed."""

from __future__ import annotations

import statistics
import threading
from collections import deque

_REMEMBERED = 50


class Backlog:
    """What the last proofs took against what arrives. Only this process's own provers count: others may do more."""

    def __init__(self, catch_up_s: float, arrivals_per_s: float, windows_at_once: int) -> None:
        self._catch_up_s = catch_up_s
        self._arrivals_per_s = arrivals_per_s
        self._windows_at_once = windows_at_once
        self._guard = threading.Lock()
        self._seconds: dict[bool, deque[float]] = {joint: deque(maxlen=_REMEMBERED) for joint in (False, True)}

    def add(self, seconds: float, *, joint: bool) -> None:
        """What a try took from lease to result, well or badly ended: a prover that hangs is slow as well."""
        with self._guard:
            self._seconds[joint].append(seconds)

    def seconds(self, *, joint: bool) -> float | None:
        """Median over the last proofs, of one window or of several together; None before the first."""
        with self._guard:
            return statistics.median(self._seconds[joint]) if self._seconds[joint] else None

    def bearable(self, slots: int) -> int | None:
        """How many windows may wait so that all are proved within the catch-up time; None when nobody can tell.

        Where windows arrive as fast as they are proved, that is the newest one of each feed.
        """
        seconds = self.seconds(joint=False)
        if seconds is None or slots == 0:
            return None
        spare = slots / max(seconds, 1e-6) - self._arrivals_per_s
        return max(self._windows_at_once, int(spare * self._catch_up_s))
