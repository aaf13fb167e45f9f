"""Venues misbehave in every way there is, one of three and two of three: what is published, what is said, what comes back.

The simulated venues answer over HTTP; the clock that they and the service share is moved by hand, a minute at a time.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr

from app.clock import Clock
from app.demo import SIMULATED_VENUES, venue_urls
from app.features.variation import CANDLES_NEEDED, observe
from app.pipeline import TickOutcome
from app.settings import Settings
from app.sim.faults import FaultKind
from app.sim.kraken import KEPT_CANDLES
from app.sim.market import Market, SimulatedMarket
from app.sim.server import _listen, _Protocol
from app.sim.views import market_at
from app.sim.world import World
from app.steps.fetch import VenueState
from app.types import MINUTE_MS, Forecast, Window, iso, parse_time
from app.wiring import Application, application

FEED, BTC = "btc-usdt-4h", "BTC/USDT"
SEED = 7
START_MS = parse_time("2026-03-02T09:30:00Z")
SETTLE_MS = 1_000


@dataclass(frozen=True, slots=True)
class HandMovedClock(Clock):
    """Stands still until it is moved."""

    shown: list[int] = field(default_factory=lambda: [START_MS + SETTLE_MS])

    def now_ms(self) -> int:
        return self.shown[0]


@dataclass
class Bed:
    """The world, and how it is steered."""

    url: str
    clock: HandMovedClock
    markets: dict[str, Market]

    def fault(self, venue: str, kind: str, **fields: float) -> None:
        self._call("POST", "/faults", {"venue": venue, "kind": kind, "from_ms": self.clock.last_minute_ms()} | fields)

    def requests(self) -> list[dict[str, Any]]:
        return json.loads(self._call("GET", "/requests"))

    def forget_requests(self) -> None:
        self._call("DELETE", "/requests")

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method)) as answer:
            return answer.read()


@contextmanager
def running_world() -> Iterator[Bed]:
    clock = HandMovedClock()
    simulated = SimulatedMarket(SEED)
    markets = {venue: market_at(venue, simulated, SEED) for venue in SIMULATED_VENUES}
    world = World(markets, clock, clients=1_000)
    config = uvicorn.Config(
        world.application(), http=_Protocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with _listen(0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield Bed(f"http://127.0.0.1:{listener.getsockname()[1]}", clock, markets)
        server.should_exit = True
        thread.join()


@dataclass
class Oracle:
    """A service on the world, and the forecasts that it should make."""

    bed: Bed
    app: Application
    reports: list[Any] = field(default_factory=list)

    def undisturbed(self) -> Forecast:
        served, end_ms = self.app.pipeline.feeds[FEED], self.bed.clock.last_minute_ms()
        start_ms = end_ms - CANDLES_NEEDED * MINUTE_MS
        first_ms = dict.fromkeys(SIMULATED_VENUES, start_ms) | {"kraken": START_MS - (KEPT_CANDLES - 1) * MINUTE_MS}
        candles = {
            name: market.candles(BTC, max(start_ms, first_ms[name]), end_ms) for name, market in self.bed.markets.items()
        }
        window = Window(served.feed, end_ms, candles, served.quorum)
        return served.network.forecast(observe(window, served.spec).values)

    def next_minute(self) -> None:
        self.bed.clock.shown[0] += MINUTE_MS

    def tick(self) -> TickOutcome:
        outcome = self.app.pipeline.tick(FEED, self.bed.clock.last_minute_ms())
        return outcome

    def sample(self, name: str, **labels: str) -> float:
        return self.app.metrics.registry.get_sample_value(f"veriregime_{name}", labels) or 0.0


@contextmanager
def running_oracle(bed: Bed, settings: Settings, folder: Path) -> Iterator[Oracle]:
    own = {
        "venues": SIMULATED_VENUES,
        "venue_urls": venue_urls(bed.url, SIMULATED_VENUES),
        "database_url": SecretStr(f"sqlite:///{folder / 'veriregime.db'}"),
        "venue_timeout_s": 0.4,
        "late_candle_s": 0.1,
        "straggler_s": 0.3,
    }
    with application(settings.model_copy(update=own), clock=bed.clock) as app:
        for fetcher in app.pipeline._collector.fetchers.values():
            fetcher._venue._client.enableRateLimit = False
        yield Oracle(bed, app)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def rests_by_the_hand_moved_clock(bed: Bed) -> Iterator[None]:
    """A rest goes by the wall, which is the market's clock here: a venue's minute of rest is a minute of the market."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.steps.fetch.wall_ms", bed.clock.now_ms)
        yield


@pytest.fixture(scope="module")
def oracle(
    bed: Bed, settings: Settings, tmp_path_factory: pytest.TempPathFactory, rests_by_the_hand_moved_clock: None
) -> Iterator[Oracle]:
    with running_oracle(bed, settings, tmp_path_factory.mktemp("faults")) as running:
        yield running


def test_measure(oracle: Oracle) -> None:
    from app.types import Regime
    import sys
    t = time.time()
    print(oracle.tick(), oracle.app.pipeline.last_tick[FEED].detail, time.time() - t)
    ref = oracle.undisturbed()
    cases = [(k, {}) for k in FaultKind] + [(FaultKind.CLOCK_SKEW, {"seconds": 90.0}), (FaultKind.CLOCK_SKEW, {"seconds": -30.0}),(FaultKind.CLOCK_SKEW, {"seconds": 30.0}), (FaultKind.CLOCK_SKEW, {"seconds": -3.0})]
    def look():
        t = time.time()
        out = oracle.tick()
        took = time.time() - t
        report = oracle.app.pipeline.last_tick[FEED]
        ref = oracle.undisturbed()
        if out is TickOutcome.PREDICTED:
            with oracle.app.database.unit_of_work(write=False) as store:
                p = store.predictions.latest(FEED, proved=False)
            return f"{out} vol {p.vol_annualised/ref.vol_annualised-1:+.4%} p {p.p_high-ref.p_high:+.4f} ({ref.p_high:.2f}) {p.regime == ref.regime} {took:.3f}s left {dict(report.left_out)}"
        return f"{out} {report.detail} {took:.3f}s"
    ms = ["venue_answers_total", "venue_up", "candle_revisions_total", "venue_clock_skew_seconds"]
    def metrics():
        d = {}
        for m in oracle.app.metrics.registry.collect():
            for s in m.samples:
                if "venue" in s.labels and not s.name.endswith("_created") and "candles" not in s.name:
                    d[s.name[11:], tuple(s.labels.values())] = s.value
        return d
    import os
    rounds = os.environ.get("ROUNDS", "1,2")
    for n in map(int, rounds.split(",")):
        for i, (kind, extra) in enumerate(cases):
            names = [SIMULATED_VENUES[(i + j) % 3] for j in range(n)]
            print("=====", kind, extra, names)
            before = metrics()
            for name in names:
                oracle.bed.fault(name, kind, minutes=10, **extra)
            for m in range(20):
                oracle.next_minute()
                print(m + 1, look())
                if m == 9:
                    after = metrics()
                    print({k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)})
            after = metrics()
            print({k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)})
            print({n: h.state for n, h in oracle.app.pipeline.venues().items()})
            sys.stdout.flush()
