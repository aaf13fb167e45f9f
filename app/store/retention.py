"""What is past its retention, deleted slice by slice so that a tick never waits for long."""

from __future__ import annotations

from collections.abc import Callable

from app.store.database import Database
from app.store.old_predictions import OldPredictions, Slice

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


def prune_predictions(database: Database, before_ms: int, tell: Callable[[int], None] = lambda _: None) -> int:
    """Delete predictions of windows that ended before a time of the market, and all of theirs but outcomes.

    Gives how many; ``tell`` is called with how many there are so far.
    """

    def one(since_ms: int) -> Slice | None:
        with database.one_write() as connection:
            return OldPredictions(connection).prune(since_ms, before_ms)

    return _in_slices(one, tell)


def old_predictions(database: Database, before_ms: int) -> int:
    """How many predictions `prune_predictions` would delete."""

    def one(since_ms: int) -> Slice | None:
        with database.one_look() as connection:
            return OldPredictions(connection).count(since_ms, before_ms)

    return _in_slices(one, lambda _: None)


def _in_slices(one: Callable[[int], Slice | None], tell: Callable[[int], None]) -> int:
    done = since_ms = 0
    while (found := one(since_ms)) is not None:
        done, since_ms = done + found.predictions, found.end_ms
        tell(done)
    return done
