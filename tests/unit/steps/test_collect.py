from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import VenueUnavailable
from app.features.variation import CANDLES_NEEDED
from app.steps.collect import Collector
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import MINUTE_MS, Candles

BTC = "BTC/USDT"
Serve = Callable[..., ServedFeed]
Venue = Any


@pytest.fixture(autouse=True)
def quick_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.steps.collect._ASK_AGAIN_S", 0.005)


@pytest.fixture
def market(make_candles: Callable[..., Candles], window_end_ms: int) -> Candles:
    """The week of the first window and two hours more."""
    return make_candles(CANDLES_NEEDED + 120, end_ms=window_end_ms + 120 * MINUTE_MS)


@pytest.fixture
def venue(make_venue: Callable[..., Venue], market: Candles) -> Venue:
    return make_venue(market)


@pytest.fixture
def start_ms(window_end_ms: int) -> int:
    return window_end_ms - CANDLES_NEEDED * MINUTE_MS


@pytest.fixture
def collector(sqlite_database: Database) -> Collector:
    return Collector(sqlite_database, late_candle_s=0)


@pytest.fixture
def patient_collector(sqlite_database: Database) -> Collector:
    return Collector(sqlite_database, late_candle_s=20)


@pytest.fixture
def stored(sqlite_database: Database, market: Candles, window_end_ms: int) -> Callable[..., None]:
    """Put the first window into the store, without some minutes counted back from its end: 1 is the last."""

    def put(*without: int) -> None:
        gone = {window_end_ms - minute * MINUTE_MS for minute in without}
        rows = [row for row in market.between(0, window_end_ms).rows() if row[0] not in gone]
        with sqlite_database.unit_of_work() as store:
            store.candles.add("binance", BTC, Candles.from_rows(rows))

    return put


def count(database: Database) -> int:
    with database.unit_of_work(write=False) as store:
        return store.candles.count("binance", BTC, 0, 2**62)


def test_window__nothing_stored__asks_for_the_whole_week(
    collector: Collector, serve: Serve, venue: Venue, start_ms: int, window_end_ms: int
) -> None:
    collector.window(serve(venue), window_end_ms)
    assert venue.asked == [(start_ms, window_end_ms)]


def test_window__nothing_stored__holds_the_venues_candles(
    collector: Collector, serve: Serve, venue: Venue, market: Candles, start_ms: int, window_end_ms: int
) -> None:
    window = collector.window(serve(venue), window_end_ms)
    assert window.candles["binance"].digest() == market.between(start_ms, window_end_ms).digest()
    assert len(window.candles["binance"]) == CANDLES_NEEDED


