"""Work that one process at a time does, of all on one database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.store.database import Database

NOW, LEASE = 1_000_000, 10_000


def take(database: Database, owner: str, now_ms: int = NOW, name: str = "tick btc-usdt-4h") -> bool:
    with database.unit_of_work() as store:
        return store.leases.take(name, owner, now_ms, LEASE)


def test_take__of_what_another_holds__is_refused_until_it_lapses(database: Database) -> None:
    assert take(database, "a")
    assert not take(database, "b", NOW + LEASE - 1)
    assert take(database, "b", NOW + LEASE)
    assert not take(database, "a", NOW + LEASE + 1)


def test_take__by_its_holder__renews_it(database: Database) -> None:
    assert take(database, "a")
    assert take(database, "a", NOW + LEASE - 1)
    assert not take(database, "b", NOW + LEASE + 1)


def test_take__of_a_lease_from_a_clock_that_was_set_back_since__is_not_waited_for(database: Database) -> None:
    assert take(database, "a", NOW + 3_600_000)
    assert take(database, "b")


def test_take__by_many_at_once__is_given_to_one(database: Database) -> None:
    ready = threading.Barrier(8)

    def at_once(owner: int) -> bool:
        ready.wait()
        return take(database, f"process {owner}")

    with ThreadPoolExecutor(8) as processes:
        assert sum(processes.map(at_once, range(8))) == 1


def test_renew__of_what_was_lost_meanwhile__leaves_it_to_its_new_holder(database: Database) -> None:
    take(database, "a")
    take(database, "b", NOW + LEASE)
    with database.unit_of_work() as store:
        assert store.leases.renew(["tick btc-usdt-4h"], "a", NOW + 9 * LEASE) == set()
        assert store.leases.held(NOW + LEASE) == {"tick btc-usdt-4h": "b"}
        assert store.leases.held(NOW + 2 * LEASE) == {}


def test_release__by_somebody_else__does_nothing(database: Database) -> None:
    take(database, "a")
    with database.unit_of_work() as store:
        store.leases.release("tick btc-usdt-4h", "b")
        assert store.leases.owners() == ["a"]
        store.leases.release("tick btc-usdt-4h", "a")
        assert store.leases.owners() == []


def test_release_all__lets_go_of_one_owners_only(database: Database) -> None:
    take(database, "a")
    take(database, "a", name="attest")
    take(database, "b", name="prune")
    with database.unit_of_work() as store:
        assert store.leases.release_all("a") == 2
        assert store.leases.held(NOW) == {"prune": "b"}
