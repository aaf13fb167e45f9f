from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from app.store.database import Database
from app.types import MINUTE_MS, Candles

BTC = "BTC/USDT"


@pytest.fixture
def candles(make_candles: Callable[..., Candles]) -> Candles:
    return make_candles(10)


@pytest.fixture
def stored(database: Database, candles: Candles) -> Database:
    with database.unit_of_work() as store:
        store.candles.add("binance", BTC, candles)
    return database


def read(database: Database, venue: str = "binance", symbol: str = BTC, end_ms: int = 2**62) -> Candles:
    with database.unit_of_work(write=False) as store:
        return store.candles.between(venue, symbol, 0, end_ms)


def test_add__awkward_floats__come_back_exactly(database: Database, make_candles: Callable[..., Candles]) -> None:
    awkward = np.asarray([0.1 + 0.2, 1e-8 / 3, 123_456_789.123_456_79, 5e-324, 1.7e308, 0.0])
    candles = make_candles(len(awkward))
    exact = Candles(candles.open_time_ms, awkward, awkward[::-1], awkward * 0.7, np.nextafter(awkward, 1), awkward)
    with database.unit_of_work() as store:
        store.candles.add("binance", BTC, exact)
    assert read(database).digest() == exact.digest()


def test_add__a_minute_that_is_there__leaves_the_first_version(stored: Database, candles: Candles) -> None:
    with stored.unit_of_work() as store:
        store.candles.add("binance", BTC, replace(candles, close=candles.close + 1))
    assert read(stored).digest() == candles.digest()


def test_add__some_minutes_there_and_some_new__stores_the_new(
    database: Database, candles: Candles, window_end_ms: int
) -> None:
    with database.unit_of_work() as store:
        store.candles.add("binance", BTC, candles.between(0, window_end_ms - 5 * MINUTE_MS))
        store.candles.add("binance", BTC, candles)
    assert read(database).digest() == candles.digest()


def test_add__same_minutes_by_two_writers__are_stored_once(database: Database, candles: Candles) -> None:
    together = threading.Barrier(2)

    def write(_: int) -> None:
        together.wait()
        with database.unit_of_work() as store:
            store.candles.add("binance", BTC, candles)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    assert read(database).digest() == candles.digest()


def test_add__no_candles__stores_nothing(database: Database) -> None:
    with database.unit_of_work() as store:
        store.candles.add("binance", BTC, Candles.from_rows([]))
    assert len(read(database)) == 0


def test_add__in_any_order__is_read_in_order_of_time(database: Database, candles: Candles) -> None:
    with database.unit_of_work() as store:
        store.candles.add("binance", BTC, Candles.from_rows(candles.rows()[::-1]))
    assert read(database).digest() == candles.digest()


def test_between__bounds__include_the_start_and_not_the_end(stored: Database, candles: Candles) -> None:
    times = candles.open_time_ms.tolist()
    with stored.unit_of_work(write=False) as store:
        found = store.candles.between("binance", BTC, times[2], times[5])
    assert found.open_time_ms.tolist() == times[2:5]


@pytest.mark.parametrize(("venue", "symbol"), [("kraken", BTC), ("binance", "ETH/USDT")])
def test_between__another_venue_or_symbol__has_none_of_these(stored: Database, venue: str, symbol: str) -> None:
    assert len(read(stored, venue, symbol)) == 0


def test_range__of_nothing__is_none(stored: Database) -> None:
    with stored.unit_of_work(write=False) as store:
        assert store.candles.range("kraken", BTC) is None


def test_range__is_the_oldest_and_the_newest_minute(stored: Database, candles: Candles) -> None:
    with stored.unit_of_work(write=False) as store:
        found = store.candles.range("binance", BTC)
    assert found == (candles.open_time_ms[0], candles.open_time_ms[-1])


def test_count__bounds__include_the_start_and_not_the_end(stored: Database, candles: Candles) -> None:
    times = candles.open_time_ms.tolist()
    with stored.unit_of_work(write=False) as store:
        assert store.candles.count("binance", BTC, times[2], times[5]) == 3


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([0, 1, 2], []),
        ([0, 2], [(1, 2)]),
        ([0, 1, 5, 6, 8], [(2, 5), (7, 8)]),
        ([], []),
    ],
)
def test_gaps__missing_minutes__run_from_the_first_missing_to_the_next_present(
    database: Database, present: list[int], expected: list[tuple[int, int]]
) -> None:
    with database.unit_of_work() as store:
        store.candles.add(
            "binance", BTC, Candles.from_rows([[minute * MINUTE_MS, 1, 1, 1, 1, 1] for minute in present])
        )
        found = store.candles.gaps("binance", BTC, 0, 10 * MINUTE_MS)
    assert found == [(first * MINUTE_MS, after * MINUTE_MS) for first, after in expected]
