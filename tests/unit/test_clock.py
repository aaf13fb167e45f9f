from __future__ import annotations

import time

import pytest

from app.clock import Clock, wall_ms

WALL_MS = 1_700_000_000_123


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's clock stands still."""
    monkeypatch.setattr("app.clock.wall_ms", lambda: WALL_MS)


def test_wall_ms__is_the_system_time_in_milliseconds() -> None:
    assert abs(wall_ms() - time.time() * 1000) < 1_000


@pytest.mark.usefixtures("wall")
def test_now__by_default__is_the_wall_clock() -> None:
    assert Clock().now_ms() == WALL_MS


@pytest.mark.usefixtures("wall")
def test_now__on_a_simulated_market__counts_from_its_start() -> None:
    assert Clock(market_start_ms=5_000_000, wall_start_ms=WALL_MS - 2_000).now_ms() == 5_002_000


@pytest.mark.usefixtures("wall")
def test_now__on_a_fast_market__runs_that_much_faster() -> None:
    assert Clock(market_start_ms=5_000_000, wall_start_ms=WALL_MS - 2_000, speed=60).now_ms() == 5_120_000


@pytest.mark.usefixtures("wall")
@pytest.mark.parametrize(("market_ms", "expected"), [(60_000, 60_000), (119_999, 60_000), (120_000, 120_000)])
def test_last_minute__is_the_boundary_at_or_before_now(market_ms: int, expected: int) -> None:
    assert Clock(market_start_ms=market_ms, wall_start_ms=WALL_MS).last_minute_ms() == expected


@pytest.mark.usefixtures("wall")
def test_seconds_until__on_a_fast_market__are_wall_seconds() -> None:
    assert Clock(market_start_ms=0, wall_start_ms=WALL_MS, speed=60).seconds_until(60_000) == 1.0


@pytest.mark.usefixtures("wall")
def test_seconds_until__something_past__is_negative() -> None:
    assert Clock().seconds_until(WALL_MS - 500) == -0.5
