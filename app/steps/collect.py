"""Candles into the store, and the window out of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from app.candles.venue import Venue
from app.errors import VenueUnavailable
from app.features.variation import CANDLES_NEEDED
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import MINUTE_MS, Window

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 0.25
_REFETCH_MS = 60 * MINUTE_MS

Progress = Callable[[str, int, int], None]
"""Called with (venue, minutes fetched, minutes in all) after each page of candles."""


class Collector:
    """Fetches what the venues have and the store lacks, page by page, so that an interrupted start goes on later."""

    def __init__(self, database: Database, *, late_candle_s: float, progress: Progress | None = None) -> None:
        self._database = database
        self._late_candle_s = late_candle_s
        self._progress = progress
        self._asked_from: dict[tuple[str, str], int] = {}

    def window(self, served: ServedFeed, window_end_ms: int) -> Window:
        """The window's candles: what the venues have and the store lacks is fetched, then the store is read."""
        start_ms = window_end_ms - CANDLES_NEEDED * MINUTE_MS
        symbol = served.feed.symbol
        present = self._present(served, start_ms, window_end_ms)
        with self._database.unit_of_work(write=False) as store:
            stored = {name: store.candles.between(name, symbol, start_ms, window_end_ms) for name in present}
        # A venue without a single return has no part in the window, nor in its bundle.
        candles = {name: part for name, part in stored.items() if len(part) > 1}
        return Window(feed=served.feed, end_ms=window_end_ms, candles=candles)

    def _present(self, served: ServedFeed, start_ms: int, end_ms: int) -> list[str]:
        """The venues that could be brought up to date. Raises `VenueUnavailable` when they are too few."""
        present, away = [], None
        for venue in served.venues:
            try:
                self._refresh(venue, served.feed.symbol, start_ms, end_ms)
                present.append(venue.name)
            except VenueUnavailable as error:
                log.warning("%s", error)
                away = error
        if away is not None and len(present) < served.spec.quorum:
            raise away
        return present

    def _refresh(self, venue: Venue, symbol: str, start_ms: int, end_ms: int) -> None:
        give_up = time.monotonic() + self._late_candle_s
        while True:
            since = self._first_unknown(venue.name, symbol, start_ms, end_ms)
            for page in venue.pages(symbol, since, end_ms):
                with self._database.unit_of_work() as store:
                    store.candles.add(venue.name, symbol, page.candles)
                if self._progress:
                    self._progress(venue.name, page.done, page.total)
            self._asked_from[venue.name, symbol] = min(start_ms, self._asked_from.get((venue.name, symbol), start_ms))
            if self._has_last(venue.name, symbol, end_ms) or time.monotonic() > give_up:
                return
            time.sleep(_ASK_AGAIN_S)

    def _has_last(self, venue: str, symbol: str, end_ms: int) -> bool:
        with self._database.unit_of_work(write=False) as store:
            stored = store.candles.range(venue, symbol)
        return stored is not None and stored[1] >= end_ms - MINUTE_MS

    def _first_unknown(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> int:
        """Where to fetch from: after the newest candle, or a hole in the last hour: a candle may come late.

        What a venue does not have at the beginning of the window is asked for once, not at every tick.
        """
        with self._database.unit_of_work(write=False) as store:
            stored = store.candles.range(venue, symbol)
            asked = self._asked_from.get((venue, symbol), end_ms) <= start_ms
            if stored is None or stored[1] < start_ms or (stored[0] > start_ms and not asked):
                return start_ms
            recent_ms = max(start_ms, min(stored[1] + MINUTE_MS, end_ms) - _REFETCH_MS)
            known = set(store.candles.between(venue, symbol, recent_ms, end_ms).open_time_ms.tolist())
        minutes = range(recent_ms, end_ms, MINUTE_MS)
        return next((minute for minute in minutes if minute not in known), end_ms)