def test_window__a_minute_later__asks_for_that_minute_only(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored()
    collector.window(serve(venue), window_end_ms + MINUTE_MS)
    assert venue.asked == [(window_end_ms, window_end_ms + MINUTE_MS)]


def test_window__everything_stored__asks_for_nothing(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored()
    collector.window(serve(venue), window_end_ms)
    assert [end_ms - since_ms for since_ms, end_ms in venue.asked] == [0]


def test_window__after_an_outage__asks_for_what_was_missed(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored()
    collector.window(serve(venue), window_end_ms + 90 * MINUTE_MS)
    assert venue.asked == [(window_end_ms, window_end_ms + 90 * MINUTE_MS)]


def test_window__store_older_than_the_window__asks_for_the_whole_week(
    sqlite_database: Database,
    collector: Collector,
    serve: Serve,
    venue: Venue,
    make_candles: Callable[..., Candles],
    start_ms: int,
    window_end_ms: int,
) -> None:
    with sqlite_database.unit_of_work() as store:
        store.candles.add("binance", BTC, make_candles(10, end_ms=start_ms - MINUTE_MS))
    collector.window(serve(venue), window_end_ms)
    assert venue.asked == [(start_ms, window_end_ms)]


def test_window__first_load_breaks_off__keeps_the_pages_before(
    sqlite_database: Database, collector: Collector, serve: Serve, venue: Venue, window_end_ms: int
) -> None:
    venue.fails_at_page = 3
    with pytest.raises(VenueUnavailable):
        collector.window(serve(venue), window_end_ms)
    assert count(sqlite_database) == 2 * venue.page_minutes


def test_window__after_a_first_load_that_broke_off__goes_on_from_there(
    collector: Collector, serve: Serve, venue: Venue, start_ms: int, window_end_ms: int
) -> None:
    venue.fails_at_page = 3
    with pytest.raises(VenueUnavailable):
        collector.window(serve(venue), window_end_ms)
    venue.fails_at_page = None
    window = collector.window(serve(venue), window_end_ms + MINUTE_MS)
    assert venue.asked[1:] == [(start_ms + 2 * venue.page_minutes * MINUTE_MS, window_end_ms + MINUTE_MS)]
    assert len(window.candles["binance"]) == CANDLES_NEEDED


def test_window__late_candle__is_waited_for(
    patient_collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored()
    venue.hidden, venue.shows_hidden_at_question = {window_end_ms}, 3
    window = patient_collector.window(serve(venue), window_end_ms + MINUTE_MS)
    assert window.candles["binance"].open_time_ms[-1] == window_end_ms
    assert len(venue.asked) == 3


def test_window__candle_that_never_comes__is_left_out_after_the_time_limit(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored()
    venue.hidden = {window_end_ms}
    window = collector.window(serve(venue), window_end_ms + MINUTE_MS)
    assert window.candles["binance"].open_time_ms[-1] == window_end_ms - MINUTE_MS


@pytest.mark.parametrize("minute", [2, 30, 59])
def test_window__hole_in_the_last_hour__is_asked_for_again(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int, minute: int
) -> None:
    stored(minute)
    window = collector.window(serve(venue), window_end_ms + MINUTE_MS)
    assert venue.asked == [(window_end_ms - minute * MINUTE_MS, window_end_ms + MINUTE_MS)]
    assert len(window.candles["binance"]) == CANDLES_NEEDED


def test_window__hole_older_than_an_hour__is_left(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored(61)
    window = collector.window(serve(venue), window_end_ms + MINUTE_MS)
    assert venue.asked == [(window_end_ms, window_end_ms + MINUTE_MS)]
    assert len(window.candles["binance"]) == CANDLES_NEEDED - 1


def test_window__hole_that_never_fills__costs_an_hour_of_candles_at_most(
    collector: Collector, serve: Serve, venue: Venue, stored: Callable[..., None], window_end_ms: int
) -> None:
    stored(1)
    venue.hidden = {window_end_ms - MINUTE_MS}
    for later in range(1, 71):
        collector.window(serve(venue), window_end_ms + later * MINUTE_MS)
    assert max(end_ms - since_ms for since_ms, end_ms in venue.asked) == 61 * MINUTE_MS
    assert venue.asked[-1] == (window_end_ms + 69 * MINUTE_MS, window_end_ms + 70 * MINUTE_MS)


def test_window__venue_lacks_the_first_hour__fetches_the_week_once(
    collector: Collector, serve: Serve, venue: Venue, start_ms: int, window_end_ms: int
) -> None:
    venue.hidden = set(range(start_ms, start_ms + 60 * MINUTE_MS, MINUTE_MS))
    collector.window(serve(venue), window_end_ms)
    collector.window(serve(venue), window_end_ms + MINUTE_MS)
    since_ms, _ = venue.asked[-1]
    assert since_ms == window_end_ms


def test_window__candle_changed_at_the_venue__stays_as_it_was_first(
    collector: Collector,
    serve: Serve,
    venue: Venue,
    stored: Callable[..., None],
    make_candles: Callable[..., Candles],
    market: Candles,
    window_end_ms: int,
) -> None:
    stored(30)
    venue.candles = make_candles(CANDLES_NEEDED, seed=9)
    found = collector.window(serve(venue), window_end_ms).candles["binance"]
    hole_ms = window_end_ms - 30 * MINUTE_MS
    assert [row for row in found.rows() if row[0] != hole_ms] == [
        row for row in market.between(0, window_end_ms).rows() if row[0] != hole_ms
    ]


def test_window__two_venues__has_the_candles_of_both(
    collector: Collector, serve: Serve, make_venue: Callable[..., Venue], market: Candles, window_end_ms: int
) -> None:
    venues = (make_venue(market), make_venue(market, name="kraken"))
    window = collector.window(serve(*venues), window_end_ms)
    assert {name: len(candles) for name, candles in window.candles.items()} == {
        "binance": CANDLES_NEEDED,
        "kraken": CANDLES_NEEDED,
    }


def test_progress__is_told_after_each_page(
    sqlite_database: Database, serve: Serve, venue: Venue, window_end_ms: int
) -> None:
    told: list[tuple[str, int, int]] = []
    venue.page_minutes = 4_000
    collector = Collector(sqlite_database, late_candle_s=0, progress=lambda *page: told.append(page))
    collector.window(serve(venue), window_end_ms)
    assert told == [("binance", done, CANDLES_NEEDED) for done in (4_000, 8_000, CANDLES_NEEDED)]


def test_window__venue_without_a_return__has_no_part_in_it(
    collector: Collector, make_venue: Callable[..., Venue], venue: Venue, serve: Serve, window_end_ms: int
) -> None:
    silent = make_venue(Candles.from_rows([]), name="kraken")
    window = collector.window(serve(venue, silent), window_end_ms)
    assert list(window.candles) == ["binance"]
