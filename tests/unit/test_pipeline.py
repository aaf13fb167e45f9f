from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.clock import Clock, wall_ms
from app.errors import NoQuorum, StoreUnavailable
from app.features.variation import CANDLES_NEEDED, observe
from app.metrics import Metrics
from app.pipeline import Identity, Pipeline
from app.steps.attest import AttestOutcome, AttestStep
from app.steps.backlog import Backlog
from app.steps.collect import Collector
from app.steps.judge import JudgeStep
from app.steps.prove import ProofStep, ProveOutcome, ProvingPolicy
from app.steps.publishing import PublishingPolicy, SubmitOutcome
from app.steps.served import ServedFeed
from app.steps.standing import TickOutcome, TickReport
from app.steps.submit import SubmitStep
from app.steps.turns import Turns
from app.store.database import Database
from app.types import MINUTE_MS, Candles, Keys, Prediction, Proof, Sources, Status, Window, prediction_id

FEED = "btc-usdt-4h"
Venue = Any


class HonestPool:
    """Proves at once what the network itself says."""

    slots = 1

    def __init__(self, served: ServedFeed, make_proof: Callable[..., Proof]) -> None:
        self._served = served
        self._make_proof = make_proof

    def prove(self, keys: Keys, observation: Sequence[int]) -> Proof:
        outputs = self._served.network.forecast(observation).outputs
        return self._make_proof(instances=tuple(round(v * 2**self._served.model.output_scale) for v in outputs))


@pytest.fixture
def venue(make_venue: Callable[..., Venue], make_candles: Callable[..., Candles], window_end_ms: int) -> Venue:
    """The week of the window and the minute after it."""
    return make_venue(make_candles(CANDLES_NEEDED + 1, end_ms=window_end_ms + MINUTE_MS))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock(window_end_ms: int) -> Clock:
    """Stands still a second after the window's end."""
    return Clock(market_start_ms=window_end_ms + 1_000, speed=0)


@pytest.fixture
def make_pipeline(
    sqlite_database: Database,
    serve: Callable[..., ServedFeed],
    make_proof: Callable[..., Proof],
    clock: Clock,
    metrics: Metrics,
    collect_from: Callable[..., Collector],
) -> Callable[..., Pipeline]:
    def make(*venues: Venue, owner: str = "host:1") -> Pipeline:
        served = serve(*venues)
        pool: Any = HonestPool(served, make_proof)
        policy = ProvingPolicy(owner="host:1", lease_ms=35_000, max_attempts=3)
        return Pipeline(
            feeds={FEED: served},
            database=sqlite_database,
            collector=collect_from(*venues, clock=clock, metrics=metrics),
            proofs=ProofStep({FEED: served}, sqlite_database, pool, clock, metrics, policy, Backlog(600, 1 / 60, 1)),
            attestations=AttestStep([FEED], sqlite_database, clock, metrics, None),
            submissions=SubmitStep([FEED], sqlite_database, clock, metrics, None, PublishingPolicy(60_000, 0.05)),
            judgements=JudgeStep({FEED: served}, sqlite_database, clock, metrics),
            clock=clock,
            metrics=metrics,
            identity=Identity("host:1"),
            turns=Turns(sqlite_database, owner, clock),
        )

    return make


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline], venue: Venue) -> Pipeline:
    return make_pipeline(venue)


@pytest.fixture
def outage(venue: Venue) -> Venue:
    venue.fails_at_page = 1
    return venue


def latest(database: Database, *, proved: bool = False) -> Prediction | None:
    with database.unit_of_work(write=False) as store:
        return store.predictions.latest(FEED, proved=proved)


def counted(metrics: Metrics, outcome: TickOutcome) -> float | None:
    return metrics.registry.get_sample_value("veriregime_ticks_total", {"feed": FEED, "outcome": outcome})


def test_tick__candles_are_there__is_predicted(pipeline: Pipeline, window_end_ms: int) -> None:
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.PREDICTED


def test_tick__predicted__stores_what_the_network_says_of_the_observation(
    pipeline: Pipeline, venue: Venue, sqlite_database: Database, clock: Clock, window_end_ms: int
) -> None:
    pipeline.tick(FEED, window_end_ms)
    served = pipeline.feeds[FEED]
    week = venue.candles.between(window_end_ms - CANDLES_NEEDED * MINUTE_MS, window_end_ms)
    observation = observe(Window(served.feed, window_end_ms, {"binance": week}), served.spec)
    forecast = served.network.forecast(observation.values)
    with sqlite_database.unit_of_work(write=False) as store:
        as_of = store.candles.seq()
    assert latest(sqlite_database) == Prediction(
        id=prediction_id(FEED, window_end_ms, served.model.model_id),
        feed=FEED,
        window_end_ms=window_end_ms,
        model_id=served.model.model_id,
        status=Status.PREDICTED,
        failure=None,
        regime=forecast.regime,
        p_high=forecast.p_high,
        vol_annualised=forecast.vol_annualised,
        network_outputs=forecast.outputs,
        observation=observation.values,
        quorum=1,
        sources=Sources(markets={"binance": "BTC/USDT"}, left_out={}, as_of=as_of),
        candles_sha256=observation.candles_sha256,
        predicted_at_ms=clock.now_ms(),
    )


