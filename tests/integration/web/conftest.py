"""A service with something of everything to tell, on SQLite and on PostgreSQL: no pipeline, and a clock of its own."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.clock import Clock, wall_ms
from app.metrics import Metrics
from app.store.database import Database
from app.store.outcomes import Origin, Outcome
from app.store.tables import metadata
from app.types import (
    DAY_MS,
    MINUTE_MS,
    Attempt,
    AttemptOutcome,
    Disagreement,
    EventKind,
    Prediction,
    Status,
    prediction_id,
)
from app.wiring import Application

MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"
_BACKTEST_WINDOWS = 400


@dataclass(frozen=True, slots=True)
class Told:
    """Predictions that the furnished service can tell of."""

    confirmed: Prediction
    waiting: Prediction
    """For its proof."""
    failed: Prediction
    """Network and circuit disagreed about it."""


@pytest.fixture(scope="session")
def told(confirmed: Prediction) -> Told:
    def earlier(minutes: int) -> Prediction:
        end_ms = confirmed.window_end_ms - minutes * MINUTE_MS
        own = prediction_id(confirmed.feed, end_ms, confirmed.model_id)
        return replace(confirmed, id=own, window_end_ms=end_ms, status=Status.PREDICTED)

    return Told(confirmed, waiting=earlier(1), failed=earlier(2))


@pytest.fixture(scope="session")
def furnished(app: Application, told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The application's database as it is now, and what takes hours or faults to come about."""
    path = tmp_path_factory.mktemp("furnished") / "veriregime.db"
    source = sa.make_url(app.settings.database_url.get_secret_value()).database
    with closing(sqlite3.connect(str(source))) as there, closing(sqlite3.connect(path)) as here:
        there.backup(here)
    database = Database(f"sqlite:///{path}", MIGRATIONS)
    _furnish(database, told)
    yield database
    database.close()


@pytest.fixture(scope="session")
def furnished_postgresql(furnished: Database, postgresql: sa.Engine) -> Iterator[Database]:
    """The same rows in PostgreSQL."""
    with postgresql.connect() as server:
        server.execute(sa.text("CREATE DATABASE furnished"))
    url = postgresql.url.set(database="furnished")
    database = Database(url.render_as_string(hide_password=False), MIGRATIONS)
    database.upgrade()
    source, target = sa.create_engine(furnished.name), sa.create_engine(url)
    with source.connect() as there, target.begin() as here:
        for table in metadata.sorted_tables:
            here.execute(sa.delete(table))
            rows = [dict(row) for row in there.execute(sa.select(table)).mappings()]
            if rows:
                here.execute(sa.insert(table), rows)
    source.dispose()
    target.dispose()
    yield database
    database.close()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def furnished_role(request: pytest.FixtureRequest, app: Application, told: Told) -> Application:
    """What answers over HTTP, 20 s after the newest forecast's window has ended, as often as it is asked."""
    names = {"sqlite": "furnished", "postgresql": "furnished_postgresql"}
    database: Database = request.getfixturevalue(names[request.param])
    clock = Clock(market_start_ms=told.confirmed.window_end_ms + 20_000, wall_start_ms=wall_ms())
    settings = app.settings.model_copy(update={"verify_rate": "", "bundle_rate": ""})
    return replace(app, settings=settings, database=database, clock=clock, metrics=Metrics())


def _furnish(database: Database, told: Told) -> None:
    """A forecast that was given up, one that waits, an outcome of the confirmed one, and a back-test."""
    failed, now_ms = told.failed, wall_ms()
    reason = "regime logits 12.0 tolerances apart"
    with database.unit_of_work() as store:
        assert store.predictions.add(failed, queued_at_ms=now_ms)
        job = store.jobs.lease("host:1", now_ms, 60_000, max_attempts=1)
        assert job is not None
        assert store.jobs.give_up(job.prediction_id, "host:1", reason)
        store.attempts.add(
            Attempt(failed.id, 1, AttemptOutcome.DISAGREED, reason, "host:1", 1, 0.5, 0.1, None, None, at_ms=now_ms)
        )
        store.disagreements.add(Disagreement(failed.id, failed.feed, failed.window_end_ms, reason, None), {})
    with database.unit_of_work() as store:
        assert store.predictions.add(told.waiting, queued_at_ms=now_ms)
        store.outcomes.add([_outcome(told.confirmed, 0, Origin.LIVE)])
        store.events.note(EventKind.OUTCOME, told.confirmed.id, high=True)
        store.outcomes.add([_outcome(told.confirmed, number, Origin.BACKTEST) for number in range(_BACKTEST_WINDOWS)])


def _outcome(forecast: Prediction, number: int, origin: Origin) -> Outcome:
    """Volatility that rises and falls with the hours; every fiftieth window's cannot be told."""
    live, swing = origin is Origin.LIVE, 0.5 + 0.4 * math.sin(number / 9)
    realised = None if number % 50 == 7 else 0.0003 + 0.0004 * swing
    return Outcome(
        feed=forecast.feed,
        origin=origin,
        model_id=forecast.model_id,
        window_end_ms=forecast.window_end_ms - number * DAY_MS // 96,
        prediction_id=forecast.id if live else None,
        p_high=swing,
        score=math.log(swing / (1 - swing)),
        high_said=swing >= 0.5,
        vol_annualised=0.2 + 0.3 * swing,
        realised=realised,
        past_60=None if realised is None else realised * 1.1,
        past_240=None if realised is None else realised * 0.9,
        missing="12 of the 240 minutes after it have no return" if realised is None else None,
        judged_at_ms=forecast.window_end_ms + 60_000,
    )
