"""The window of a feed from several venues: who is waited for, who is left out, and when there is no window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest

from app.clock import Clock
from app.errors import Misconfigured, NoQuorum
from app.features.variation import CANDLES_NEEDED
from app.metrics import Metrics
from app.steps import collect
from app.steps.collect import Collector
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import MINUTE_MS, Candles

Collect = Callable[..., Collector]
Serve = Callable[..., ServedFeed]
Venue = Any


@pytest.fixture
def market(make_candles: Callable[..., Candles], window_end_ms: int) -> Candles:
    """The week of the first window and two hours more."""
    return make_candles(CANDLES_NEEDED + 120, end_ms=window_end_ms + 120 * MINUTE_MS)


@pytest.fixture
def three(make_venue: Callable[..., Venue], market: Candles) -> list[Venue]:
    return [make_venue(market, name=name, page_minutes=CANDLES_NEEDED) for name in ("binance", "coinbase", "kraken")]


class Stuck:
    """A venue that does not answer until it is let go."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self.go = threading.Event()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def pages(self, *arguments: Any) -> Iterator[Any]:
        self.asked += 1
        self.go.wait(10)
        yield from self._venue.pages(*arguments)


def test_window__three_venues__has_the_candles_of_all_and_says_where_from(
    collect_from: Collect, serve: Serve, three: list[Venue], sqlite_database: Database, window_end_ms: int
) -> None:
    found = collect_from(*three).window(serve(*three, quorum=2), window_end_ms)
    assert {name: len(part) for name, part in found.window.candles.items()} == dict.fromkeys(
        ("binance", "coinbase", "kraken"), CANDLES_NEEDED
    )
    assert found.window.quorum == 2
    assert found.sources.markets == dict.fromkeys(("binance", "coinbase", "kraken"), "BTC/USDT")
    assert found.sources.left_out == {}
    with sqlite_database.unit_of_work(write=False) as store:
        assert found.sources.as_of == store.candles.seq()


