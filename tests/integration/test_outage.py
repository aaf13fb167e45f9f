"""The venue goes away and comes back: what is there goes on being served, with its age and the reason."""

from __future__ import annotations

import contextlib

from fastapi.testclient import TestClient

from app.demo import MarketOptions, running_market, venue_urls
from app.settings import Settings
from app.steps.prove import ProveOutcome
from app.steps.standing import TickOutcome
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
        app.pipeline._collector.fetchers["binance"]._venue._client.urls["api"]["public"] = "http://127.0.0.1:9/api/v3"

        assert app.pipeline.tick(FEED, window_end_ms + MINUTE_MS) is TickOutcome.SKIPPED
        app.pipeline.tell()

        after = client.get(f"/v1/feeds/{FEED}/latest").json()
        assert after["id"] == before["id"]
        assert after["age_seconds"] >= before["age_seconds"]
        tick = client.get(f"/v1/feeds/{FEED}").json()["last_tick"]
        assert (tick["outcome"], tick["reason"]) == ("skipped", "no-quorum")
        assert "binance cannot be reached" in tick["detail"]


def test_window_that_has_not_ended__is_refused_and_the_reason_served(scratch_settings: Settings) -> None:
    with contextlib.ExitStack() as stack:
        url, clock = stack.enter_context(running_market(MarketOptions()))
        settings = scratch_settings.model_copy(
            update={"venue_urls": venue_urls(url, ("binance",)), "late_candle_s": 0.1}
        )
        app = stack.enter_context(application(settings, clock=clock))
        # A window that ends after the market's present: its last minutes do not exist.
        assert app.pipeline.tick(FEED, clock.last_minute_ms() + 5 * MINUTE_MS) is TickOutcome.SKIPPED
        assert "its newest minute is late" in app.pipeline.last_tick[FEED].detail
