"""Closed candles. The first version stored stays: what was published must remain reproducible."""

from __future__ import annotations

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.tables import candles
from app.types import MINUTE_MS, Candles

_VALUES = (
    candles.c.open_time_ms,
    candles.c.open,
    candles.c.high,
    candles.c.low,
    candles.c.close,
    candles.c.volume,
)


class CandleRows:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, venue: str, symbol: str, new: Candles) -> None:
        """Store the candles that are not there yet."""
        names = [column.name for column in _VALUES]
        rows = [{"venue": venue, "symbol": symbol, **dict(zip(names, row, strict=True))} for row in new.rows()]
        if rows:
            self._connection.execute(insert_new(self._connection, candles), rows)

    def between(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> Candles:
        """The candles with ``start_ms <= open_time < end_ms``, ascending."""
        query = (
            sa.select(*_VALUES)
            .where(candles.c.venue == venue, candles.c.symbol == symbol)
            .where(candles.c.open_time_ms >= start_ms, candles.c.open_time_ms < end_ms)
            .order_by(candles.c.open_time_ms)
        )
        return Candles.from_rows([tuple(row) for row in self._connection.execute(query)])

    def range(self, venue: str, symbol: str) -> tuple[int, int] | None:
        """Open times of the oldest and the newest candle; none when nothing is stored."""
        times = candles.c.open_time_ms
        query = sa.select(sa.func.min(times), sa.func.max(times)).where(
            candles.c.venue == venue, candles.c.symbol == symbol
        )
        first, last = self._connection.execute(query).one()
        return None if first is None else (first, last)

    def gaps(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """Stretches without candles between two candles: (first missing minute, first minute present again)."""
        opened = candles.c.open_time_ms
        following = sa.func.lead(opened).over(order_by=opened)
        pairs = (
            sa.select(opened.label("opened"), following.label("following"))
            .where(candles.c.venue == venue, candles.c.symbol == symbol, opened >= start_ms, opened < end_ms)
            .subquery()
        )
        query = sa.select(pairs).where(pairs.c.following - pairs.c.opened > MINUTE_MS).order_by(pairs.c.opened)
        return [(row.opened + MINUTE_MS, row.following) for row in self._connection.execute(query)]

    def count(self, venue: str, symbol: str, start_ms: int, end_ms: int) -> int:
        """How many candles there are with ``start_ms <= open_time < end_ms``."""
        query = (
            sa.select(sa.func.count())
            .where(candles.c.venue == venue, candles.c.symbol == symbol)
            .where(candles.c.open_time_ms >= start_ms, candles.c.open_time_ms < end_ms)
        )
        return self._connection.execute(query).scalar_one()
