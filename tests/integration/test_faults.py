"""Venues misbehave in every way there is, one of three and two of three: what is published, said, and comes back.

The simulated venues answer over HTTP; the clock that they and the service share is moved by hand, a minute at a time.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.clock import Clock
from app.demo import SIMULATED_VENUES, venue_urls
from app.features.variation import CANDLES_NEEDED, observe
from app.pipeline import TickOutcome, TickReport
from app.settings import Settings
from app.sim.faults import FaultKind
from app.sim.kraken import KEPT_CANDLES
from app.sim.market import Market, SimulatedMarket
from app.sim.server import _listen, _Protocol
from app.sim.views import market_at
from app.sim.world import World
from app.steps.fetch import Fetcher, VenueState
from app.types import MINUTE_MS, Forecast, Prediction, Window, parse_time
from app.web.application import create_web
from app.wiring import Application, application

FEED, FEEDS = "btc-usdt-4h", ("btc-usdt-4h", "eth-usdt-4h")
SEED = 7
START_MS = parse_time("2026-03-02T09:30:00Z")
SETTLE_MS = 1_000
HOUR = 60


@dataclass(frozen=True, slots=True)
class HandMovedClock(Clock):
    """Stands still until it is moved."""

    shown: list[int] = field(default_factory=lambda: [START_MS + SETTLE_MS])

    def now_ms(self) -> int:
        return self.shown[0]

    def move(self, minutes: int) -> None:
        self.shown[0] += minutes * MINUTE_MS


@dataclass(frozen=True)
class World3:
    """Three venues, and how they are steered."""

    url: str
    clock: HandMovedClock
    markets: dict[str, Market]

    def misbehave(self, venues: Sequence[str], kind: FaultKind, minutes: int = 10, **fields: float) -> None:
        """From the minute on that begins now."""
        for venue in venues:
            told = {"venue": venue, "kind": kind, "from_ms": self.clock.last_minute_ms(), "minutes": minutes}
            self._call("POST", "/faults", told | fields)

    def answered(self) -> Counter[tuple[str, str, int]]:
        """How often each minute of a venue and symbol was given out since `forget`."""
        times: Counter[tuple[str, str, int]] = Counter()
        for one in json.loads(self._call("GET", "/requests")):
            if one["candles"]:
                minutes = range(one["from_ms"], one["to_ms"], MINUTE_MS)
                times.update((one["venue"], one["symbol"], minute) for minute in minutes)
        return times

    def forget(self) -> None:
        self._call("DELETE", "/requests")

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method)) as answer:
            return bytes(answer.read())


@dataclass(frozen=True)
class Minute:
    """What came of one tick: how far off its forecast is, where there is one."""

    report: TickReport
    vol_change: float | None = None
    p_change: float | None = None
    same_regime: bool = True

    @property
    def published(self) -> bool:
        return self.report.outcome is TickOutcome.PREDICTED


@dataclass(frozen=True)
class Oracle:
    """A service on the world."""

    world: World3
    app: Application

    def minute(self) -> Minute:
        """The next one, as the service would have it: a tick, tried once more where it was skipped."""
        self.world.clock.move(1)
        for _ in range(2):
            if self.tick() is not TickOutcome.SKIPPED:
                break
        self.settle()
        report = self.app.pipeline.last_tick[FEED]
        return Minute(report) if report.outcome is TickOutcome.SKIPPED else self._compared(report)

    def minutes(self, count: int) -> list[Minute]:
        return [self.minute() for _ in range(count)]

    def tick(self, feed: str = FEED) -> TickOutcome:
        return self.app.pipeline.tick(feed, self.world.clock.last_minute_ms())

    def leap(self, minutes: int) -> None:
        """So far on, without a tick on the way: what was disturbed is no longer in the short windows."""
        self.world.clock.move(minutes - 1)
        assert self.minute().published

    def settle(self) -> None:
        """As after the rest of a minute: no venue is being asked any more."""
        for fetcher in self.app.pipeline._collector.fetchers.values():
            while is_busy(fetcher):
                time.sleep(0.001)

    def sample(self, name: str, **labels: str) -> float:
        return self.app.metrics.registry.get_sample_value(f"veriregime_{name}", labels) or 0.0

    def states(self) -> set[VenueState]:
        return {health.state for health in self.app.pipeline.venues().values()}

    def undisturbed(self) -> Forecast:
        """From the venues' own candles, without HTTP; of Kraken's week before the start there is only what it keeps."""
        served, end_ms = self.app.pipeline.feeds[FEED], self.world.clock.last_minute_ms()
        first_ms = {"kraken": START_MS - (KEPT_CANDLES - 1) * MINUTE_MS}
        start_ms = end_ms - CANDLES_NEEDED * MINUTE_MS
        candles = {
            name: market.candles(served.feed.symbol, max(start_ms, first_ms.get(name, 0)), end_ms)
            for name, market in self.world.markets.items()
        }
        observation = observe(Window(served.feed, end_ms, candles, served.quorum), served.spec)
        return served.network.forecast(observation.values)

    def newest(self) -> Prediction:
        with self.app.database.unit_of_work(write=False) as store:
            found = store.predictions.latest(FEED, proved=False)
        assert found is not None
        return found

    def _compared(self, report: TickReport) -> Minute:
        found, expected = self.newest(), self.undisturbed()
        return Minute(
            report,
            vol_change=found.vol_annualised / expected.vol_annualised - 1,
            p_change=found.p_high - expected.p_high,
            same_regime=found.regime == expected.regime,
        )


def is_busy(fetcher: Fetcher) -> bool:
    with fetcher._changed:
        return bool(fetcher._wants or fetcher._current)


@contextmanager
def running_world() -> Iterator[World3]:
    clock, simulated = HandMovedClock(), SimulatedMarket(SEED)
    markets = {venue: market_at(venue, simulated, SEED) for venue in SIMULATED_VENUES}
    world = World(markets, clock, clients=1_000)
    config = uvicorn.Config(
        world.application(), http=_Protocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with _listen(0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield World3(f"http://127.0.0.1:{listener.getsockname()[1]}", clock, markets)
        server.should_exit = True
        thread.join()


@contextmanager
def running_oracle(world: World3, settings: Settings, folder: Path, **own: Any) -> Iterator[Oracle]:
    """On a database in the folder, impatient, and with all the requests it likes."""
    wired = settings.model_copy(
        update={
            "venues": SIMULATED_VENUES,
            "venue_urls": venue_urls(world.url, SIMULATED_VENUES),
            "database_url": SecretStr(f"sqlite:///{folder / 'veriregime.db'}"),
            "venue_timeout_s": 0.3,
            "late_candle_s": 0.05,
            "straggler_s": 0.3,
        }
        | own
    )
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("ccxt.Exchange.throttle", lambda *_: None)
        patch.setattr("app.steps.fetch.wall_ms", world.clock.now_ms)  # rests go by the wall: a minute is a minute
        patch.setattr("app.steps.fetch._ASK_AGAIN_S", (0.03,))
        oracle = Oracle(world, stack.enter_context(application(wired, clock=world.clock)))
        oracle.settle()
        yield oracle


@pytest.fixture(scope="module")
def world() -> Iterator[World3]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def oracle(world: World3, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """One service that goes through all of it, one thing after another."""
    with running_oracle(world, settings, tmp_path_factory.mktemp("faults")) as running:
        assert running.tick() is TickOutcome.PREDICTED
        yield running


def test_measure(oracle: Oracle) -> None:
    import os, sys
    cases = [(k, {}) for k in FaultKind] + [(FaultKind.CLOCK_SKEW, {"seconds": 90.0}), (FaultKind.CLOCK_SKEW, {"seconds": -30.0}), (FaultKind.REVISED, {"amount": 0.004}), (FaultKind.CLOCK_SKEW, {"seconds": -3.0})]
    def metrics():
        d = {}
        for m in oracle.app.metrics.registry.collect():
            for s in m.samples:
                if "venue" in s.labels and not s.name.endswith("_created") and not s.name.endswith("candles_total"):
                    d[s.name[11:], tuple(s.labels.values())] = s.value
        return d
    def show(i, m):
        if m.published:
            print(i, f"vol {m.vol_change:+.4%} p {m.p_change:+.4f} {oracle.newest().p_high:.2f} {m.same_regime}", dict(m.report.left_out))
        else:
            print(i, m.report.reason, m.report.detail[:230])
    for n in map(int, os.environ.get("ROUNDS", "1,2").split(",")):
        for i, (kind, extra) in enumerate(cases):
            names = [SIMULATED_VENUES[(i + j) % 3] for j in range(n)]
            t = time.time()
            oracle.leap(5 * HOUR)
            print("=====", kind, extra, names, f"{time.time()-t:.2f}")
            t = time.time()
            before = metrics()
            oracle.world.misbehave(names, kind, **extra)
            for m in range(23):
                show(m + 1, oracle.minute())
                if m == 9:
                    after = metrics()
                    print({k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)})
            print(oracle.states(), f"{time.time()-t:.2f}")
            sys.stdout.flush()
