"""Closed candles, each as the venue showed it first and, where it showed it differently later, as revisions of it.

Every write that brings something gets the next number of a counter, ``seq``. The counter's row is locked from the look
at what is there to the end of the transaction, so writes are committed in the order of their numbers: whoever has read
the counter sees every candle up to its value, and reads the very same candles as of that value ever after, until they
are pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
import sqlalchemy as sa

from app.store.counters import hold, last, take
from app.store.tables import candle_coverage, candles
from app.types import MINUTE_MS, BoolArray, Candles, FloatArray

_COUNTER = "candles"
_SLICE_MINUTES = 5_000
_VALUES = (
    candles.c.open_time_ms,
    candles.c.open,
    candles.c.high,
    candles.c.low,
    candles.c.close,
    candles.c.volume,
)
_COLUMNS = (*_VALUES, candles.c.revision)


@dataclass(frozen=True, slots=True)
class Added:
    """What a write of candles changed: minutes that were not there, and minutes that had other numbers."""

    new: int
    revised: int


class CandleRows:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, venue: str, symbol: str, new: Candles) -> Added:
        """Store minutes that are not there, and a further revision of those that have other numbers by now."""
        if not len(new):
            return Added(0, 0)
        self._lock()
        shown = _table(new)
        stored = self._newest(venue, symbol, int(shown[0, 0]), int(shown[-1, 0]) + MINUTE_MS, _COLUMNS)
        there, revised, revisions = _compare(shown, stored)
        if (fresh := ~there | revised).any():
            self._insert(venue, symbol, shown[fresh], revisions[fresh])
        return Added(int((~there).sum()), int(revised.sum()))

    def seq(self) -> int:
        """Number of the last write, 0 before the first: what to read ``as_of``."""
        return last(self._connection, _COUNTER)

    def between(self, venue: str, symbol: str, start_ms: int, end_ms: int, as_of: int | None = None) -> Candles:
        """The candles with ``start_ms <= open_time < end_ms``, ascending: of each minute the newest revision.

        With ``as_of``, a value of `seq`, they are as they were when the counter stood there.
        """
        table = self._newest(venue, symbol, start_ms, end_ms, _VALUES, as_of)
        return Candles(table[:, 0].astype(np.int64), *(np.ascontiguousarray(table[:, i]) for i in range(1, 6)))

    def window(
        self, markets: Mapping[str, str], start_ms: int, end_ms: int, as_of: int | None = None
    ) -> dict[str, Candles]:
        """`between` for every venue of ``markets`` (venue → symbol); one without candles has an empty one."""
        return {venue: self.between(venue, symbol, start_ms, end_ms, as_of) for venue, symbol in markets.items()}

    def range(self, venue: str, symbol: str) -> tuple[int, int] | None:
        """Open times of the oldest and the newest candle; none when nothing is stored."""
        # Each in a query of its own: SQLite finds either end in the index, but reads all of it for both at once.
        ends = (
            sa.select(pick(candles.c.open_time_ms)).where(*_of(venue, symbol)).scalar_subquery()
            for pick in (sa.func.min, sa.func.max)
        )
        first, last = self._connection.execute(sa.select(*ends)).one()
        return None if first is None else (first, last)

    def gaps(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """Stretches without candles between two candles: (first missing minute, first minute present again)."""
        opened = candles.c.open_time_ms
        following = sa.func.lead(opened).over(order_by=opened)
        pairs = (
            sa.select(opened.label("opened"), following.label("following"))
            .where(*_of(venue, symbol, start_ms, end_ms), candles.c.revision == 0)
            .subquery()
        )
        query = sa.select(pairs).where(pairs.c.following - pairs.c.opened > MINUTE_MS).order_by(pairs.c.opened)
        return [(row.opened + MINUTE_MS, row.following) for row in self._connection.execute(query)]

    def count(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> int:
        """How many minutes with ``start_ms <= open_time < end_ms`` have a candle."""
        return self._count(*_of(venue, symbol, start_ms, end_ms), candles.c.revision == 0)

    def revisions(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> int:
        """How often a candle with ``start_ms <= open_time < end_ms`` was shown differently than before."""
        return self._count(*_of(venue, symbol, start_ms, end_ms), candles.c.revision > 0)

    def covered(self, venue: str, symbol: str) -> tuple[int, int] | None:
        """The stretch ``start_ms <= open_time < end_ms`` that the venue was asked for and answered."""
        query = sa.select(candle_coverage.c.start_ms, candle_coverage.c.end_ms).where(*_coverage_of(venue, symbol))
        found = self._connection.execute(query).one_or_none()
        return None if found is None else (found.start_ms, found.end_ms)

    def cover(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> None:
        """Join a stretch to the one that is covered where they touch or overlap; else it takes its place."""
        if start_ms >= end_ms:
            return
        self._lock()
        covered = self.covered(venue, symbol)
        if covered is None:
            row = {"venue": venue, "symbol": symbol, "start_ms": start_ms, "end_ms": end_ms}
            self._connection.execute(sa.insert(candle_coverage).values(row))
            return
        if start_ms <= covered[1] and covered[0] <= end_ms:
            start_ms, end_ms = min(start_ms, covered[0]), max(end_ms, covered[1])
        self._connection.execute(
            sa.update(candle_coverage).where(*_coverage_of(venue, symbol)).values(start_ms=start_ms, end_ms=end_ms)
        )

    def prune(self, before_ms: int, most: int = _SLICE_MINUTES) -> int:
        """Delete a slice of the minutes with ``open_time < before_ms``, oldest first; gives how many rows.

        It is 0 once there are none. ``most`` minutes go at once, with all their revisions, so that others need not wait
        for the lock for long: let each slice have a unit of work of its own, as `app.store.retention` does. Nothing
        before ``before_ms`` is covered any more from the first slice on.
        """
        self._lock()
        self._uncover(before_ms)
        deleted, left = 0, most
        for venue, symbol in self._markets():
            rows, minutes = self._delete_oldest(venue, symbol, before_ms, left)
            deleted, left = deleted + rows, left - minutes
            if left <= 0:
                break
        return deleted

    def _lock(self) -> None:
        """Nobody else writes candles until the transaction ends; SQLite sees to that by itself."""
        hold(self._connection, _COUNTER)

    def _newest(
        self,
        venue: str,
        symbol: str,
        start_ms: int,
        end_ms: int,
        columns: Sequence[sa.Column[Any]],
        as_of: int | None = None,
    ) -> FloatArray:
        """The newest revisions, a row (columns) each, ascending."""
        query = (
            sa.select(*columns)
            .where(*_of(venue, symbol, start_ms, end_ms))
            .order_by(candles.c.open_time_ms, candles.c.revision)
        )
        if as_of is not None:
            query = query.where(candles.c.seq <= as_of)
        return _last_of_each_minute(_fetched(self._connection.execute(query), len(columns)))

    def _insert(self, venue: str, symbol: str, shown: FloatArray, revisions: FloatArray) -> None:
        seq = take(self._connection, _COUNTER)
        names = [column.name for column in _VALUES[1:]]
        rows = [
            {"venue": venue, "symbol": symbol, "open_time_ms": int(opened), "revision": int(revision), "seq": seq}
            | dict(zip(names, values, strict=True))
            for (opened, *values), revision in zip(shown.tolist(), revisions.tolist(), strict=True)
        ]
        self._connection.execute(sa.insert(candles), rows)

    def _count(self, *wanted: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(candles).where(*wanted)
        return self._connection.execute(query).scalar_one()

    def _uncover(self, before_ms: int) -> None:
        start_ms = -(-before_ms // MINUTE_MS) * MINUTE_MS
        self._connection.execute(sa.delete(candle_coverage).where(candle_coverage.c.end_ms <= start_ms))
        self._connection.execute(
            sa.update(candle_coverage).where(candle_coverage.c.start_ms < start_ms).values(start_ms=start_ms)
        )

    def _markets(self) -> Iterable[tuple[str, str]]:
        """Every venue and symbol with candles, from one to the next by the index: DISTINCT would read every candle."""
        key = sa.tuple_(candles.c.venue, candles.c.symbol)
        query = sa.select(candles.c.venue, candles.c.symbol).order_by(candles.c.venue, candles.c.symbol).limit(1)
        found = self._connection.execute(query).one_or_none()
        while found is not None:
            yield found.venue, found.symbol
            found = self._connection.execute(query.where(key > sa.tuple_(*found))).one_or_none()

    def _delete_oldest(self, venue: str, symbol: str, before_ms: int, most: int) -> tuple[int, int]:
        """Up to ``most`` minutes of a market from its oldest candle on; gives rows deleted and minutes spanned."""
        stored = self.range(venue, symbol)
        if stored is None or stored[0] >= before_ms:
            return 0, 0
        until_ms = min(before_ms, stored[0] + most * MINUTE_MS)
        deleted = self._connection.execute(sa.delete(candles).where(*_of(venue, symbol, stored[0], until_ms)))
        return deleted.rowcount, -(-(until_ms - stored[0]) // MINUTE_MS)


def _of(
    venue: str, symbol: str, start_ms: int | None = None, end_ms: int | None = None
) -> tuple[sa.ColumnElement[bool], ...]:
    wanted = [candles.c.venue == venue, candles.c.symbol == symbol]
    if start_ms is not None:
        wanted.append(candles.c.open_time_ms >= start_ms)
    if end_ms is not None:
        wanted.append(candles.c.open_time_ms < end_ms)
    return tuple(wanted)


def _coverage_of(venue: str, symbol: str) -> tuple[sa.ColumnElement[bool], ...]:
    return candle_coverage.c.venue == venue, candle_coverage.c.symbol == symbol


def _fetched(found: sa.CursorResult[Any], columns: int) -> FloatArray:
    """Rows of numbers as (n, columns), straight from the driver: SQLAlchemy's row objects take a third longer."""
    rows = cast(Iterable[tuple[float, ...]], found.cursor)
    table = np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(-1, columns)
    found.close()
    return table