def test_tick__predicted__reports_regime_and_volatility(
    pipeline: Pipeline, sqlite_database: Database, clock: Clock, window_end_ms: int
) -> None:
    pipeline.tick(FEED, window_end_ms)
    stored = latest(sqlite_database)
    assert stored is not None
    assert pipeline.last_tick[FEED] == TickReport(
        outcome=TickOutcome.PREDICTED,
        reason=None,
        detail=f"{stored.regime}, volatility {stored.vol_annualised:.1%} a year",
        window_end_ms=window_end_ms,
        at_ms=clock.now_ms(),
        left_out={},
    )


def test_tick__the_same_window_again__is_already_predicted(pipeline: Pipeline, window_end_ms: int) -> None:
    outcomes = [pipeline.tick(FEED, window_end_ms) for _ in range(2)]
    assert outcomes == [TickOutcome.PREDICTED, TickOutcome.ALREADY_PREDICTED]


def test_tick__the_same_window_in_another_process__is_already_predicted(
    make_pipeline: Callable[..., Pipeline], venue: Venue, window_end_ms: int
) -> None:
    outcomes = [make_pipeline(venue).tick(FEED, window_end_ms) for _ in range(2)]
    assert outcomes == [TickOutcome.PREDICTED, TickOutcome.ALREADY_PREDICTED]


def test_tick__the_next_minute__is_another_prediction(pipeline: Pipeline, window_end_ms: int) -> None:
    pipeline.tick(FEED, window_end_ms - MINUTE_MS)
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.PREDICTED


@pytest.mark.usefixtures("outage")
def test_tick__venue_away__says_why_and_stores_nothing(
    pipeline: Pipeline, sqlite_database: Database, metrics: Metrics, window_end_ms: int
) -> None:
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.SKIPPED
    assert latest(sqlite_database) is None
    report = pipeline.last_tick[FEED]
    assert (report.reason, "binance: the exchange is down" in report.detail) == ("no-quorum", True)
    labels = {"feed": FEED, "reason": "no-quorum"}
    assert metrics.registry.get_sample_value("veriregime_ticks_skipped_total", labels) == 1


