"""How fast windows are proved here, and how many may wait before the oldest are shed."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque

_REMEMBERED = 50
_REMEMBERED_S = 600.0
"""What a busy hour made slow is given another chance afterwards."""


class Backlog:
    """What the last proofs of this process took against what arrives."""

    def __init__(self, catch_up_s: float, arrivals_per_s: float, windows_at_once: int) -> None:
        self._catch_up_s = catch_up_s
        self._arrivals_per_s = arrivals_per_s
        self._windows_at_once = windows_at_once
        self._guard = threading.Lock()
        self._seen: dict[bool, deque[tuple[float, float]]] = {
            joint: deque(maxlen=_REMEMBERED) for joint in (False, True)
        }

    def add(self, seconds: float, *, joint: bool) -> None:
        """What a try took from lease to result, well or badly ended: a prover that hangs is slow as well."""
        with self._guard:
            self._seen[joint].append((time.monotonic(), seconds))

    def seconds(self, *, joint: bool) -> float | None:
        """Median over the last minutes' proofs, of one window or of several together; None without any."""
        since = time.monotonic() - _REMEMBERED_S
        with self._guard:
            recent = [seconds for at, seconds in self._seen[joint] if at >= since]
        return statistics.median(recent) if recent else None

    def joint_keeps_up(self, slots: int) -> bool:
        """Whether a joint proof is done, as far as is known, before the next minute's windows come."""
        seconds = self.seconds(joint=True)
        return seconds is None or seconds / max(1, slots) * self._arrivals_per_s <= self._windows_at_once

    def bearable(self, slots: int) -> tuple[int, float] | None:
        """How many windows may wait so that all are proved within the catch-up time, and the seconds that one takes.

        None when nobody can tell. Where windows arrive as fast as they are proved, it is the newest one of each feed.
        """
        seconds, joint = self.seconds(joint=False), self.seconds(joint=True)
        if seconds is None and joint is not None:
            seconds = joint / self._windows_at_once
        if seconds is None or slots == 0:
            return None
        spare = slots / max(seconds, 1e-6) - self._arrivals_per_s
        return max(self._windows_at_once, int(spare * self._catch_up_s)), seconds
