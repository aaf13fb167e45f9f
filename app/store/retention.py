"""Candles and events that are past their retention, deleted slice by slice so that a tick never waits for long."""

from __future__ import annotations

from app.store.database import Database

_EVENTS_AT_ONCE = 5_000


def prune_candles(database: Database, before_ms: int) -> int:
    """Delete every candle with ``open_time < before_ms``, a transaction for each slice; gives how many rows."""
    pruned = 0
    while True:
        with database.unit_of_work() as store:
            rows = store.candles.prune(before_ms)
        if not rows:
            return pruned
        pruned += rows


def prune_events(database: Database, before_ms: int) -> int:
    """Delete every event from before a time of the wall clock; gives how many."""
    pruned = 0
    while True:
        with database.unit_of_work() as store:
            rows = store.events.prune(before_ms, _EVENTS_AT_ONCE)
        pruned += rows
        if rows < _EVENTS_AT_ONCE:
            return pruned
