"""One venue's candles into the store: what is asked for, when, and what a failure leads to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.clock import Clock, wall_ms
from app.errors import NoQuorum, StoreUnavailable, VenueUnavailable
from app.features.variation import CANDLES_NEEDED
from app.metrics import Metrics
from app.steps.collect import Collector
from app.steps.fetch import VenueState
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import MINUTE_MS, Candles

BTC = "BTC/USDT"
Collect = Callable[..., Collector]
Serve = Callable[..., ServedFeed]
Venue = Any


@pytest.fixture(autouse=True)
def quick_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.steps.fetch._ASK_AGAIN_S", (0.005,))


@pytest.fixture(autouse=True)
def set_ms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where our clock was set to: its one item. Time passes by itself, or by `wall`, without that."""
    where = [0]
    monkeypatch.setattr("app.steps.venue_clock._set_ms", lambda: where[0])
    return where


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The wall clock that rests go by: its one item is the time. It passes, and is not set."""
    now = [1_000_000]
    monkeypatch.setattr("app.steps.fetch.wall_ms", lambda: now[0])
    return now


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def market(make_candles: Callable[..., Candles], window_end_ms: int) -> Candles:
    """The week of the first window and three hours more."""
    return make_candles(CANDLES_NEEDED + 180, end_ms=window_end_ms + 180 * MINUTE_MS)


@pytest.fixture
def venue(make_venue: Callable[..., Venue], market: Candles) -> Venue:
    return make_venue(market)


@pytest.fixture
def start_ms(window_end_ms: int) -> int:
    return window_end_ms - CANDLES_NEEDED * MINUTE_MS


@pytest.fixture
def collector(collect_from: Collect, venue: Venue, metrics: Metrics, window_end_ms: int) -> Collector:
    """On a market whose present is three hours after the first window."""
    clock = Clock(market_start_ms=window_end_ms + 180 * MINUTE_MS, speed=0)
    return collect_from(venue, metrics=metrics, clock=clock)


@pytest.fixture
def live(collector: Collector, serve: Serve, venue: Venue, window_end_ms: int) -> Callable[[int], Candles]:
    """The venue's candles in the window so many minutes after the first, with the clock at its end."""

    def look(minutes: int) -> Candles:
        end_ms = window_end_ms + minutes * MINUTE_MS
        for fetcher in collector.fetchers.values():
            fetcher._clock = Clock(market_start_ms=end_ms + 1_000, speed=0)
        return collector.window(serve(venue), end_ms).window.candles[venue.name]

    return look


def row_changed(candles: Candles, open_time_ms: int, close: float) -> Candles:
    rows = candles.rows()
    index = next(i for i, row in enumerate(rows) if row[0] == open_time_ms)
    rows[index][2:5] = [max(rows[index][2], close), min(rows[index][3], close), close]
    return Candles.from_rows(rows)


def test_first_look__asks_for_the_week_and_stores_it(
    live: Callable[[int], Candles], venue: Venue, market: Candles, start_ms: int, window_end_ms: int
) -> None:
    found = live(0)
    assert venue.asked == [(start_ms, window_end_ms)]
    assert found.digest() == market.between(start_ms, window_end_ms).digest()


def test_next_minutes__ask_for_each_minute_once(
    live: Callable[[int], Candles], venue: Venue, window_end_ms: int
) -> None:
    for minute in range(4):
        live(minute)
    assert venue.asked[1:] == [
        (window_end_ms + minute * MINUTE_MS, window_end_ms + (minute + 1) * MINUTE_MS) for minute in range(3)
    ]


def test_same_window_again__asks_for_nothing(live: Callable[[int], Candles], venue: Venue) -> None:
    live(0)
    live(0)
    assert len(venue.asked) == 1


def test_after_two_hours_away__asks_for_what_was_missed_and_for_no_minute_twice(
    collect_from: Collect, live: Callable[[int], Candles], serve: Serve, venue: Venue, window_end_ms: int
) -> None:
    live(0)
    later = collect_from(venue, clock=Clock(market_start_ms=window_end_ms + 122 * MINUTE_MS, speed=0))
    for minutes in (120, 121, 122):
        window = later.window(serve(venue), window_end_ms + minutes * MINUTE_MS).window
    ends = [window_end_ms + minutes * MINUTE_MS for minutes in (0, 120, 121, 122)]
    assert venue.asked[1:] == list(itertools.pairwise(ends))
    assert len(window.candles["binance"]) == CANDLES_NEEDED


