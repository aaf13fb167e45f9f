"""Events are passed on once each, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from app.errors import StoreUnavailable
from app.store.database import Database
from app.store.repository import Store
from app.types import Event, Prediction
from app.web import watching
from app.web.watching import EventWatcher


@pytest.fixture
def watch(sqlite_database: Database) -> Callable[[Callable[[], object], int], list[int]]:
    """Numbers passed on while ``meanwhile`` runs, till that many have come."""

    def run(meanwhile: Callable[[], object], how_many: int) -> list[int]:
        return asyncio.run(_watched(sqlite_database, meanwhile, how_many))

    return run


async def _watched(database: Database, meanwhile: Callable[[], object], how_many: int) -> list[int]:
    watcher, passed_on, enough = EventWatcher(database), [], asyncio.Event()

    def deliver(found: Sequence[Event]) -> None:
        passed_on.extend(event.seq for event in found)
        if len(passed_on) >= how_many:
            enough.set()

    watcher.subscribe(deliver)
    watcher.start()
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(_until_current, watcher)
            await asyncio.to_thread(meanwhile)
            await enough.wait()
    finally:
        await asyncio.to_thread(watcher.stop)
    return passed_on


def _until_current(watcher: EventWatcher) -> None:
    while not watcher.is_current:
        time.sleep(0.005)


@pytest.fixture
def add(
    sqlite_database: Database, make_prediction: Callable[..., Prediction], window_end_ms: int
) -> Callable[..., None]:
    def store_one(minute: int) -> None:
        with sqlite_database.unit_of_work() as store:
            assert store.predictions.add(make_prediction(window_end_ms=window_end_ms + minute * 60_000))

    return store_one


def test_events__what_was_there_before__is_not_passed_on(
    watch: Callable[..., list[int]], add: Callable[..., None]
) -> None:
    add(0)
    assert watch(lambda: add(1), 1) == [2]


def test_events__more_than_a_page__all_come(
    watch: Callable[..., list[int]], add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_AT_ONCE", 3)
    assert watch(lambda: [add(minute) for minute in range(10)], 10) == list(range(1, 11))


@pytest.mark.parametrize("error", [StoreUnavailable("away"), KeyError("a bug")])
def test_events__found_when_the_connection_is_lost_at_the_end_of_the_look__are_not_lost(
    watch: Callable[..., list[int]],
    add: Callable[..., None],
    sqlite_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setattr(watching, "_AFTER_FAILURE_S", 0.01)
    work, failed = sqlite_database.unit_of_work, threading.Event()

    @contextmanager
    def failing(*, write: bool = True) -> Iterator[Store]:
        with work(write=write) as store:
            yield store
            lost = not write and store.events.last() and not failed.is_set()
        if lost:
            failed.set()
            raise error

    def happen() -> None:
        monkeypatch.setattr(sqlite_database, "unit_of_work", failing)
        add(0)
        assert failed.wait(5)

    assert watch(happen, 1) == [1]
