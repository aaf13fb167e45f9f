"""What a consumer meets: ``veriregime bench serving``. In three parts, and a fourth where it is asked for.

``ticks`` is how long a proved forecast takes. The demo runs as it is: market and chain in processes of their own, the
service, and its HTTP side. A client asks ``latest`` again and again and notes when each window's proved forecast is
there. The simulated venue shows a candle the moment its minute ends, so that is when the last candle can be had.

``latest`` (`app.bench.api`) and ``streams`` (`app.bench.streaming`) then ask the HTTP side alone, on a copy of the
demo's database, with nothing else at work. ``load`` (`app.bench.under_load`) asks as much as is answered while the demo
goes on.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr

from app.bench.api import LoadEffort, bench_busy, bench_latest
from app.bench.figures import p95
from app.bench.served import product
from app.bench.streaming import StreamEffort, bench_streams
from app.bench.under_load import BusyEffort, bench_under_load
from app.demo import MarketOptions, demo_application
from app.errors import BadInput, NoForecastYet
from app.service import Service
from app.settings import Settings
from app.store.database import Database
from app.types import MINUTE_MS, PROVED_STATES, Prediction, Status, parse_time
from app.web.application import create_web
from app.web.server import address, listen
from app.wiring import Application

Say = Callable[[str], None]
PARTS = ("ticks", "latest", "streams")
LOAD = "load"
"""Minutes long, so only where it is named."""
_ASK_EVERY_S = 0.01
_START_LIMIT_S = 120.0
_SETTLE_LIMIT_S = 15.0
_STEPS = ("queue", "witness", "prove", "verify")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    ticks: int = 60
    speed: float = 20.0
    load: LoadEffort = field(default_factory=LoadEffort)
    streams: StreamEffort = field(default_factory=StreamEffort)
    busy_s: float = 60.0
    """Of each stretch under load."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A database at rest with a proved forecast."""

    settings: Settings
    forecast: Prediction


def bench_serving(settings: Settings, effort: Effort, say: Say, only: Collection[str] | None = None) -> dict[str, Any]:
    """The figures of the parts; those of ``ticks`` are seconds of the wall clock from the end of each window to its
    proved forecast in ``latest``. Raises `BadInput` for a part that there is not.
    """
    parts = PARTS if only is None else tuple(only)
    for part in set(parts) - {*PARTS, LOAD}:
        raise BadInput(f"there is no part {part!r}: choose among {', '.join((*PARTS, LOAD))}")
    if LOAD not in parts:
        return _measured(settings, parts, effort, say)
    rest = [part for part in parts if part != LOAD]
    found = _measured(settings, rest, effort, say) if rest else {}
    return found | bench_under_load(settings, BusyEffort(effort.busy_s, speed=effort.speed), say)


def _measured(settings: Settings, parts: Collection[str], effort: Effort, say: Say) -> dict[str, Any]:
    under = settings.var_dir / "bench"
    under.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=under) as scratch:
        folder = Path(scratch)
        found, subject = _in_the_demo(settings, parts, effort, folder, say)
        return found | measure_at_rest(subject, parts, effort, folder, say, busy=found.pop("busy", None))