def test_venue_away_for_two_hours__of_what_came_afterwards_only_the_newest_minute_is_looked_at_again(
    live: Callable[[int], Candles], venue: Venue, window_end_ms: int
) -> None:
    live(0)
    for minutes in (121, 122, 125):
        live(minutes)
    assert min(start_ms for start_ms, _ in venue.asked[2:]) == window_end_ms + 120 * MINUTE_MS


def test_load_that_breaks_off__keeps_its_pages_and_goes_on_from_there(
    collector: Collector, serve: Serve, venue: Venue, wall: list[int], start_ms: int, window_end_ms: int
) -> None:
    venue.fails_at_page = 3
    with pytest.raises(NoQuorum, match="the exchange is down"):
        collector.window(serve(venue), window_end_ms)
    venue.fails_at_page = None
    wall[0] += 1_000
    window = collector.window(serve(venue), window_end_ms).window
    assert venue.asked[1:] == [(start_ms + 2 * venue.page_minutes * MINUTE_MS, window_end_ms)]
    assert len(window.candles["binance"]) == CANDLES_NEEDED


def test_history_that_the_venue_does_not_have__is_asked_for_once(
    live: Callable[[int], Candles], venue: Venue, start_ms: int, window_end_ms: int
) -> None:
    venue.hidden = set(range(start_ms, start_ms + 600 * MINUTE_MS, MINUTE_MS))
    live(0)
    live(1)
    assert venue.asked[1:] == [(window_end_ms, window_end_ms + MINUTE_MS)]


def test_late_candle__is_asked_for_until_it_is_there(
    collect_from: Collect, serve: Serve, venue: Venue, window_end_ms: int
) -> None:
    patient = collect_from(venue, late_candle_s=20)
    venue.hidden, venue.shows_hidden_at_question = {window_end_ms - MINUTE_MS}, 3
    window = patient.window(serve(venue), window_end_ms).window
    assert window.candles["binance"].open_time_ms[-1] == window_end_ms - MINUTE_MS
    assert venue.asked[1:] == [(window_end_ms - MINUTE_MS, window_end_ms)] * 2


def test_candle_that_does_not_come__makes_the_venue_late(
    collector: Collector, live: Callable[[int], Candles], venue: Venue, metrics: Metrics, window_end_ms: int
) -> None:
    venue.hidden = {window_end_ms - MINUTE_MS}
    with pytest.raises(
        NoQuorum, match=r"0 of 1 venues have the minute to .*, 1 must: binance: its newest minute is late"
    ):
        live(0)
    assert collector.fetchers["binance"].health.state is VenueState.LATE
    assert metrics.registry.get_sample_value("veriregime_venue_up", {"venue": "binance"}) == 0


def test_candle_that_came_too_late__is_fetched_with_the_second_look(
    live: Callable[[int], Candles], venue: Venue, window_end_ms: int
) -> None:
    live(0)
    venue.hidden = {window_end_ms + MINUTE_MS}
    live(1)
    assert len(live(3)) == CANDLES_NEEDED - 1
    venue.hidden = set()
    assert len(live(5)) == CANDLES_NEEDED


def test_revised_candle__is_a_revision_that_is_counted_and_used_from_then_on(
    live: Callable[[int], Candles],
    venue: Venue,
    market: Candles,
    metrics: Metrics,
    sqlite_database: Database,
    window_end_ms: int,
) -> None:
    live(0)
    first = live(2)
    with sqlite_database.unit_of_work(write=False) as store:
        as_of = store.candles.seq()
    changed_ms = window_end_ms + MINUTE_MS
    venue.candles = row_changed(market, changed_ms, close=123_456.0)
    found = live(5)
    assert found.close[found.open_time_ms == changed_ms] == [123_456.0]
    labels = {"venue": "binance"}
    assert metrics.registry.get_sample_value("veriregime_candle_revisions_total", labels) == 1
    start_ms, end_ms = window_end_ms + (2 - CANDLES_NEEDED) * MINUTE_MS, window_end_ms + 2 * MINUTE_MS
    with sqlite_database.unit_of_work(write=False) as store:
        again = store.candles.window({"binance": BTC}, start_ms, end_ms, as_of)
    assert again["binance"].digest() == first.digest()


