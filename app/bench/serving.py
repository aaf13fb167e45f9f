"""How long a consumer waits for a proved forecast: ``veriregime bench serving``.

The demo runs as it is: market and chain in processes of their own, the service, and its HTTP side. A client asks
``latest`` again and again and notes when each window's proved forecast is there. The simulated venue shows a candle the
moment its minute ends, so that is when the last candle of the window can be had.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from app.bench.figures import p95
from app.demo import MarketOptions, demo_application
from app.service import Service
from app.settings import Settings
from app.store.database import Database
from app.types import MINUTE_MS, parse_time
from app.web.application import create_web
from app.web.server import address, listen
from app.wiring import Application

Say = Callable[[str], None]
_ASK_EVERY_S = 0.01
_START_LIMIT_S = 120.0
_STEPS = ("queue", "witness", "prove", "verify")


def bench_serving(settings: Settings, *, ticks: int, speed: float, say: Say) -> dict[str, Any]:
    """Seconds of the wall clock from the end of each window to its proved forecast in ``latest``."""
    stated = settings.model_copy(update={"feeds": settings.feeds})  # not the demo's choice: each feed takes its share
    with demo_application(stated, MarketOptions(speed=speed)) as app, _served(app) as url:
        waits, missed, ids = _watch(app, f"{url}/v1/feeds/{next(iter(app.pipeline.feeds))}/latest", ticks, say)
        return {
            "ticks": len(waits),
            "feeds": len(settings.feeds),
            "venues": len(app.settings.venues),
            "missed": missed,
            "speed": speed,
            "settle_s": app.settings.settle_s,
            "seconds": _spread(waits),
            "steps": _steps(app.database, ids),
        }


def as_text(found: dict[str, Any]) -> str:
    seconds, steps = found["seconds"], found["steps"]
    return "\n".join(
        (
            f"{found['ticks']} ticks of {found['feeds']} feed(s) from {found['venues']} venues at {found['speed']:g} "
            f"times real time, {found['missed']} windows missed",
            f"last candle at the venue to proved forecast in latest: median {seconds['median']:.3f} s, "
            f"p95 {seconds['p95']:.3f} s, largest {seconds['largest']:.3f} s "
            f"(of them {found['settle_s']:g} s of waiting for the candle to settle)",
            "of that, in the median: " + ", ".join(f"{name} {value:.3f} s" for name, value in steps.items()),
        )
    )


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
