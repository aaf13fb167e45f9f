"""No candle lost: what was stored is stored, without holes, and is what the venue shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.sim.distortion import distorted
from app.sim.faults import CANDLE_FAULTS, Fault, FaultKind, read_fault
from app.sim.market import FOREVER_MS, SimulatedMarket
from app.sim.views import market_at
from app.types import MINUTE_MS, Candles, iso
from tests.chaos.invariants.look import Lasting, Look

_GRACE_S = 30.0
_NEWEST = (
    "SELECT open_time_ms, revision, open, high, low, close, volume FROM candles WHERE venue = :venue "
    "AND symbol = :symbol AND seq <= :upto AND (seq > :since OR open_time_ms >= :suspect) "
    "ORDER BY open_time_ms, revision"
)
_MARKETS = (
    "SELECT venue, symbol, end_ms, (SELECT min(open_time_ms) FROM candles c WHERE c.venue = v.venue "
    "AND c.symbol = v.symbol AND c.open_time_ms >= v.start_ms) AS first_ms FROM candle_coverage v"
)
"""From the first candle on: Kraken shows half a day, whatever it is asked for."""
_STORED = (
    " FROM candles WHERE venue = :venue AND symbol = :symbol AND revision = 0 "
    "AND open_time_ms >= :since AND open_time_ms < :until"
)
_PROVISIONAL = (FaultKind.REVISED,)


@dataclass(slots=True)
class NoCandleLost:
    """``faults`` gives what was told to the market, as ``GET /faults`` does."""

    seed: int
    faults: Callable[[], Sequence[Mapping[str, Any]]]
    name: str = "no candle lost"
    kept: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    upto_seq: int = 0
    suspects: list[tuple[str, int]] = field(default_factory=list)
    apart: Lasting = field(default_factory=lambda: Lasting(_GRACE_S))
    wrong: Lasting = field(default_factory=lambda: Lasting(_GRACE_S))

    def violations(self, look: Look) -> list[str]:
        return self._vanished(look) + self._holes(look) + self._changed(look)

    def _vanished(self, look: Look) -> list[str]:
        """Rows that were there at the last look are there unchanged in number and keys."""
        now = self._sums(look, self.upto_seq)
        return [
            f"candles of {venue} {symbol} that were stored are gone"
            for (venue, symbol), sums in self.kept.items()
            if now.get((venue, symbol)) != sums
        ]

    def _sums(self, look: Look, upto_seq: int) -> dict[tuple[str, str], tuple[int, ...]]:
        rows = look.rows(
            "SELECT venue, symbol, count(*), sum(open_time_ms / 60000), sum(revision), sum(seq) FROM candles "
            "WHERE seq <= :upto GROUP BY venue, symbol",
            upto=upto_seq,
        )
        return {(row[0], row[1]): tuple(int(value) for value in row[2:]) for row in rows}

    def _holes(self, look: Look) -> list[str]:
        """Every minute between two that the venue was asked for is there, unless the venue never shows it."""
        holes = []
        for market in look.rows(_MARKETS):
            span = {"venue": market.venue, "symbol": market.symbol, "since": market.first_ms, "until": market.end_ms}
            hidden = self._hidden(market.venue)
            expected = [
                minute
                for minute in range(market.first_ms, market.end_ms, MINUTE_MS)
                if not any(one.holds_at(minute) for one in hidden)
            ]
            if len(expected) != look.row("SELECT count(*)" + _STORED, **span)[0]:
                stored = {row[0] for row in look.rows("SELECT open_time_ms" + _STORED, **span)}
                holes += [(market.venue, minute) for minute in expected if minute not in stored]
        lasting = sorted(one for one in self.apart.too_long(holes, look.now_s) if isinstance(one, tuple))
        return [
            f"{venue} has no candle of {iso(first)}" + (f" and {many - 1} more" if many > 1 else "")
            for venue, first, many in _by_venue(lasting)
        ]

    def _hidden(self, venue: str) -> list[Fault]:
        return [one for one in self._told(venue) if one.kind is FaultKind.MISSING]

    def _told(self, venue: str) -> list[Fault]:
        told = [read_fault(fields, 0) for fields in self.faults() if fields["venue"] == venue]
        return sorted((one for one in told if one.kind in CANDLE_FAULTS), key=lambda one: CANDLE_FAULTS.index(one.kind))

    def _changed(self, look: Look) -> list[str]:
        """What is newest of each minute is what the venue shows, or showed before it revised it.

        What is not is looked at again with the minutes that come in: the service may still notice.
        """
        upto = look.row("SELECT coalesce(max(seq), 0) FROM candles")[0]
        foreign = []
        for market in look.rows(_MARKETS):
            of = {"venue": market.venue, "symbol": market.symbol}
            since = min((one for venue, one in self.suspects if venue == market.venue), default=FOREVER_MS)
            rows = look.rows(_NEWEST, **of, since=self.upto_seq, upto=upto, suspect=since)
            newest = {row.open_time_ms: (row[0], *row[2:]) for row in rows}
            table = Candles.from_rows(list(newest.values()))
            foreign += [(market.venue, one) for one in self._foreign(market.venue, market.symbol, table)]
        self.upto_seq, self.suspects = upto, foreign
        self.kept = self._sums(look, upto)
        lasting = sorted(one for one in self.wrong.too_long(foreign, look.now_s) if isinstance(one, tuple))
        return [
            f"the candle of {venue} at {iso(first)}" + (f" and {many - 1} more" if many > 1 else "") + " is not its own"
            for venue, first, many in _by_venue(lasting)
        ]

    def _foreign(self, venue: str, symbol: str, stored: Candles) -> list[int]:
        """Minutes whose stored values the venue has never shown."""
        if not len(stored):
            return []
        market = market_at(venue, SimulatedMarket(self.seed), self.seed)
        start_ms, end_ms = int(stored.open_time_ms[0]), int(stored.open_time_ms[-1]) + MINUTE_MS
        true, told = market.candles(symbol, start_ms, end_ms), self._told(venue)
        fitting = np.zeros(len(stored), dtype=np.bool_)
        for faults in _shown_with(told):
            fitting |= _same(stored, distorted(true, faults, market, symbol, FOREVER_MS))
        for faults in _shown_with([one for one in told if one.kind in _PROVISIONAL]):
            fitting |= _same(stored, distorted(true, faults, market, symbol, 0))
        return [int(minute) for minute in stored.open_time_ms[~fitting]]


def _by_venue(holes: Sequence[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """Each venue with its first hole and how many it has."""
    found: dict[str, list[int]] = {}
    for venue, minute in holes:
        found.setdefault(venue, []).append(minute)
    return [(venue, min(minutes), len(minutes)) for venue, minutes in found.items()]


def _shown_with(told: Sequence[Fault]) -> list[list[Fault]]:
    """All faults but those that hide candles; a fault that was told within a minute may have come after its candle."""
    shown = [one for one in told if one.kind not in (FaultKind.MISSING, FaultKind.LATE)]
    return [shown, []]


def _same(stored: Candles, shown: Candles) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each of the ``stored`` whether the ``shown`` have its minute with the same values."""
    if not len(shown):
        return np.zeros(len(stored), dtype=np.bool_)
    place = np.minimum(np.searchsorted(shown.open_time_ms, stored.open_time_ms), len(shown) - 1)
    same = shown.open_time_ms[place] == stored.open_time_ms
    for name in ("open", "high", "low", "close", "volume"):
        same &= getattr(shown, name)[place] == getattr(stored, name)
    return same
