from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, repeat

import pytest

from app.clock import Clock, wall_ms
from app.steps.turns import Turns
from app.store.database import Database

TURN = "tick btc-usdt-4h"
Process = Callable[[str], Turns]


@pytest.fixture
def process(sqlite_database: Database) -> Process:
    return lambda owner: Turns(sqlite_database, owner, Clock())


def holder(database: Database, at_ms: int | None = None) -> str | None:
    with database.unit_of_work(write=False) as store:
        return store.leases.held(wall_ms() if at_ms is None else at_ms).get(TURN)


def test_take__while_another_process_holds_it__is_refused_until_it_is_given_back(process: Process) -> None:
    one, other = process("a"), process("b")
    assert one.take(TURN)
    assert not other.take(TURN)
    one.give_back(TURN)
    assert other.take(TURN)


def test_take__of_what_is_held__writes_nothing(process: Process, sqlite_database: Database) -> None:
    one = process("a")
    one.take(TURN)
    with sqlite_database.unit_of_work():  # nobody else can write meanwhile
        assert one.take(TURN)


def test_keep__when_half_the_lease_is_over__makes_it_last(
    process: Process, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, started, begun_ms = process("a"), time.monotonic(), wall_ms()
    one.take(TURN)
    monkeypatch.setattr("app.steps.turns.time.monotonic", lambda: started + 6)
    monkeypatch.setattr("app.steps.turns.wall_ms", lambda: begun_ms + 6_000)
    one.keep()
    assert holder(sqlite_database, begun_ms + 15_000) == "a"


def test_take__the_database_answers_late__is_renewed_by_when_it_was_asked(
    process: Process, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, begun_ms = process("a"), wall_ms()
    seconds = chain([100.0], repeat(106.0))  # six of ten are over when it has its answer
    monkeypatch.setattr("app.steps.turns.time.monotonic", lambda: next(seconds))
    one.take(TURN)
    monkeypatch.setattr("app.steps.turns.wall_ms", lambda: begun_ms + 6_000)
    one.keep()
    assert holder(sqlite_database, begun_ms + 15_000) == "a"


def test_keep__of_what_another_took_meanwhile__does_not_take_it_back(
    process: Process, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, started = process("a"), time.monotonic()
    one.take(TURN)
    with sqlite_database.unit_of_work() as store:
        store.leases.release(TURN, "a")
        store.leases.take(TURN, "b", wall_ms(), 10_000)
    monkeypatch.setattr("app.steps.turns.time.monotonic", lambda: started + 6)
    one.keep()
    assert holder(sqlite_database) == "b"
    assert not one.take(TURN)


def test_give_all_back__at_the_end__leaves_nothing_to_wait_for(process: Process, sqlite_database: Database) -> None:
    one = process("a")
    one.take(TURN)
    one.take("attest")
    one.give_all_back()
    assert holder(sqlite_database) is None
    assert process("b").take("attest")


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 10), (2.0, 5), (60.0, 3)])
def test_a_lease__in_a_market_that_runs_fast__lapses_sooner(
    sqlite_database: Database, speed: float, seconds: int
) -> None:
    Turns(sqlite_database, "a", Clock(speed=speed)).take(TURN)
    assert holder(sqlite_database, wall_ms() + 1000 * seconds - 500) == "a"
    assert holder(sqlite_database, wall_ms() + 1000 * seconds + 1) is None
