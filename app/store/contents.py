"""What is in a database: for `veriregime db status`, and to say what `db prune` would take away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from app.store.copying import counts
from app.store.database import Database
from app.store.dialect import size_bytes
from app.store.tables import candles, events, predictions


@dataclass(frozen=True, slots=True)
class Contents:
    """One look at the whole database."""

    size_bytes: int
    rows: Mapping[str, int]
    """Of each table."""
    oldest_window_ms: int | None
    newest_window_ms: int | None
    """Of all predictions; none without predictions."""


def contents(database: Database) -> Contents:
    """Every row is counted: on a large database that takes a while."""
    with database.one_look() as connection:
        rows = counts(connection)
        ends = connection.execute(_ends()).one() if "predictions" in rows else (None, None)
        return Contents(size_bytes(connection), rows, *ends)


def old_candles(database: Database, before_ms: int) -> int:
    """How many candles `prune_candles` would delete."""
    return _count(database, candles, candles.c.open_time_ms < before_ms)


def old_events(database: Database, before_ms: int) -> int:
    """How many events `prune_events` would delete."""
    return _count(database, events, events.c.at_ms < before_ms)


def _count(database: Database, table: sa.Table, wanted: sa.ColumnElement[bool]) -> int:
    with database.one_look() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table).where(wanted)).scalar_one()


def _ends() -> sa.Select[tuple[int | None, int | None]]:
    end = predictions.c.window_end_ms
    return sa.select(sa.func.min(end), sa.func.max(end))
