from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from app.store.candle_rows import Added, CandleRows
from app.store.database import Database
from app.store.retention import prune_candles
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


def with_close(candles: Candles, place: int, close: float) -> Candles:
    changed = candles.close.copy()
    changed[place] = close
    return replace(candles, close=changed)


def test_add__minutes_with_other_numbers__become_revisions_and_the_newest_is_read(
    stored: Database, candles: Candles
) -> None:
    once, twice = (with_close(candles, 3, np.nextafter(candles.close[3], close)) for close in (0, 1e9))
    with stored.unit_of_work() as store:
        assert store.candles.add("binance", BTC, once) == Added(new=0, revised=1)
        assert store.candles.add("binance", BTC, twice) == Added(new=0, revised=1)
        assert store.candles.revisions("binance", BTC, 0, 2**62) == 2
        assert store.candles.count("binance", BTC, 0, 2**62) == len(candles)
        assert store.candles.gaps("binance", BTC, 0, 2**62) == []
    assert read(stored).digest() == twice.digest()


def test_add__the_same_numbers_again__is_no_write(stored: Database, candles: Candles) -> None:
    with stored.unit_of_work() as store:
        assert store.candles.seq() == 1
        assert store.candles.add("binance", BTC, candles) == Added(0, 0)
        assert (store.candles.seq(), store.candles.revisions("binance", BTC, 0, 2**62)) == (1, 0)


def test_add__some_minutes_there_and_some_new__stores_the_new(
    database: Database, candles: Candles, window_end_ms: int
) -> None:
    with database.unit_of_work() as store:
        store.candles.add("binance", BTC, candles.between(window_end_ms - 5 * MINUTE_MS, window_end_ms))
        assert store.candles.add("binance", BTC, candles) == Added(new=len(candles) - 5, revised=0)
    assert read(database).digest() == candles.digest()


def test_add__by_several_writers_at_once__stores_each_minute_once_and_loses_no_revision(
    database: Database, candles: Candles
) -> None:
    together = threading.Barrier(4)

    def write(number: int) -> Added:
        together.wait()
        with database.unit_of_work() as store:
            return store.candles.add("binance", BTC, with_close(candles, 0, float(number)))

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(write, range(4)))
    assert sorted((one.new, one.revised) for one in added) == [(0, 1), (0, 1), (0, 1), (len(candles), 0)]
    with database.unit_of_work(write=False) as store:
        assert store.candles.revisions("binance", BTC, 0, 2**62) == 3


def test_seq__a_reader_beside_writers__reads_the_same_again_as_of_its_number(
    database: Database, candles: Candles
) -> None:
    """On PostgreSQL a writer with a lower number could otherwise commit after the reader has looked."""
    seen: list[tuple[int, str]] = []
    done = threading.Event()

    def digest(as_of: int) -> str:
        with database.unit_of_work(write=False) as store:
            window = store.candles.window({"binance": BTC, "kraken": BTC}, 0, 2**62, as_of)
        return window["binance"].digest() + window["kraken"].digest()

    def look() -> None:
        while not done.is_set():
            with database.unit_of_work(write=False) as store:
                as_of = store.candles.seq()
            seen.append((as_of, digest(as_of)))

    def write(number: int) -> None:
        with database.unit_of_work() as store:
            store.candles.add(("binance", "kraken")[number % 2], BTC, with_close(candles, number % 7, float(number)))

    with ThreadPoolExecutor(4) as pool:
        reading = pool.submit(look)
        try:
            list(pool.map(write, range(30)))
        finally:
            done.set()
        reading.result()
    assert set(seen) == {(as_of, digest(as_of)) for as_of in dict(seen)}


def test_window__as_of_an_earlier_write__is_every_venue_as_it_was(stored: Database, candles: Candles) -> None:
    markets = {"binance": BTC, "kraken": "BTC/USD", "okx": BTC}
    with stored.unit_of_work() as store:
        store.candles.add("kraken", "BTC/USD", with_close(candles, 1, 5.0))
        before = store.candles.seq()
        store.candles.add("binance", BTC, with_close(candles, 0, 7.0))
        found = store.candles.window(markets, 0, 2**62, before)
        now = store.candles.window(markets, 0, 2**62)
    assert [part.digest() for part in found.values()] == [
        candles.digest(),
        with_close(candles, 1, 5.0).digest(),
        Candles.from_rows([]).digest(),
    ]
    assert now["binance"].close[0] == 7.0
    assert list(found) == list(markets)


def test_add__a_minute_twice_in_one_go__stores_the_last(database: Database) -> None:
    with database.unit_of_work() as store:
        twice = Candles.from_rows([[0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 2, 1]])
        assert store.candles.add("binance", BTC, twice) == Added(new=1, revised=0)
    assert read(database).close.tolist() == [2.0]


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([], None),
        ([(3, 5)], (3, 5)),
        ([(3, 5), (5, 8)], (3, 8)),
        ([(3, 5), (1, 3)], (1, 5)),
        ([(3, 5), (4, 4)], (3, 5)),
        ([(3, 5), (1, 9)], (1, 9)),
        ([(3, 5), (6, 8)], (6, 8)),
        ([(3, 5), (1, 2)], (1, 2)),
    ],
)
def test_cover__joins_what_touches_and_else_begins_anew(
    database: Database, stretches: list[tuple[int, int]], expected: tuple[int, int] | None
) -> None:
    with database.unit_of_work() as store:
        store.candles.cover("kraken", BTC, 0, 100)
        for start_ms, end_ms in stretches:
            store.candles.cover("binance", BTC, start_ms, end_ms)
        assert store.candles.covered("binance", BTC) == expected
        assert store.candles.covered("kraken", BTC) == (0, 100)


def test_prune__deletes_slice_after_slice_with_revisions_and_moves_coverage_first(
    database: Database, candles: Candles
) -> None:
    times = candles.open_time_ms.tolist()
    with database.unit_of_work() as store:
        for venue in ("binance", "kraken"):
            store.candles.add(venue, BTC, candles)
            store.candles.cover(venue, BTC, times[0], times[-1] + MINUTE_MS)
        store.candles.cover("okx", BTC, times[0], times[4])
        store.candles.add("binance", BTC, with_close(candles, 1, 1.0))
        assert store.candles.prune(times[6] - 1, most=4) == 5
        assert store.candles.covered("kraken", BTC) == (times[6], times[-1] + MINUTE_MS)
        assert store.candles.covered("okx", BTC) is None
        assert [store.candles.prune(times[6] - 1, most=4) for _ in range(4)] == [4, 4, 0, 0]
        assert store.candles.range("binance", BTC) == store.candles.range("kraken", BTC) == (times[6], times[-1])


def test_prune_candles__goes_on_to_the_last_slice(
    stored: Database, candles: Candles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CandleRows.prune, "__defaults__", (3,))
    assert prune_candles(stored, int(candles.open_time_ms[8])) == 8
    assert len(read(stored)) == 2


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
