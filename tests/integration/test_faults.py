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
from app.settings import Settings
from app.sim.faults import FaultKind
from app.sim.kraken import KEPT_CANDLES
from app.sim.market import Market, SimulatedMarket
from app.sim.server import _listen, _Protocol
from app.sim.views import market_at
from app.sim.world import World
from app.steps.fetch import Fetcher, VenueState
from app.steps.standing import TickOutcome, TickReport
from app.types import MINUTE_MS, Forecast, Prediction, Window, parse_time
from app.web.application import create_web
from app.wiring import Application, application

FEED, FEEDS = "btc-usdt-4h", ("btc-usdt-4h", "eth-usdt-4h")
SEED = 7
START_MS = parse_time("2026-03-02T09:30:00Z")
SETTLE_MS = 1_000
HOUR = 60
PATIENT_S, IMPATIENT_S = 10.0, 0.2


@dataclass(frozen=True, slots=True)
class HandMovedClock(Clock):
    """Stands still until it is moved."""

    shown: list[int] = field(default_factory=lambda: [START_MS + SETTLE_MS])

    def now_ms(self) -> int:
        return self.shown[0]

    def move(self, minutes: int) -> None:
        self.shown[0] += minutes * MINUTE_MS


@dataclass(frozen=True)
class Venues:
    """The three of the simulated world, and how they are steered."""

    url: str
    clock: HandMovedClock
    markets: dict[str, Market]

    def misbehave(self, venues: Sequence[str], kind: FaultKind, minutes: int = 10, **fields: float) -> None:
        """From the minute on that begins now."""
        for venue in venues:
            told = {"venue": venue, "kind": kind, "from_ms": self.clock.last_minute_ms(), "minutes": minutes}
            self._call("POST", "/faults", told | fields)

    def answered(self) -> Counter[tuple[str, str, int]]:
        """How often each minute of a venue and symbol was given out since `forget`, once it was over."""
        times: Counter[tuple[str, str, int]] = Counter()
        for one in json.loads(self._call("GET", "/requests")):
            if one["candles"]:
                minutes = range(one["from_ms"], min(one["to_ms"], one["at_ms"] - MINUTE_MS + 1), MINUTE_MS)
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
    vol_change: float = 0.0
    """Relative to the undisturbed forecast's."""
    p_change: float = 0.0
    p_high: float = 0.0
    """Of the undisturbed forecast."""
    same_regime: bool = True

    @property
    def published(self) -> bool:
        return self.report.outcome is TickOutcome.PREDICTED

    def assert_near(self, *, vol: float, p: float) -> None:
        """The regime may only be another one where its probability is close to one half."""
        assert abs(self.vol_change) < vol
        assert abs(self.p_change) < p
        assert self.same_regime or abs(self.p_high - 0.5) < p


@dataclass(frozen=True)
class Oracle:
    """A service on the world."""

    world: Venues
    app: Application

    def minute(self) -> Minute:
        """The next one: a tick, and what the fetchers do in the rest of the minute."""
        self.world.clock.move(1)
        self.tick()
        self.settle()
        report = self.app.pipeline.last_tick[FEED]
        return Minute(report) if report.outcome is TickOutcome.SKIPPED else self._compared(report)

    def minutes(self, count: int) -> list[Minute]:
        return [self.minute() for _ in range(count)]

    def minutes_until_all_is_well(self, most: int) -> list[Minute]:
        """Until every venue is fresh and two in a row are published."""
        seen: list[Minute] = []
        while len(seen) < most:
            seen.append(self.minute())
            if self.states() == {VenueState.FRESH} and len(seen) > 1 and all(one.published for one in seen[-2:]):
                break
        return seen

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
        return {health.state for health in self.app.pipeline.standing().venues.values()}

    def expect_answers_within(self, seconds: float, venues: Sequence[str] = SIMULATED_VENUES) -> None:
        """The time limit of a request to these; it is long elsewhere, for the machine may be busy."""
        for venue in venues:
            self.app.pipeline._collector.fetchers[venue]._venue._client.timeout = round(1_000 * seconds)

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
            p_high=expected.p_high,
            same_regime=found.regime == expected.regime,
        )


def is_busy(fetcher: Fetcher) -> bool:
    with fetcher._changed:
        return bool(fetcher._wants or fetcher._current)


@contextmanager
def running_world() -> Iterator[Venues]:
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
        yield Venues(f"http://127.0.0.1:{listener.getsockname()[1]}", clock, markets)
        server.should_exit = True
        thread.join()


