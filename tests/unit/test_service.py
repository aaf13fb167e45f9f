from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from app.service import Service
from app.steps.attest import AttestOutcome
from app.steps.prove import ProveOutcome
from app.steps.publishing import SubmitOutcome
from app.steps.standing import EVERY_ROLE, TickOutcome
from app.types import MINUTE_MS

FEED = "btc-usdt-4h"


class SlowPipeline:
    """Ticks that take until they are let go."""

    def __init__(self, *outcomes: TickOutcome) -> None:
        self.feeds = {FEED: None}
        self.started, self.let_go = threading.Event(), threading.Event()
        self.outcomes = list(outcomes)
        self.ticks = 0
        self.windows: list[int] = []

    def tick(self, feed: str, window_end_ms: int) -> TickOutcome:
        self.ticks += 1
        self.windows.append(window_end_ms // MINUTE_MS)
        self.started.set()
        assert self.let_go.wait(10)
        return self.outcomes.pop(0)

    def judge_next(self, feed: str, window_end_ms: int) -> int:
        return 0


def service_of(pipeline: SlowPipeline, minutes: Sequence[int] = ()) -> Service:
    """On a clock that shows the ends of these minutes at one question after the other, and then stands at the last."""
    shown = [MINUTE_MS * minute for minute in minutes]
    # The market's clock runs fast: the pause between two attempts is short.
    clock = SimpleNamespace(
        last_minute_ms=lambda: shown.pop(0) if shown else 9 * MINUTE_MS, seconds_until=lambda _: 0.01, speed=1000
    )
    application: Any = SimpleNamespace(
        pipeline=pipeline, clock=clock, settings=SimpleNamespace(settle_s=0.0), roles=EVERY_ROLE
    )
    return Service(application)


@pytest.mark.parametrize("trouble", [TickOutcome.SKIPPED, TickOutcome.FAILED], ids=str)
def test_tick__in_trouble__is_tried_again_within_its_minute(trouble: TickOutcome) -> None:
    pipeline = SlowPipeline(trouble, trouble, TickOutcome.PREDICTED)
    pipeline.let_go.set()
    service_of(pipeline)._tick_until_done(FEED)
    assert pipeline.ticks == 3


def test_tick__after_the_clock_was_set_back__is_for_the_minute_that_it_shows_now() -> None:
    """It does not wait until the clock shows again what it once did."""
    pipeline = SlowPipeline(TickOutcome.PREDICTED, TickOutcome.PREDICTED)
    pipeline.let_go.set()
    service = service_of(pipeline, [500, 500, 5, 5, 5, 6])
    service._tick(FEED)
    service._tick_until_done(FEED)
    assert pipeline.windows == [500, 5]


@pytest.mark.parametrize("first", [TickOutcome.SKIPPED, TickOutcome.PREDICTED], ids=str)
def test_tick__the_next_minute_ends_meanwhile__goes_on_with_that_one(first: TickOutcome) -> None:
    pipeline = SlowPipeline(first, TickOutcome.PREDICTED)
    pipeline.let_go.set()
    asked = [5, 6, 6, 6] if first is TickOutcome.PREDICTED else [5, 6, 6]
    service_of(pipeline, asked)._tick_until_done(FEED)
    assert pipeline.windows == [5, 6]


class CountingPipeline:
    """Proves nothing and counts how often it is asked to."""

    def __init__(self, *outcomes: ProveOutcome) -> None:
        self.feeds: dict[str, None] = {}
        self.outcomes = list(outcomes)
        self.asked = self.attested = self.submitted = self.told = self.stopped = 0
        self.attest_outcome, self.submit_outcome = AttestOutcome.NO_ORACLE, SubmitOutcome.NO_CHAIN
        self.owners_freed = 0

    def free_jobs_of_the_dead(self, is_alive: object) -> None:
        self.owners_freed += 1

    def prove_next(self) -> ProveOutcome:
        self.asked += 1
        return self.outcomes.pop(0) if self.outcomes else ProveOutcome.IDLE

    def attest_next(self) -> AttestOutcome:
        self.attested += 1
        return self.attest_outcome

    def submit_next(self) -> SubmitOutcome:
        self.submitted += 1
        return self.submit_outcome

    def tell(self) -> None:
        self.told += 1

    def stop(self) -> None:
        self.stopped += 1


class Stoppable:
    """A prover, or the pool, that counts how often it is stopped."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.stopped = 0

    def stop(self) -> None:
        self.stopped += 1


def proving_service(pipeline: CountingPipeline, prover: Stoppable, pool: Stoppable, jobs: int = 4) -> Service:
    application: Any = SimpleNamespace(
        pipeline=pipeline, prover=prover, pool=pool, settings=SimpleNamespace(prover_jobs=jobs), roles=EVERY_ROLE
    )
    return Service(application)


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service._IDLE_S", 0.001)


@pytest.mark.parametrize(("number", "asked"), [(0, 1), (1, 1), (2, 0), (3, 0)])
@pytest.mark.usefixtures("_no_pauses")
def test_prove__numbers_beyond_the_slots__wait(number: int, asked: int) -> None:
    pipeline, prover = CountingPipeline(), Stoppable(slots=2)
    proving_service(pipeline, prover, Stoppable())._prove(number)
    assert pipeline.asked == asked


@pytest.mark.usefixtures("_no_pauses")
def test_prove__the_cluster_grows__numbers_that_waited_take_part() -> None:
    pipeline, prover = CountingPipeline(), Stoppable(slots=0)
    service = proving_service(pipeline, prover, Stoppable())
    service._prove(1)
    prover.slots = 2
    service._prove(1)
    assert pipeline.asked == 1


@pytest.mark.usefixtures("_no_pauses")
def test_prove__a_number_beyond_the_slots__does_not_take_the_call_to_work() -> None:
    service = proving_service(CountingPipeline(), Stoppable(slots=1), Stoppable())
    service._work.set()
    service._prove(3)
    assert service._work.is_set()


@pytest.mark.parametrize(
    ("outcome", "called"), [(ProveOutcome.PROVED, True), (ProveOutcome.WILL_RETRY, False), (ProveOutcome.IDLE, False)]
)
@pytest.mark.usefixtures("_no_pauses")
def test_prove__something_proved__calls_for_its_signatures(outcome: ProveOutcome, called: bool) -> None:
    service = proving_service(CountingPipeline(outcome), Stoppable(), Stoppable())
    service._prove(0)
    assert service._proofs.is_set() is called


def test_prove__gathering__looks_again_soon_and_keeps_the_call_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    service = proving_service(CountingPipeline(ProveOutcome.GATHERING), Stoppable(), Stoppable())
    service._work.set()
    waited: list[float] = []
    monkeypatch.setattr(service._stopping, "wait", waited.append)
    service._prove(0)
    assert waited == [0.02]
    assert service._work.is_set()


@pytest.mark.parametrize(
    ("outcome", "called"),
    [(AttestOutcome.ATTESTED, True), (AttestOutcome.SHORT, False), (AttestOutcome.IDLE, False)],
)
@pytest.mark.usefixtures("_no_pauses")
def test_attest__enough_signed__calls_for_the_submission(outcome: AttestOutcome, called: bool) -> None:
    pipeline = CountingPipeline()
    pipeline.attest_outcome = outcome
    service = proving_service(pipeline, Stoppable(), Stoppable())
    service._attest()
    assert service._signatures.is_set() is called


WAITS_FOR_SIGNATURES = {"no-chain", "no-account", "idle", "taken", "pending", "included"}
GOES_ON_AT_ONCE = {
    "not-due",
    "superseded",
    "published-by-others",
    "dry-run",
    "replaced",
    "cancelled",
    "confirmed",
    "reverted",
    "reorged",
    "forgotten",
}


@pytest.mark.parametrize("outcome", SubmitOutcome)
def test_submit__every_outcome__waits_for_signatures_or_a_while_or_goes_on(
    outcome: SubmitOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = CountingPipeline()
    pipeline.submit_outcome = outcome
    service = proving_service(pipeline, Stoppable(), Stoppable())
    waited: list[str] = []
    monkeypatch.setattr(service, "_wait", lambda event: waited.append(f"signatures {event is service._signatures}"))
    monkeypatch.setattr(service._stopping, "wait", lambda seconds: waited.append(f"{seconds:g} s"))
    service._submit()
    expected = "signatures True" if outcome in WAITS_FOR_SIGNATURES else "0.1 s" if outcome == "sent" else "2 s"
    assert waited == ([] if outcome in GOES_ON_AT_ONCE else [expected])


def test_start__on_a_cluster__has_a_thread_for_each_job_it_may_be_given_two_for_the_chain_and_one_to_tell() -> None:
    pipeline, prover, pool = CountingPipeline(), Stoppable(slots=0), Stoppable(slots=1)
    service = proving_service(pipeline, prover, pool, jobs=5)
    service.start()
    running = len(service._threads)
    service.stop()
    assert (running, pipeline.owners_freed) == (8, 1)


def test_start__on_this_machine__has_a_thread_for_each_worker_two_for_the_chain_and_one_to_tell() -> None:
    pool = Stoppable(slots=2)
    service = proving_service(CountingPipeline(), pool, pool, jobs=32)
    service.start()
    running = len(service._threads)
    service.stop()
    assert running == 5


def test_stop__ends_prover_and_pool_and_every_thread_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("_IDLE_S", "_AFTER_FAILURE_S", "_LONGEST_WAIT_S"):
        monkeypatch.setattr(f"app.service.{pause}", 60.0)
    pipeline, prover, pool = CountingPipeline(), Stoppable(slots=1), Stoppable(slots=1)
    service = proving_service(pipeline, prover, pool)
    service.start()
    started = time.perf_counter()
    service.stop()
    assert time.perf_counter() - started < 4  # less than a thread gets that does not end by itself
    assert (prover.stopped, pool.stopped, pipeline.stopped) == (1, 1, 1)
    assert not any(thread.is_alive() for thread in service._threads)
