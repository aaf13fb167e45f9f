"""A venue's clock beside ours: whether its candles are of the minutes that they say, and which of them are over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from app.candles.venue import Venue
from app.clock import Clock, wall_ms
from app.errors import VenueUnavailable
from app.types import MINUTE_MS

log = logging.getLogger(__name__)

_EVERY_MS = MINUTE_MS
_SLOW_ANSWER_S = 2.0
"""The venue's time tells nothing when it took longer to arrive."""
_SET_MS = 100
"""A clock that is only kept right moves against the steady one by less."""


class VenueClock:
    """Used by the venue's fetcher, and by its thread alone but for what is read."""

    def __init__(self, venue: Venue, clock: Callable[[], Clock], max_skew_s: float) -> None:
        self.skew_ms: int | None = None
        """The venue's clock minus ours, as it was last heard; none while it has not told its time."""
        self._venue = venue
        self._clock = clock
        self._max_skew_s = max_skew_s
        self._asked_ms = 0
        self._ours_set_ms = _set_ms()
        """Where our clock was set to when they were last compared."""

    @property
    def trouble(self) -> str | None:
        """Why its candles cannot be trusted to be of the minutes that they say; none when they can."""
        return "our clock was set, and the venue's was not heard since" if self.ours_was_set else self._apart()

    @property
    def ours_was_set(self) -> bool:
        """Whether our clock was set since they were last compared."""
        return abs(_set_ms() - self._ours_set_ms) > _SET_MS

    def closed(self, end_ms: int) -> int:
        """``end_ms``, or the end of the last minute that is over by both clocks."""
        now_ms = self._clock().now_ms()
        by_both_ms = now_ms + min(self.skew_ms or 0, 0)
        return min(end_ms, now_ms // MINUTE_MS * MINUTE_MS, by_both_ms // MINUTE_MS * MINUTE_MS)

    def compare(self) -> int | None:
        """Ask for its time where that was not done within the minute; one that does not tell it is believed.

        Where they turn out to be apart, gives the minute until which what it showed may be trusted, as far as is known.
        """
        if not self._is_due():
            return None
        asked_ms, asked_s, set_ms = self._clock().now_ms(), time.monotonic(), _set_ms()
        self._asked_ms = asked_ms // MINUTE_MS * MINUTE_MS
        try:
            told_ms = self._venue.time_ms()
        except VenueUnavailable as error:
            log.info("%s: %s", self._venue.name, error)
            if self.skew_ms is None:
                self._ours_set_ms = set_ms
            return None
        if time.monotonic() - asked_s > _SLOW_ANSWER_S:
            return None
        before = self._apart()
        self._ours_set_ms = set_ms
        self.skew_ms = told_ms - (asked_ms + self._clock().now_ms()) // 2
        return min(self._asked_ms, told_ms // MINUTE_MS * MINUTE_MS) if self._apart() and not before else None

    def _is_due(self) -> bool:
        since_ms = self._clock().now_ms() - self._asked_ms
        return self.ours_was_set or not 0 <= since_ms < _EVERY_MS  # ours may have been set back

    def _apart(self) -> str | None:
        # An answer takes as long where the market runs fast, but more of the market's seconds.
        tolerated_ms = self._max_skew_s * 1000 * self._clock().haste
        if self.skew_ms is None or abs(self.skew_ms) <= tolerated_ms:
            return None
        return f"its clock is {abs(self.skew_ms) / 1000:.1f} s {'ahead of' if self.skew_ms > 0 else 'behind'} ours"


def _set_ms() -> int:
    """Where our clock stands against the one that nobody sets."""
    return wall_ms() - time.monotonic_ns() // 1_000_000