def measure_at_rest(
    subject: Subject, parts: Collection[str], effort: Effort, folder: Path, say: Say, busy: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What is measured without the demo. ``busy`` goes beside the figures of ``latest``."""
    found: dict[str, Any] = {}
    settings, forecast = subject.settings, subject.forecast
    if not {"latest", "streams"} & set(parts):
        return found
    with product(settings, forecast.window_end_ms, folder) as server:
        if "latest" in parts:
            found = bench_latest(server, forecast.feed, folder, effort.load, say)
            found["latest"] |= {"while_ticking": busy}
        if "streams" in parts:
            found["streams"] = bench_streams(server, settings, forecast.id, effort.streams, say)
    return found


def _in_the_demo(
    settings: Settings, parts: Collection[str], effort: Effort, folder: Path, say: Say
) -> tuple[dict[str, Any], Subject]:
    stated = settings.model_copy(update={"feeds": settings.feeds})  # not the demo's choice: each feed takes its share
    with demo_application(stated, MarketOptions(speed=effort.speed)) as app:
        feed = next(iter(app.pipeline.feeds))
        found: dict[str, Any] = {}
        with _served(app) as url:
            say("waiting for the first forecast")
            latest = f"{url}/v1/feeds/{feed}/latest"
            if not _stands(latest, PROVED_STATES, _START_LIMIT_S):
                raise NoForecastYet(f"the demo has no proved forecast after {_START_LIMIT_S:g} s")
            if "ticks" in parts:
                found |= _ticks(app, latest, effort, say)
            if "latest" in parts:
                found["busy"] = bench_busy(url, feed, effort.load, say)
            _stands(latest, (Status.CONFIRMED,), _SETTLE_LIMIT_S)  # as in service for most of its minute
        return found, copied(app, feed, folder)


def copied(app: Application, feed: str, folder: Path) -> Subject:
    """The application's SQLite database as it is now, and the newest proved forecast of ``feed``."""
    target = folder / "veriregime.db"
    source = app.settings.store_url().removeprefix("sqlite:///")
    with closing(sqlite3.connect(source)) as theirs, closing(sqlite3.connect(target)) as ours:
        theirs.backup(ours)
    with app.database.unit_of_work(write=False) as store:
        forecast = store.predictions.latest(feed)
    if forecast is None:
        raise NoForecastYet(f"{feed} has no proved forecast to serve")
    own = {"database_url": SecretStr(f"sqlite:///{target}"), "database_url_file": None}
    return Subject(app.settings.model_copy(update=own), forecast)


def _ticks(app: Application, url: str, effort: Effort, say: Say) -> dict[str, Any]:
    waits, missed, ids = _watch(app, url, effort.ticks, say)
    return {
        "ticks": len(waits),
        "feeds": len(app.settings.feeds),
        "venues": len(app.settings.venues),
        "missed": missed,
        "speed": effort.speed,
        "settle_s": app.settings.settle_s,
        "seconds": _spread(waits),
        "steps": _steps(app.database, ids),
    }


@contextmanager
def _served(app: Application) -> Iterator[str]:
    """The service at work, and its HTTP side in a thread."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_web(app), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    service = Service(app)
    service.start()
    thread.start()
    try:
        yield address(listener)
    finally:
        server.should_exit = True
        thread.join()
        service.stop()


def _watch(app: Application, url: str, ticks: int, say: Say) -> tuple[list[float], int, list[str]]:
    """Waits in seconds of ``ticks`` windows after the first one that is served, which has the history to load."""
    last_ms, limit = 0, time.monotonic() + _START_LIMIT_S
    waits: list[float] = []
    ids: list[str] = []
    missed = 0
    while len(waits) < ticks and time.monotonic() < limit:
        answer = _ask(url)
        if answer is None or (end_ms := parse_time(answer["window_end"])) == last_ms:
            time.sleep(_ASK_EVERY_S)
            continue
        if last_ms:
            waits.append(-app.clock.seconds_until(end_ms))
            ids.append(answer["id"])
            missed += (end_ms - last_ms) // MINUTE_MS - 1
            say(f"{len(waits)} of {ticks} ticks")
        last_ms, limit = end_ms, time.monotonic() + _START_LIMIT_S
    return waits, missed, ids


def _stands(url: str, status: Collection[str], limit_s: float) -> bool:
    """Waits until the newest forecast has that status; False when it takes too long."""
    limit = time.monotonic() + limit_s
    while (answer := _ask(url)) is None or answer["status"] not in status:
        if time.monotonic() > limit:
            return False
        time.sleep(_ASK_EVERY_S)
    return True


def _ask(url: str) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  our own address
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:  # 503 until there is a first forecast
        error.close()
        return None


def _spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds), 4),
        "p95": round(p95(seconds), 4),
        "largest": round(max(seconds), 4),
    }


def _steps(database: Database, ids: list[str]) -> dict[str, float]:
    """Medians of what the proofs' steps took, as the attempts say."""
    with database.unit_of_work(write=False) as store:
        attempts = [attempt for one in ids for attempt in store.attempts.of(one)]
    return {
        step: round(statistics.median(getattr(attempt, f"{step}_seconds") or 0.0 for attempt in attempts), 4)
        for step in _STEPS
    }