def _table(new: Candles) -> FloatArray:
    """Candles as (n, 6), ascending; of a minute that is there several times, the last."""
    columns = (new.open_time_ms.astype(np.float64), new.open, new.high, new.low, new.close, new.volume)
    table = np.column_stack(columns)
    return _last_of_each_minute(table[np.argsort(table[:, 0], kind="stable")])


def _last_of_each_minute(table: FloatArray) -> FloatArray:
    last = np.ones(len(table), dtype=np.bool_)
    last[:-1] = table[1:, 0] != table[:-1, 0]
    return table if last.all() else table[last]


def _compare(shown: FloatArray, stored: FloatArray) -> tuple[BoolArray, BoolArray, FloatArray]:
    """Which of the ``shown`` (n, 6) are among the ``stored`` (m, 7), which differ, and the revision each would be."""
    if not len(stored):
        return np.zeros(len(shown), dtype=np.bool_), np.zeros(len(shown), dtype=np.bool_), np.zeros(len(shown))
    place = np.minimum(np.searchsorted(stored[:, 0], shown[:, 0]), len(stored) - 1)
    known = stored[place]
    there = known[:, 0] == shown[:, 0]
    revised = there & (known[:, 1:6] != shown[:, 1:6]).any(axis=1)
    return there, revised, np.where(revised, known[:, 6] + 1, 0.0)