def test_failing_venue__rests_longer_each_time_and_is_not_asked_meanwhile(
    live: Callable[[int], Candles], collector: Collector, venue: Venue, wall: list[int]
) -> None:
    venue.fails_at_page = 1
    rests = []
    for _ in range(8):
        with pytest.raises(NoQuorum, match="the exchange is down"):
            live(0)
        rest_ms = collector.fetchers["binance"].health.rests_until_ms - wall[0]
        rests.append(rest_ms // 1000)
        asked = len(venue.asked)
        wall[0] += rest_ms - 1
        with pytest.raises(NoQuorum, match="asked again in 1 s"):
            live(0)
        assert len(venue.asked) == asked
        wall[0] += 1
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]


def test_venue_that_comes_back__is_fresh_again_without_a_hand(
    live: Callable[[int], Candles],
    collector: Collector,
    venue: Venue,
    wall: list[int],
    sqlite_database: Database,
) -> None:
    venue.fails_at_page = 1
    with pytest.raises(NoQuorum):
        live(0)
    venue.fails_at_page = None
    wall[0] += 1_000
    live(0)
    assert collector.fetchers["binance"].health.state is VenueState.FRESH
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.venues.rest("binance") is None


def test_venue_that_asks_us_to_wait__is_left_alone_across_a_restart(
    collect_from: Collect, serve: Serve, venue: Venue, wall: list[int], window_end_ms: int
) -> None:
    venue.fails_at_page, venue.error = 1, VenueUnavailable("binance asks us to slow down", retry_after_s=300)
    with pytest.raises(NoQuorum):
        collect_from(venue).window(serve(venue), window_end_ms)
    asked, wall[0] = len(venue.asked), wall[0] + 299_000
    restarted = collect_from(venue)
    with pytest.raises(NoQuorum, match="slow down; asked again in 1 s"):
        restarted.window(serve(venue), window_end_ms)
    assert len(venue.asked) == asked
    venue.fails_at_page, wall[0] = None, wall[0] + 1_000
    restarted.window(serve(venue), window_end_ms)


def test_short_rest__is_waited_out_within_the_tick(
    collect_from: Collect, serve: Serve, venue: Venue, window_end_ms: int
) -> None:
    class Once:
        """Fails at the first question only."""

        def __init__(self) -> None:
            self.asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(venue, name)

        def pages(self, *arguments: Any) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise VenueUnavailable("the connection was reset")
            return venue.pages(*arguments)

    window = collect_from(Once(), late_candle_s=5).window(serve(venue), window_end_ms).window
    assert len(window.candles["binance"]) == CANDLES_NEEDED


@pytest.mark.parametrize("skew_s", [-90, 90])
def test_venue_whose_clock_is_off__is_left_out_and_says_so(
    live: Callable[[int], Candles],
    collector: Collector,
    venue: Venue,
    metrics: Metrics,
    skew_s: int,
) -> None:
    venue.told_ms = lambda: collector.fetchers["binance"]._clock.now_ms() + 1_000 * skew_s
    with suppress(NoQuorum):
        live(0)
    wait_for_skew(collector)
    with pytest.raises(NoQuorum, match=f"its clock is 90.0 s {'ahead of' if skew_s > 0 else 'behind'} ours"):
        live(1)
    assert collector.fetchers["binance"].health.state is VenueState.OFF_TIME
    labels = {"venue": "binance"}
    assert metrics.registry.get_sample_value("veriregime_venue_clock_skew_seconds", labels) == skew_s
    assert collector.skew_s() == skew_s


