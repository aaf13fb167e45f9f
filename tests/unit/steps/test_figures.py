"""What the database tells operators when somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from app.clock import Clock, wall_ms
from app.errors import StoreUnavailable
from app.steps import figures
from app.steps.figures import StoreFigures
from app.store.database import Database
from app.types import MINUTE_MS, Disagreement, Forecast, Prediction, Proof

FEED = "btc-usdt-4h"


@pytest.fixture
def collector(sqlite_database: Database, window_end_ms: int) -> StoreFigures:
    """Looks 30 s after the window."""
    return StoreFigures(sqlite_database, [FEED, "eth-usdt-4h"], Clock(market_start_ms=window_end_ms + 30_000, speed=0))


@pytest.fixture
def told(collector: StoreFigures) -> Callable[..., float | None]:
    """The value of a sample as it is now."""

    def look(name: str, **labels: str) -> float | None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        return registry.get_sample_value(f"veriregime_{name}", labels)

    return look


@pytest.fixture
def proved(
    sqlite_database: Database, make_prediction: Callable[..., Prediction], make_proof: Callable[..., Proof]
) -> Prediction:
    """A minute before the window: its proof is there, the newest's is not."""
    newest = make_prediction()
    before = make_prediction(window_end_ms=newest.window_end_ms - MINUTE_MS)
    with sqlite_database.unit_of_work() as store:
        assert store.predictions.add(before, queued_at_ms=wall_ms())
        assert store.jobs.lease("a", wall_ms(), 60_000, max_attempts=1) is not None
        proof = make_proof()
        assert store.jobs.finish(before.id, "a", proof, Forecast(before.regime, 0.3, 0.3, before.network_outputs), 1)
        assert store.predictions.add(newest, queued_at_ms=wall_ms() - 90_000)
    return before


def test_figures__nothing_stored__are_no_ages(told: Callable[..., float | None]) -> None:
    assert told("database_up") == 1
    assert told("forecast_age_seconds", feed=FEED) is None
    assert told("alarms", feed=FEED) == 0
    assert told("proof_job_oldest_age_seconds") == 0


def test_forecast_age__is_that_of_the_newest_proved(told: Callable[..., float | None], proved: Prediction) -> None:
    assert told("forecast_age_seconds", feed=FEED) == 90
    assert told("confirmed_age_seconds", feed=FEED) is None


def test_jobs__that_wait__are_counted_with_the_age_of_the_oldest(
    told: Callable[..., float | None], proved: Prediction
) -> None:
    assert told("proof_jobs_waiting") == 1
    assert told("proof_job_oldest_age_seconds") == pytest.approx(90, abs=5)


def test_alarms__leases_events_and_size__are_those_of_the_database(
    told: Callable[..., float | None], sqlite_database: Database, proved: Prediction
) -> None:
    with sqlite_database.unit_of_work() as store:
        store.disagreements.add(Disagreement(proved.id, FEED, proved.window_end_ms, "apart", None), {})
        for name in (f"tick {FEED}", "tick eth-usdt-4h", "send 1 0x1"):
            assert store.leases.take(name, "a", wall_ms(), 60_000)
    assert told("alarms", feed=FEED) == 1
    assert (told("leases", work="tick"), told("leases", work="send")) == (2, 1)
    assert told("events_total") == 3
    assert (told("database_size_bytes") or 0) > 10_000


def test_standings__the_newest_of_each_role__is_told(
    told: Callable[..., float | None], sqlite_database: Database
) -> None:
    now_ms = wall_ms()
    with sqlite_database.unit_of_work() as store:
        store.standings.put("a", {"roles": ["pipeline", "prover"], "clock_skew_s": 0.25}, now_ms - 20_000)
        store.standings.put("b", {"roles": ["prover"]}, now_ms - 5_000)
    assert told("standing_age_seconds", role="pipeline") == pytest.approx(20, abs=3)
    assert told("standing_age_seconds", role="prover") == pytest.approx(5, abs=3)
    assert told("standing_age_seconds", role="submitter") is None
    assert told("clock_skew_seconds") == 0.25


def test_database_away__only_that_is_told(
    collector: StoreFigures, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(sqlite_database, "unit_of_work", away)
    (up,) = collector.collect()
    assert (up.name, up.samples[0].value) == ("veriregime_database_up", 0)


def test_database_that_hangs__is_not_waited_for(
    collector: StoreFigures, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    @contextmanager
    def hanging(**_: object) -> Iterator[None]:
        released.wait(10)
        raise StoreUnavailable("gone")
        yield

    monkeypatch.setattr(sqlite_database, "unit_of_work", hanging)
    monkeypatch.setattr(figures, "_PATIENCE_S", 0.1)
    (up,) = collector.collect()
    released.set()
    assert up.samples[0].value == 0
