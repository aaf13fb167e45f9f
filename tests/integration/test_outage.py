"""The venue goes away and comes back: what is there goes on being served, with its age and the reason."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from pydantic import AnyHttpUrl

from app.candles.venue import Venue
from app.clock import wall_ms
from app.demo import MarketOptions, running_market, venue_urls
from app.errors import Misconfigured, VenueUnavailable
from app.pipeline import TickOutcome
from app.settings import Settings
from app.steps.prove import ProveOutcome
from app.types import MINUTE_MS
from app.web.application import create_web
from app.wiring import application

FEED = "btc-usdt-4h"


def test_venue_goes_away__the_last_forecast_is_served_with_its_age_and_the_reason(scratch_settings: Settings) -> None:
    with contextlib.ExitStack() as stack:
        url, clock = stack.enter_context(running_market(MarketOptions(seed=3)))
        settings = scratch_settings.model_copy(update={"venue_urls": venue_urls(url, ("binance",)), "late_candle_s": 1})
        app = stack.enter_context(application(settings, clock=clock))
        window_end_ms = clock.last_minute_ms()
        assert app.pipeline.tick(FEED, window_end_ms) is TickOutcome.PREDICTED
        assert app.pipeline.prove_next() is ProveOutcome.PROVED
        client = stack.enter_context(TestClient(create_web(app)))
        before = client.get(f"/v1/feeds/{FEED}/latest").json()
        app.pipeline.feeds[FEED].venues[0]._client.urls["api"]["public"] = "http://127.0.0.1:9/api/v3"

        assert app.pipeline.tick(FEED, window_end_ms + MINUTE_MS) is TickOutcome.VENUE_UNAVAILABLE

        after = client.get(f"/v1/feeds/{FEED}/latest").json()
        assert after["id"] == before["id"]
        assert after["age_seconds"] >= before["age_seconds"]
        tick = client.get(f"/v1/feeds/{FEED}").json()["last_tick"]
        assert tick["outcome"] == "venue-unavailable"
        assert "binance cannot be reached" in tick["detail"]


def test_window_with_a_long_gap__is_refused_and_the_reason_served(scratch_settings: Settings) -> None:
    with contextlib.ExitStack() as stack:
        url, clock = stack.enter_context(running_market(MarketOptions()))
        settings = scratch_settings.model_copy(
            update={"venue_urls": venue_urls(url, ("binance",)), "late_candle_s": 0.1}
        )
        app = stack.enter_context(application(settings, clock=clock))
        # A window that ends after the market's present: its last minutes do not exist.
        assert app.pipeline.tick(FEED, clock.last_minute_ms() + 5 * MINUTE_MS) is TickOutcome.WINDOW_INCOMPLETE
        assert "missing" in app.pipeline.last_tick[FEED].detail


class _Canned(http.server.BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def canned_venue() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Canned)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>maintenance</html>", "error page"),
        (200, b"[]", "error page"),
        (200, b'{"symbols": []}', "error page"),
        (502, b"<html>bad gateway</html>", "502"),
        (429, b'{"code": -1003, "msg": "Too many requests."}', "slow down"),
        (400, b'{"code": -1100, "msg": "Illegal characters."}', "refused"),
    ],
)
def test_venue_that_answers_with_something_else__is_unavailable_with_the_reason(
    canned_venue: str, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, words: str
) -> None:
    monkeypatch.setattr(_Canned, "status", status)
    monkeypatch.setattr(_Canned, "body", body)
    venue = Venue("binance", base_url=canned_venue, timeout_s=2)
    end_ms = wall_ms() // MINUTE_MS * MINUTE_MS
    try:
        with pytest.raises(VenueUnavailable, match=words):
            list(venue.pages("BTC/USDT", end_ms - 10 * MINUTE_MS, end_ms))
    finally:
        venue.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>maintenance</html>", "no candles"),
        (b'{"a": 1}', "no candles"),
        (b"[[1, 2]]", "no candles"),
        (b'[[0, "1", "1", "1", "1", "1", 0, "0", 0, "0", "0", "0"]]', "no candles"),
        (b'[[9000000000000, "5", "4", "3", "2", "1", 0, "0", 0, "0", "0", "0"]]', "impossible"),
        (b'[[9000000000000, "1", "1", "1", "NaN", "1", 0, "0", 0, "0", "0", "0"]]', "impossible|not six numbers"),
        (b'[[9000000000007, "1", "1", "1", "1", "1", 0, "0", 0, "0", "0", "0"]]', "impossible"),
    ],
)
def test_candles_that_are_none__never_reach_the_store(
    canned_venue: str, monkeypatch: pytest.MonkeyPatch, body: bytes, words: str
) -> None:
    with running_market(MarketOptions()) as (url, clock):
        venue = Venue("binance", base_url=url)
        try:
            end_ms = clock.last_minute_ms()
            list(venue.pages("BTC/USDT", end_ms - MINUTE_MS, end_ms))  # the list of markets is known from here on
            venue._point_at(canned_venue)
            monkeypatch.setattr(_Canned, "body", body)
            with pytest.raises(VenueUnavailable, match=words):
                list(venue.pages("BTC/USDT", end_ms - 10 * MINUTE_MS, end_ms))
        finally:
            venue.close()


def test_unknown_venue_and_unlisted_symbol__are_named() -> None:
    with pytest.raises(Misconfigured, match="mtgox"):
        Venue("mtgox")
    with running_market(MarketOptions()) as (url, clock):
        venue = Venue("binance", base_url=url)
        try:
            with pytest.raises(Misconfigured, match="does not list DOGE/USDT"):
                list(venue.pages("DOGE/USDT", 0, clock.last_minute_ms()))
        finally:
            venue.close()
