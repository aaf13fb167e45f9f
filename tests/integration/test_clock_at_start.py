"""What the service makes of a clock that was set back, or never set."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from app.clock import Clock
from app.errors import Misconfigured
from app.settings import Settings
from app.types import MINUTE_MS, Prediction
from app.wiring import application


def test_start__behind_what_is_stored__says_so_and_goes_on(
    scratch_settings: Settings,
    make_prediction: Callable[..., Prediction],
    window_end_ms: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    an_hour_ago = Clock(market_start_ms=window_end_ms - 60 * MINUTE_MS, speed=0)
    with application(scratch_settings, clock=an_hour_ago) as app, app.database.unit_of_work() as store:
        store.predictions.add(make_prediction())
    with caplog.at_level(logging.ERROR), application(scratch_settings, clock=an_hour_ago):
        pass
    assert "windows that end 3600 s from now" in caplog.text


def test_start__in_1970__is_refused(scratch_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.wiring.feeds.wall_ms", lambda: 5_000)
    with (
        pytest.raises(Misconfigured, match="clock shows 1970-01-01T00:00:05Z: set it first"),
        application(scratch_settings),
    ):
        pass