@pytest.mark.parametrize(("speed", "state"), [(1, VenueState.OFF_TIME), (10, VenueState.FRESH)])
def test_clock_six_seconds_ahead__is_tolerated_where_the_market_runs_ten_times_as_fast(
    collect_from: Callable[..., Collector],
    venue: Venue,
    serve: Callable[..., ServedFeed],
    window_end_ms: int,
    speed: int,
    state: VenueState,
) -> None:
    clock = Clock(market_start_ms=window_end_ms + 1_000, wall_start_ms=wall_ms(), speed=speed)
    venue.told_ms = lambda: clock.now_ms() + 6_000
    collector = collect_from(venue, clock=clock)
    with suppress(NoQuorum):
        collector.window(serve(venue), window_end_ms)
    wait_until(lambda: collector.fetchers["binance"].health.state is state)


def test_candle_that_the_venue_has_not_closed_by_its_own_clock__is_not_stored(
    live: Callable[[int], Candles], collector: Collector, venue: Venue
) -> None:
    venue.told_ms = lambda: collector.fetchers["binance"]._clock.now_ms() - 3_000
    live(0)
    wait_for_skew(collector)
    with pytest.raises(NoQuorum, match="newest minute is late"):
        live(1)


def test_venue_whose_clock_is_off__is_not_asked_for_candles_and_what_came_just_before_is_asked_for_again(
    live: Callable[[int], Candles], collector: Collector, venue: Venue, window_end_ms: int
) -> None:
    off_ms = [0]
    venue.told_ms = lambda: collector.fetchers["binance"]._clock.now_ms() + off_ms[0]
    live(0)
    wait_until(lambda: collector.skew_s() == 0)
    off_ms[0] = 30_000
    with suppress(NoQuorum):
        live(1)
    wait_until(lambda: collector.skew_s() == 30)
    asked = len(venue.asked)
    for minutes in (2, 3):
        with pytest.raises(NoQuorum, match=r"30[.]0 s ahead"):
            live(minutes)
    assert len(venue.asked) == asked
    off_ms[0] = 0
    assert len(live(4)) == CANDLES_NEEDED
    assert venue.asked[asked:] == [(window_end_ms - 4 * MINUTE_MS, window_end_ms + 4 * MINUTE_MS)]


def test_venue_that_rests__is_not_asked_for_its_time_either(
    live: Callable[[int], Candles], collector: Collector, venue: Venue
) -> None:
    asked: list[int] = []
    venue.told_ms = lambda: asked.append(1) or 0
    venue.fails_at_page = 1
    with pytest.raises(NoQuorum):
        live(0)
    wait_until(lambda: collector.fetchers["binance"]._current is None)
    assert not asked


def test_clock_that_was_set_back__ends_no_rest_later_and_is_compared_again(
    live: Callable[[int], Candles], collector: Collector, venue: Venue, wall: list[int]
) -> None:
    fetcher = collector.fetchers["binance"]
    venue.told_ms = lambda: fetcher._clock.now_ms() + 90_000
    with suppress(NoQuorum):
        live(60)
    wait_until(lambda: collector.skew_s() == 90)
    venue.told_ms, venue.fails_at_page = lambda: fetcher._clock.now_ms(), 1
    live(50)
    assert fetcher.health.state is VenueState.RESTING
    wall[0] -= 3_600_000
    venue.fails_at_page = None
    live(50)
    assert fetcher.health.state is VenueState.FRESH


def test_candle_revised_just_after_a_look__is_seen_at_the_next_one(
    live: Callable[[int], Candles], venue: Venue, market: Candles, window_end_ms: int
) -> None:
    for minutes in range(6):
        live(minutes)
    changed_ms = window_end_ms + 3 * MINUTE_MS
    venue.candles = row_changed(market, changed_ms, close=123_456.0)
    for minutes in range(6, 11):
        found = live(minutes)
    assert found.close[found.open_time_ms == changed_ms] == [123_456.0]


def test_page_that_ends_amid_missing_minutes__is_followed_without_a_break_in_what_is_covered(
    live: Callable[[int], Candles], venue: Venue, sqlite_database: Database, start_ms: int, window_end_ms: int
) -> None:
    venue.page_minutes = CANDLES_NEEDED - 4
    venue.hidden = set(range(window_end_ms - 6 * MINUTE_MS, window_end_ms - 3 * MINUTE_MS, MINUTE_MS))
    live(0)
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.candles.covered("binance", BTC) == (start_ms, window_end_ms)