@contextmanager
def running_oracle(world: Venues, settings: Settings, folder: Path, **own: Any) -> Iterator[Oracle]:
    """On a database in the folder; it may ask as often as it likes, and waits for no late candle."""
    wired = settings.model_copy(
        update={
            "venues": SIMULATED_VENUES,
            "venue_urls": venue_urls(world.url, SIMULATED_VENUES),
            "database_url": SecretStr(f"sqlite:///{folder / 'veriregime.db'}"),
            "late_candle_s": 0.05,
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
def world() -> Iterator[Venues]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def oracle(world: Venues, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """One service that goes through all of it, one thing after another."""
    with running_oracle(world, settings, tmp_path_factory.mktemp("faults")) as running:
        assert running.tick() is TickOutcome.PREDICTED
        yield running


@pytest.fixture(scope="module")
def web(oracle: Oracle) -> Iterator[TestClient]:
    with TestClient(create_web(oracle.app)) as client:
        yield client


@dataclass(frozen=True)
class Case:
    """A misbehaviour, and the metric that names the venue by the end of it."""

    kind: FaultKind
    metric: str
    labels: dict[str, str] = field(default_factory=dict)
    least: float = 5
    """By how much the metric has moved."""
    told: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return "".join([self.kind, *(f"{value:+g}" for value in self.told.values())])


FAILED, LIMITED, LATE, OFF_TIME = ({"answer": answer} for answer in ("failed", "limited", "late", "off-time"))
ASIDE = "venue_minutes_set_aside"
CASES = (
    Case(FaultKind.TIMEOUT, "venue_answers_total", FAILED),
    Case(FaultKind.RATE_LIMIT, "venue_answers_total", LIMITED),
    Case(FaultKind.SERVER_ERROR, "venue_answers_total", FAILED),
    Case(FaultKind.HTML, "venue_answers_total", FAILED),
    Case(FaultKind.MISSING, "venue_answers_total", LATE),
    Case(FaultKind.LATE, "venue_answers_total", LATE),
    Case(FaultKind.REVISED, "candle_revisions_total"),
    Case(FaultKind.FROZEN, ASIDE, {"feed": FEED, "why": "frozen"}),
    Case(FaultKind.WRONG_PRICE, ASIDE, {"feed": FEED, "why": "outlying"}, least=1),
    Case(FaultKind.CLOCK_SKEW, "venue_answers_total", OFF_TIME, told={"seconds": -90.0}),
    Case(FaultKind.CLOCK_SKEW, "venue_answers_total", OFF_TIME, told={"seconds": 90.0}),
)
NUMBERED = [pytest.param(number, case, id=str(case)) for number, case in enumerate(CASES)]


def some_of_three(number: int, count: int) -> tuple[str, ...]:
    """Not always the same ones."""
    return tuple(SIMULATED_VENUES[(number + place) % 3] for place in range(count))


@pytest.mark.parametrize(("number", "case"), NUMBERED)
def test_one_of_three_misbehaves__every_minute_is_published_nearly_undisturbed_and_metrics_name_the_venue(
    oracle: Oracle, number: int, case: Case
) -> None:
    (venue,) = some_of_three(number, 1)
    oracle.leap(5 * HOUR)
    before = oracle.sample(case.metric, venue=venue, **case.labels)
    oracle.expect_answers_within(IMPATIENT_S if case.kind is FaultKind.TIMEOUT else PATIENT_S, [venue])
    oracle.world.misbehave([venue], case.kind, **case.told)
    disturbed = oracle.minutes(9)
    seen = oracle.sample(case.metric, venue=venue, **case.labels) - before
    skew_s = oracle.sample("venue_clock_skew_seconds", venue=venue)
    oracle.expect_answers_within(PATIENT_S)
    disturbed += oracle.minutes(3)
    for minute in disturbed:
        assert minute.published, minute.report
        minute.assert_near(vol=0.01 if case.kind is FaultKind.WRONG_PRICE else 0.02, p=0.02)
    assert seen >= case.least
    assert skew_s == pytest.approx(case.told.get("seconds", 0.0), abs=0.5)
    assert oracle.states() == {VenueState.FRESH}


NOTHING = range(0)
PUBLISHED = {FaultKind.FROZEN: range(1), FaultKind.WRONG_PRICE: range(1, 9)}
"""Which of the first nine minutes are published where two of three misbehave alike. Two prices that have just stopped
cannot be told from a quiet minute, and only the two jumps of a wrong price are false moves."""


@pytest.mark.parametrize(("number", "case"), NUMBERED)
def test_two_of_three_misbehave_alike__nothing_false_is_published_and_it_comes_back_by_itself(
    oracle: Oracle, web: TestClient, number: int, case: Case
) -> None:
    oracle.leap(5 * HOUR)
    venues = some_of_three(number, 2)
    oracle.expect_answers_within(IMPATIENT_S if case.kind is FaultKind.TIMEOUT else PATIENT_S, venues)
    oracle.world.misbehave(venues, case.kind, **case.told)
    disturbed = oracle.minutes(9)
    oracle.expect_answers_within(PATIENT_S)
    oracle.app.pipeline.tell()
    served = web.get(f"/v1/feeds/{FEED}").json()["last_tick"]
    afterwards = oracle.minutes_until_all_is_well(most=14)
    assert [place for place, minute in enumerate(disturbed) if minute.published] == [*PUBLISHED.get(case.kind, NOTHING)]
    for minute in disturbed + afterwards:
        minute.assert_near(vol=0.05, p=0.05)
        assert minute.published or minute.report.reason in ("no-quorum", "window-incomplete")
    if not disturbed[-1].published:
        assert (served["outcome"], served["reason"]) == ("skipped", disturbed[-1].report.reason)
        assert served["detail"] == disturbed[-1].report.detail
    assert len(afterwards) < 14


def test_all_venues_away_for_two_hours__the_first_minute_afterwards_is_whole_and_nothing_comes_twice(
    oracle: Oracle,
) -> None:
    oracle.leap(5 * HOUR)
    away_ms = oracle.world.clock.last_minute_ms()
    oracle.world.misbehave(SIMULATED_VENUES, FaultKind.SERVER_ERROR, minutes=2 * HOUR)
    for _ in range(8):
        oracle.world.clock.move(14)
        assert oracle.tick() is TickOutcome.SKIPPED
        oracle.settle()
    oracle.world.forget()
    oracle.world.clock.move(8)
    assert oracle.minute().published
    assert len(oracle.newest().sources.markets) == 3
    back_ms = oracle.world.clock.last_minute_ms()
    oracle.minutes(11)
    answered = oracle.world.answered()
    missed = range(away_ms, back_ms - MINUTE_MS, MINUTE_MS)  # the newest one is live, and looked at again
    assert {answered[venue, "BTC/USDT", minute] for venue in SIMULATED_VENUES for minute in missed} == {1}


BOTH = {"feeds": FEEDS, "batching": "off"}


def test_two_hours_of_downtime__the_store_is_whole_after_one_tick_of_each_feed_and_nothing_comes_twice(
    world: Venues, settings: Settings, tmp_path: Path
) -> None:
    with running_oracle(world, settings, tmp_path, **BOTH) as before:
        assert [before.tick(feed) for feed in FEEDS] == [TickOutcome.PREDICTED] * 2
    closed_ms = world.clock.last_minute_ms()
    world.clock.move(2 * HOUR)
    world.forget()
    with running_oracle(world, settings, tmp_path, **BOTH) as after:
        assert [after.tick(feed) for feed in FEEDS] == [TickOutcome.PREDICTED] * 2
        back_ms = world.clock.last_minute_ms()
        for _ in range(11):
            world.clock.move(1)
            assert [after.tick(feed) for feed in FEEDS] == [TickOutcome.PREDICTED] * 2
            after.settle()
        answered = world.answered()
        markets = [(venue, symbol) for venue in SIMULATED_VENUES for symbol in ("BTC/USDT", "ETH/USDT")]
        missed = range(closed_ms, back_ms - MINUTE_MS, MINUTE_MS)
        assert {answered[*market, minute] for market in markets for minute in missed} == {1}
        assert min(minute for _, _, minute in answered) == closed_ms
        with after.app.database.unit_of_work(write=False) as store:
            assert not any(store.candles.gaps(*market, closed_ms - HOUR * MINUTE_MS, back_ms) for market in markets)


def test_end_while_every_venue_hangs__takes_no_longer_than_a_moment_and_leaves_no_thread(
    world: Venues, settings: Settings, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        oracle = stack.enter_context(running_oracle(world, settings, tmp_path))
        assert oracle.tick() is TickOutcome.PREDICTED
        oracle.settle()
        oracle.expect_answers_within(1.5)
        world.misbehave(SIMULATED_VENUES, FaultKind.TIMEOUT, minutes=1)
        world.clock.move(1)
        world.clock.shown[0] -= 2 * SETTLE_MS  # within the minute of the fault
        collector = oracle.app.pipeline._collector
        waiting = threading.Thread(target=oracle.tick)
        waiting.start()
        time.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 1.0
    waiting.join(timeout=1)
    assert not waiting.is_alive()
    collector.join(timeout_s=5)
    assert not any(fetcher._thread.is_alive() for fetcher in collector.fetchers.values())
