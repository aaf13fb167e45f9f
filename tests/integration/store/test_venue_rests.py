"""Venues that are left alone for a while, as they come back from the store."""

from __future__ import annotations

from dataclasses import replace

from app.store.database import Database
from app.types import VenueRest

REST = VenueRest(
    "kraken", failures=3, until_ms=1_757_937_600_123, reason="429: slow down, ü", since_ms=1_757_937_000_000
)


def test_set_rest__is_read_as_it_was_and_takes_the_place_of_the_former(database: Database) -> None:
    other, later = replace(REST, venue="binance"), replace(REST, failures=4, until_ms=REST.until_ms + 60_000)
    with database.unit_of_work() as store:
        for one in (REST, other, later):
            store.venues.set_rest(one)
    with database.unit_of_work(write=False) as store:
        assert store.venues.rest("kraken") == later
        assert store.venues.all() == {"binance": other, "kraken": later}


def test_clear__forgets_that_venue_alone(database: Database) -> None:
    with database.unit_of_work() as store:
        store.venues.set_rest(REST)
        store.venues.clear("binance")
        assert store.venues.rest("kraken") == REST
        store.venues.clear("kraken")
        assert store.venues.rest("kraken") is None