def test_tick__venue_back_again__is_predicted(
    pipeline: Pipeline, outage: Venue, window_end_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.tick(FEED, window_end_ms)
    outage.fails_at_page = None
    monkeypatch.setattr("app.steps.fetch.wall_ms", lambda: wall_ms() + 1_000)
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.PREDICTED


def test_tick__last_minute_missing__is_skipped(pipeline: Pipeline, venue: Venue, window_end_ms: int) -> None:
    venue.hidden = {window_end_ms - MINUTE_MS}
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.SKIPPED
    assert pipeline.last_tick[FEED].reason == "no-quorum"


def test_tick__incomplete__stores_nothing(
    pipeline: Pipeline, venue: Venue, sqlite_database: Database, window_end_ms: int
) -> None:
    venue.hidden = set(range(window_end_ms - 60 * MINUTE_MS, window_end_ms - 5 * MINUTE_MS, MINUTE_MS))
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.SKIPPED
    assert pipeline.last_tick[FEED].reason == "window-incomplete"
    assert latest(sqlite_database) is None


def test_tick__another_error_of_ours__is_failed_with_its_words(
    pipeline: Pipeline, outage: Venue, window_end_ms: int
) -> None:
    outage.error = StoreUnavailable("the disk is full")
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.FAILED
    assert pipeline.last_tick[FEED].detail == "the disk is full"


def test_tick__unexpected_error__comes_out_and_is_reported_as_failed(
    pipeline: Pipeline, outage: Venue, window_end_ms: int
) -> None:
    outage.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        pipeline.tick(FEED, window_end_ms)
    report = pipeline.last_tick[FEED]
    assert (report.outcome, report.detail) == (TickOutcome.FAILED, "stopped by an unexpected error")


def test_tick__every_end__is_counted(pipeline: Pipeline, venue: Venue, metrics: Metrics, window_end_ms: int) -> None:
    venue.hidden = {window_end_ms - MINUTE_MS}
    pipeline.tick(FEED, window_end_ms)
    venue.hidden = set()
    pipeline.tick(FEED, window_end_ms)
    assert [counted(metrics, outcome) for outcome in (TickOutcome.SKIPPED, TickOutcome.PREDICTED)] == [1, 1]


def test_tick__one_of_two_venues_away__is_predicted_from_the_other(
    make_pipeline: Callable[..., Pipeline], make_venue: Callable[..., Venue], venue: Venue, window_end_ms: int
) -> None:
    away = make_venue(venue.candles, name="kraken")
    away.fails_at_page = 1
    assert make_pipeline(venue, away).tick(FEED, window_end_ms) is TickOutcome.PREDICTED


def test_forecast__once_more__is_the_same_and_not_new(pipeline: Pipeline, window_end_ms: int) -> None:
    (first, was_new), (second, is_new) = (pipeline.forecast(FEED, window_end_ms) for _ in range(2))
    assert (first, was_new, is_new) == (second, True, False)


@pytest.mark.usefixtures("outage")
def test_forecast__venue_away__raises(pipeline: Pipeline, window_end_ms: int) -> None:
    with pytest.raises(NoQuorum):
        pipeline.forecast(FEED, window_end_ms)


def test_prove_next__after_a_tick__makes_it_the_served_forecast(
    pipeline: Pipeline, sqlite_database: Database, window_end_ms: int
) -> None:
    prediction, _ = pipeline.forecast(FEED, window_end_ms)
    assert pipeline.prove_next() is ProveOutcome.PROVED
    served = latest(sqlite_database, proved=True)
    assert served is not None
    assert (served.id, served.status) == (prediction.id, Status.PROVED)


def test_tick__window_proved_already__leaves_the_proved_forecast_as_it_is(
    pipeline: Pipeline, sqlite_database: Database, window_end_ms: int
) -> None:
    pipeline.tick(FEED, window_end_ms)
    pipeline.prove_next()
    proved = latest(sqlite_database, proved=True)
    pipeline.tick(FEED, window_end_ms)
    assert latest(sqlite_database, proved=True) == proved
    assert pipeline.prove_next() is ProveOutcome.IDLE


def test_next__no_chain__neither_asks_for_signatures_nor_submits(pipeline: Pipeline, window_end_ms: int) -> None:
    pipeline.tick(FEED, window_end_ms)
    pipeline.prove_next()
    assert (pipeline.attest_next(), pipeline.submit_next()) == (AttestOutcome.NO_ORACLE, SubmitOutcome.NO_CHAIN)
    assert (pipeline.target, pipeline.last_attest, pipeline.last_submit) == (None, None, None)


def test_tick__while_another_process_is_at_it__is_left_to_that_one(
    make_pipeline: Callable[..., Pipeline], venue: Venue, sqlite_database: Database, window_end_ms: int
) -> None:
    with sqlite_database.unit_of_work() as store:
        store.leases.take(f"tick {FEED}", "host:2", wall_ms(), 10_000)
    pipeline = make_pipeline(venue)
    assert pipeline.tick(FEED, window_end_ms) is None
    assert (venue.asked, pipeline.last_tick) == ([], {})


def test_tick__of_a_window_that_another_process_has_forecast__asks_no_venue(
    make_pipeline: Callable[..., Pipeline], venue: Venue, make_venue: Callable[..., Venue], window_end_ms: int
) -> None:
    make_pipeline(venue).tick(FEED, window_end_ms)
    unasked = make_venue(venue.candles, "binance")
    assert make_pipeline(unasked, owner="host:2").tick(FEED, window_end_ms) is TickOutcome.ALREADY_PREDICTED
    assert unasked.asked == []


def test_tick__however_it_ends__lets_other_processes_try(
    pipeline: Pipeline, outage: Venue, sqlite_database: Database, window_end_ms: int
) -> None:
    assert pipeline.tick(FEED, window_end_ms) is TickOutcome.SKIPPED
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.leases.owners() == []


def test_attest__while_another_process_asks__is_left_to_that_one(pipeline: Pipeline, sqlite_database: Database) -> None:
    with sqlite_database.unit_of_work() as store:
        store.leases.take("attest", "host:2", wall_ms(), 10_000)
    assert pipeline.attest_next() is AttestOutcome.TAKEN


def test_free_jobs_of_the_dead__leases_of_a_process_that_ended__are_free(
    pipeline: Pipeline, sqlite_database: Database
) -> None:
    with sqlite_database.unit_of_work() as store:
        store.leases.take("attest", "host:2", wall_ms(), 10_000)
        store.leases.take("prune", "elsewhere:3", wall_ms(), 60_000)
    pipeline.free_jobs_of_the_dead(lambda owner: owner != "host:2")
    with sqlite_database.unit_of_work(write=False) as store:
        assert store.leases.owners() == ["elsewhere:3"]


def test_close__tells_others_that_it_is_no_longer_at_work(pipeline: Pipeline, sqlite_database: Database) -> None:
    pipeline.tell()
    pipeline.close()
    with sqlite_database.unit_of_work(write=False) as store:
        told = store.standings.newest()
    assert told is not None
    assert told[1]["roles"] == []