def test_window__one_of_three_away__comes_from_the_others(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    three[2].fails_at_page = 1
    found = collect_from(*three).window(serve(*three, quorum=2), window_end_ms)
    assert sorted(found.window.candles) == ["binance", "coinbase"]
    assert "the exchange is down" in found.sources.left_out["kraken"]


def test_window__venue_that_went_away__stands_behind_the_minutes_that_it_had(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    later = Clock(market_start_ms=window_end_ms + MINUTE_MS + 1_000, speed=0)
    collector, served = collect_from(*three, clock=later), serve(*three, quorum=2)
    collector.window(served, window_end_ms)
    three[2].fails_at_page = 1
    found = collector.window(served, window_end_ms + MINUTE_MS)
    assert len(found.window.candles["kraken"]) == CANDLES_NEEDED - 1
    assert found.sources.left_out == {}


def test_window__two_of_three_away__is_no_quorum_with_what_each_lacks(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    three[1].fails_at_page = 1
    three[2].hidden = {window_end_ms - MINUTE_MS}
    words = (
        "1 of 3 venues has the minute to 2025-09-15T12:00:00Z, 2 must: coinbase: the exchange is down.*kraken: .*late"
    )
    with pytest.raises(NoQuorum, match=words):
        collect_from(*three).window(serve(*three, quorum=2), window_end_ms)


def test_window__venue_without_a_return__has_no_part_in_it(
    collect_from: Collect, make_venue: Callable[..., Venue], three: list[Venue], serve: Serve, window_end_ms: int
) -> None:
    silent = make_venue(Candles.from_rows([]), name="okx")
    found = collect_from(three[0], silent).window(serve(three[0], silent), window_end_ms)
    assert list(found.window.candles) == ["binance"]
    assert set(found.sources.left_out) == {"okx"}


def test_window__venue_that_does_not_list_the_symbol__is_named_with_what_to_do(
    collect_from: Collect, three: list[Venue], serve: Serve, window_end_ms: int
) -> None:
    three[0].fails_at_page, three[0].error = 1, Misconfigured("binance does not list BTC/USDT: choose another")
    with pytest.raises(NoQuorum, match="binance: binance does not list BTC/USDT: choose another"):
        collect_from(three[0]).window(serve(three[0]), window_end_ms)


def test_window__slow_venue__holds_the_others_up_once_for_a_moment_and_then_no_more(
    collect_from: Collect,
    serve: Serve,
    three: list[Venue],
    window_end_ms: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Stuck(three[2])
    later = Clock(market_start_ms=window_end_ms + 2 * MINUTE_MS + 1_000, speed=0)
    collector, served = collect_from(*three[:2], slow, straggler_s=0.3, clock=later), serve(*three, quorum=2)
    given: list[list[float]] = []

    def noted(waiting: set[Future[bool]], timeout: float | None, return_when: str) -> Any:
        given[-1] += [] if timeout is None else [timeout]
        return wait(waiting, timeout, return_when)

    monkeypatch.setattr(collect, "wait", noted)
    took = []
    for minutes in range(3):
        given.append([])
        started = time.monotonic()
        found = collector.window(served, window_end_ms + minutes * MINUTE_MS)
        took.append(time.monotonic() - started)
        assert "kraken" not in found.window.candles
    slow.go.set()
    assert "did not answer in time" in found.sources.left_out["kraken"]
    assert took[0] >= 0.3
    assert all(0 < max(seconds) <= 0.05 for seconds in given[1:])


def test_window__venue_that_is_a_moment_slower_than_the_others__is_not_taken_for_late(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    slow = Stuck(three[2])
    later = Clock(market_start_ms=window_end_ms + 3 * MINUTE_MS + 1_000, speed=0)
    collector, served = collect_from(*three[:2], slow, straggler_s=0.3, clock=later), serve(*three, quorum=2)
    collector.window(served, window_end_ms)
    slow.go.set()
    time.sleep(0.5)
    with_it = []
    for minutes in range(1, 4):
        found = collector.window(served, window_end_ms + minutes * MINUTE_MS)
        with_it.append(found.window.candles["kraken"].open_time_ms[-1] == found.window.end_ms - MINUTE_MS)
    assert with_it[-1]


def test_window__venue_that_loads_its_history__is_waited_for(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    three[2].page_minutes = 50
    found = collect_from(*three, straggler_s=0.3).window(serve(*three, quorum=2), window_end_ms)
    assert len(found.window.candles["kraken"]) == CANDLES_NEEDED


def test_window__venue_far_from_the_others__is_left_out_and_counted(
    collect_from: Collect,
    serve: Serve,
    three: list[Venue],
    make_candles: Callable[..., Candles],
    window_end_ms: int,
) -> None:
    three[2].candles = make_candles(CANDLES_NEEDED, level=120_000.0)
    metrics = Metrics()
    found = collect_from(*three, metrics=metrics).window(serve(*three, quorum=2), window_end_ms)
    assert sorted(found.window.candles) == ["binance", "coinbase"]
    assert "kraken" in found.sources.left_out
    labels = {"feed": "btc-usdt-4h", "venue": "kraken"}
    assert metrics.registry.get_sample_value("veriregime_venue_left_out", labels) == 1


def test_window__far_venue_whose_history_the_others_lack__stays_in(
    collect_from: Collect,
    serve: Serve,
    three: list[Venue],
    market: Candles,
    make_candles: Callable[..., Candles],
    window_end_ms: int,
) -> None:
    three[1].candles = market.between(window_end_ms - 720 * MINUTE_MS, window_end_ms)
    three[2].candles = make_candles(CANDLES_NEEDED, level=120_000.0)
    collector, served = collect_from(*three), serve(*three, quorum=2)
    assert sorted(collector.window(served, window_end_ms).window.candles) == ["binance", "coinbase", "kraken"]


def test_window__returns_that_were_set_aside__are_counted_by_venue_and_reason(
    collect_from: Collect, serve: Serve, three: list[Venue], market: Candles, window_end_ms: int
) -> None:
    rows = market.between(0, window_end_ms).rows()
    for row in rows[-10:]:
        row[1:5] = [rows[-11][4]] * 4
    three[2].candles = Candles.from_rows(rows)
    metrics = Metrics()
    collect_from(*three, metrics=metrics).window(serve(*three, quorum=2), window_end_ms)
    counted = {
        (venue.name, why): metrics.registry.get_sample_value(
            "veriregime_venue_minutes_set_aside", {"feed": "btc-usdt-4h", "venue": venue.name, "why": why}
        )
        for venue in three
        for why in ("frozen", "outlying")
    }
    assert counted.pop(("kraken", "frozen")) == 10
    assert set(counted.values()) == {0}


def test_stop__what_a_venue_answers_afterwards_is_not_stored(
    collect_from: Collect, serve: Serve, three: list[Venue], sqlite_database: Database, window_end_ms: int
) -> None:
    stuck = Stuck(three[0])
    collector = collect_from(stuck)
    threading.Timer(0.05, collector.stop).start()
    with pytest.raises(NoQuorum, match="stopping"):
        collector.window(serve(three[0]), window_end_ms)
    stuck.go.set()
    collector.join(timeout_s=5)
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.candles.range("binance", "BTC/USDT") is None


def test_window__all_clocks_off_alike__says_that_it_is_more_likely_ours(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    collector, served = collect_from(*three), serve(*three, quorum=2)
    collector.window(served, window_end_ms)
    for fetcher in collector.fetchers.values():
        fetcher._venue_clock.skew_ms = 60_000
    with pytest.raises(NoQuorum, match=r"its clock is 60[.]0 s ahead of ours .*set this machine's clock"):
        collector.window(served, window_end_ms + MINUTE_MS)


def test_window__two_of_three_clocks_off__are_not_taken_for_ours(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    collector, served = collect_from(*three), serve(*three, quorum=2)
    collector.window(served, window_end_ms)
    for name in ("coinbase", "kraken"):
        collector.fetchers[name]._venue_clock.skew_ms = 60_000
    with pytest.raises(NoQuorum, match=r"kraken: its clock is 60[.]0 s ahead of ours$"):
        collector.window(served, window_end_ms + MINUTE_MS)


def test_stop__whoever_waits_for_a_window_hears_at_once(
    collect_from: Collect, serve: Serve, three: list[Venue], window_end_ms: int
) -> None:
    stuck = Stuck(three[0])
    collector = collect_from(stuck)
    threading.Timer(0.1, collector.stop).start()
    started = time.monotonic()
    with pytest.raises(NoQuorum, match="stopping"):
        collector.window(serve(three[0]), window_end_ms)
    assert time.monotonic() - started < 5
    stuck.go.set()
