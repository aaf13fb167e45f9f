"""What is peculiar about each venue's candles, for venue.py; no two venues page alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.types import MINUTE_MS

_SPOT_ONLY = {"fetchMarkets": {"types": ["spot"]}}


@dataclass(frozen=True, slots=True)
class Habits:
    """How a venue hands out one-minute candles, and what it is asked in which way. The defaults suit any venue."""

    page_minutes: int = 100
    """Minutes asked for at a time: no venue is known to give fewer candles than this."""
    recent_minutes: int | None = None
    """How far back pages are that long, where older history comes in pages of the default size."""
    keeps_minutes: int | None = None
    """How many of its last minutes it shows, whatever is asked for; None where history is to be had."""
    omits_empty_minutes: bool = True
    """Whether a minute without a trade is simply absent. Others show it with the last price and no volume."""
    counts_candles: bool = False
    """Whether it gives the first so many candles from a time on, however far apart, not those of a stretch."""
    clock_step_ms: int = 1_000
    """Resolution of the time that it tells, which is cut off, not rounded."""
    tells_time_by: str | None = None
    """A question with a tiny answer, where there is none for the time: the answer's `Date` tells it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What ccxt is told, so that it asks for nothing but spot markets."""
    moves: Mapping[str, str] = field(default_factory=dict)
    """ccxt's addresses that follow another base URL, with what is appended to it; none where it cannot be moved."""

    def page_minutes_at(self, start_ms: int, now_ms: int) -> int:
        """The longest page that can begin at ``start_ms``."""
        recent = self.recent_minutes is None or start_ms >= now_ms - self.recent_minutes * MINUTE_MS
        return self.page_minutes if recent else Habits().page_minutes


KNOWN: Mapping[str, Habits] = {
    # 1,000 candles from startTime on; a minute without a trade is there, without volume.
    "binance": Habits(
        page_minutes=1_000,
        omits_empty_minutes=False,
        counts_candles=True,
        clock_step_ms=1,
        options=_SPOT_ONLY,
        moves={"public": "/api/v3"},
    ),
    # Refuses a stretch of more than 350 minutes; ccxt cuts at 300. Its other clock, of v2, costs three times as much.
    "coinbase": Habits(page_minutes=300, options={"fetchTime": "v3PublicGetBrokerageTime"}, moves={"rest": ""}),
    # The last 720, the running one among them, for any `since`; before that there are only its bulk files.
    "kraken": Habits(page_minutes=720, keeps_minutes=720, omits_empty_minutes=False, moves={"public": ""}),
    "bitstamp": Habits(
        page_minutes=1_000,
        omits_empty_minutes=False,
        tells_time_by="publicGetEurUsd",
        moves={"public": "/api"},
    ),
    # The last 1,440 in pages of 300; older ones from another endpoint, newest first, so that one page asked for too
    # long would lose its oldest candles unseen. Four hours' margin, for our clock may be wrong.
    "okx": Habits(
        page_minutes=300,
        recent_minutes=1_200,
        omits_empty_minutes=False,
        clock_step_ms=1,
        options=_SPOT_ONLY,
        moves={"rest": ""},
    ),
    # Up to 10,000 candles an answer, but a page is what an interruption loses.
    "bitfinex": Habits(
        page_minutes=1_000,
        counts_candles=True,
        tells_time_by="publicGetPlatformStatus",
        moves={"public": ""},
    ),
}


def habits_of(venue: str) -> Habits:
    """Of the venue that ccxt calls so; cautious ones where nothing is known."""
    return KNOWN.get(venue, Habits())
