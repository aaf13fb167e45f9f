"""What is there of a venue's last week, counted anew only when something has changed."""

from __future__ import annotations

from dataclasses import dataclass

from app.store.repository import Store


@dataclass(frozen=True, slots=True)
class Week:
    """Of the minutes of a week at one venue: stretches that are missing, minutes that are there, revisions."""

    gaps: tuple[tuple[int, int], ...]
    minutes: int
    revisions: int


class Weeks:
    """To count takes three looks through ten thousand rows; a new candle comes once a minute."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], tuple[tuple[int, int, int], Week]] = {}

    def of(self, store: Store, venue: str, symbol: str, start_ms: int, end_ms: int) -> Week:
        """The minutes with ``start_ms <= open_time < end_ms``."""
        as_of = (store.candles.seq(), start_ms, end_ms)
        known = self._counted.get((venue, symbol))
        if known is not None and known[0] == as_of:
            return known[1]
        week = (venue, symbol, start_ms, end_ms)
        counted = Week(
            gaps=tuple(store.candles.gaps(*week)),
            minutes=store.candles.count(*week),
            revisions=store.candles.revisions(*week),
        )
        self._counted[venue, symbol] = as_of, counted
        return counted