def test_venue_dead_for_hundreds_of_ticks__leaves_nothing_behind(
    live: Callable[[int], Candles], collector: Collector, venue: Venue, wall: list[int]
) -> None:
    venue.fails_at_page = 1
    for _ in range(300):
        wall[0] += 60_000
        with pytest.raises(NoQuorum):
            live(0)
    assert collector.fetchers["binance"]._wants == []


def test_store_that_is_away__is_told_as_such_and_the_venue_is_not_blamed(
    live: Callable[[int], Candles], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise StoreUnavailable("the database cannot be used")

    fetcher = collector.fetchers["binance"]
    with monkeypatch.context() as patch:
        patch.setattr(fetcher, "_database", SimpleNamespace(unit_of_work=away))
        with pytest.raises(StoreUnavailable):
            live(0)
    assert fetcher.health.state is not VenueState.RESTING
    assert len(live(0)) == CANDLES_NEEDED


def test_bug_in_the_venue__reaches_whoever_waits(
    collector: Collector, serve: Serve, venue: Venue, window_end_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    venue.fails_at_page, venue.error = 1, ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        collector.window(serve(venue), window_end_ms)
    assert "met a bug" in caplog.text
    venue.fails_at_page = None
    collector.window(serve(venue), window_end_ms)


def test_progress__is_told_after_each_page(
    collect_from: Collect, serve: Serve, venue: Venue, window_end_ms: int
) -> None:
    told: list[tuple[str, int, int]] = []
    venue.page_minutes = 4_000
    collect_from(venue, progress=lambda *page: told.append(page)).window(serve(venue), window_end_ms)
    assert told == [("binance", done, CANDLES_NEEDED) for done in (4_000, 8_000, CANDLES_NEEDED)]


def test_prune__forgets_what_is_past_its_retention(
    collect_from: Collect, serve: Serve, venue: Venue, sqlite_database: Database, start_ms: int, window_end_ms: int
) -> None:
    day = replace(Clock(), market_start_ms=window_end_ms, speed=0)
    collector = collect_from(venue, clock=day, retention_ms=7 * 1440 * MINUTE_MS)
    collector.window(serve(venue), window_end_ms)
    assert collector.prune() == 1
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.candles.range("binance", BTC) == (start_ms + MINUTE_MS, window_end_ms - MINUTE_MS)


def wait_for_skew(collector: Collector) -> None:
    """The clocks are compared once nobody waits for the venue."""
    wait_until(lambda: collector.skew_s() is not None)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.002)
    assert condition()


def test_clock_that_was_set__is_compared_before_anything_more_is_stored(
    live: Callable[[int], Candles], collector: Collector, venue: Venue, set_ms: list[int]
) -> None:
    fetcher = collector.fetchers["binance"]
    venue.told_ms = lambda: fetcher._clock.now_ms() - set_ms[0]
    live(0)
    asked, set_ms[0] = len(venue.asked), 45_000
    with pytest.raises(NoQuorum, match=r"its clock is 45\.0 s behind ours"):
        live(1)
    assert len(venue.asked) == asked


def test_clock_that_was_set__at_a_venue_that_does_not_tell_its_time__is_believed(
    live: Callable[[int], Candles], collector: Collector, set_ms: list[int]
) -> None:
    live(0)
    set_ms[0] = 45_000
    live(1)
    assert collector.fetchers["binance"].health.state is VenueState.FRESH


def test_minute_that_our_clock_does_not_show_as_over__is_not_stored_as_closed(
    collector: Collector, serve: Serve, venue: Venue, sqlite_database: Database, window_end_ms: int
) -> None:
    """Our clock was ahead when it was asked for, and was set right before the answer came."""
    collector.fetchers["binance"]._clock = Clock(market_start_ms=window_end_ms + 1_000, speed=0)
    with pytest.raises(NoQuorum):
        collector.window(serve(venue), window_end_ms + 2 * MINUTE_MS)
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.candles.covered("binance", BTC)[1] == window_end_ms
