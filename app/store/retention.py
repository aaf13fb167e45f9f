"""Candles that are past their retention, deleted slice by slice so that a tick never waits for long."""

from __future__ import annotations

from app.store.database import Database


def prune_candles(database: Database, before_ms: int) -> int:
    """Delete every candle with ``open_time < before_ms``, a transaction for each slice; gives how many rows."""
    pruned = 0
    while True:
        with database.unit_of_work() as store:
            rows = store.candles.prune(before_ms)
        if not rows:
            return pruned
        pruned += rows
