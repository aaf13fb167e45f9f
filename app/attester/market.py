"""What the attester sees itself: windows from venues of its own, kept ready so that an answer takes no download."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from app.attester.pins import Pins
from app.attester.proposal import AttestedFeed
from app.clock import Clock
from app.errors import NotNow, OracleError
from app.features.variation import observe
from app.types import MINUTE_MS, Observation

log = logging.getLogger(__name__)

_FRESH_MINUTES = 3
_PRUNE_EVERY_MS = 60 * MINUTE_MS


class OwnMarket:
    """Observations of the attester's own. `start` keeps the newest minutes coming in the background."""

    def __init__(
        self,
        feeds: Mapping[str, AttestedFeed],
        pins: Pins,
        clock: Clock,
        prune: Callable[[], object],
        *,
        settle_s: float,
    ) -> None:
        self._feeds = feeds
        self._pins = pins
        self._clock = clock
        self._prune = prune
        self._settle_s = settle_s
        self._turns = {name: threading.Lock() for name in feeds}
        self._newest: dict[str, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_going, name="own-market", daemon=True)

    def observation(self, feed: str, window_end_ms: int) -> Observation:
        """What our venues say of a window. Raises `NoQuorum` or `WindowIncomplete`."""
        attested = self._feeds[feed]
        with self._turns[feed]:  # two that ask at once would download the same candles twice
            window = attested.collect(window_end_ms)
        observation = observe(window, attested.spec)
        self._newest[feed] = max(window_end_ms, self._newest.get(feed, 0))
        return observation

    def fresh(self) -> dict[str, bool]:
        """Of each feed, whether one of the last minutes was seen complete."""
        oldest_ms = self._clock.last_minute_ms() - _FRESH_MINUTES * MINUTE_MS
        return {feed: self._newest.get(feed, 0) >= oldest_ms for feed in self._feeds}

    def refresh(self) -> None:
        """The last minute of every feed, and a week of history where it is missing; what is not there yet is logged."""
        for feed in self._feeds:
            try:
                self.observation(feed, self._clock.last_minute_ms())
            except NotNow as error:
                log.warning("%s: %s", feed, error)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep_going(self) -> None:
        seen_ms = self._clock.last_minute_ms()
        while not self._stopping.wait(self._seconds_until(seen_ms + MINUTE_MS)):
            newest_ms = self._clock.last_minute_ms()
            if newest_ms == seen_ms:  # a wait may end a moment early; to look now would be to miss the next minute
                continue
            another_hour = newest_ms // _PRUNE_EVERY_MS != seen_ms // _PRUNE_EVERY_MS
            seen_ms = newest_ms
            try:
                self.refresh()
                self._pins.refusals()
                if another_hour:
                    self._prune()
            except OracleError as error:
                log.warning("own market: %s", error)
            except Exception:  # a loop that ends silently would be worse than any bug
                log.exception("the own market met a bug and goes on")
                self._stopping.wait(1)

    def _seconds_until(self, minute_ms: int) -> float:
        """Until that minute is over and its candle has settled."""
        return max(0.001, self._clock.seconds_until(minute_ms) + self._settle_s)
