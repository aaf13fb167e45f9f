"""One forecast, from candles to chain. Read this first.

`tick` runs once a minute and ends with a stored prediction and its proof job; `prove_next`, `attest_next` and
`submit_next` take it from there. Each is idempotent and may run in any number of processes on one database: leases keep
them from doing the same thing twice, and what one of them was killed over, a later call takes up again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from app import tracing
from app.clock import Clock, wall_ms
from app.errors import NotNow, OracleError, StoreUnavailable, WindowIncomplete
from app.features.variation import observe
from app.metrics import Metrics
from app.steps.attest import AttestOutcome, AttestStep
from app.steps.collect import Collected, Collector
from app.steps.judge import JudgeStep
from app.steps.prove import ProofStep, ProveOutcome
from app.steps.publishing import OracleTarget, StepReport, SubmitOutcome
from app.steps.served import ServedFeed
from app.steps.standing import EVERY_ROLE, Market, Role, Said, Standing, TickOutcome, TickReport
from app.steps.subject import about_window, stage
from app.steps.submit import SubmitStep
from app.steps.turns import Turns, ticking
from app.store.database import Database
from app.store.retention import prune_events, prune_predictions
from app.types import DAY_MS, Forecast, Observation, Prediction, Sources, Status, iso, prediction_id

log = logging.getLogger(__name__)

_TELL_EVERY_MS = 10_000
"""So often it is said at least: whoever has not said anything for longer has ended."""
_ATTESTING, _PRUNING = "attest", "prune"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process says of itself to the others, and how long it keeps what it told."""

    owner: str
    """Its name among all processes on the database."""
    market: Market = "live"
    roles: frozenset[Role] = EVERY_ROLE
    prover_process_ids: Callable[[], Sequence[int]] = tuple
    event_retention_ms: int = 7 * DAY_MS
    prediction_retention_ms: int | None = None
    """None keeps them for good."""


class Pipeline:
    def __init__(
        self,
        feeds: Mapping[str, ServedFeed],
        database: Database,
        collector: Collector,
        proofs: ProofStep,
        attestations: AttestStep,
        submissions: SubmitStep,
        judgements: JudgeStep,
        clock: Clock,
        metrics: Metrics,
        identity: Identity,
        turns: Turns,
    ) -> None:
        self.feeds = feeds
        self.last_tick: dict[str, TickReport] = {}
        self._database = database
        self._collector = collector
        self._proofs = proofs
        self._attestations = attestations
        self._submissions = submissions
        self._judgements = judgements
        self._identity = identity
        self._turns = turns
        self._told: Standing | None = None
        self._told_at_ms = 0
        self._clock = clock
        self._metrics = metrics

    def forecast(self, feed: str, window_end_ms: int) -> tuple[Prediction, bool]:
        """Candles → observation → network → stored, with its proof job. Says whether it is new."""
        served, started_ns = self.feeds[feed], time.time_ns()
        known = prediction_id(feed, window_end_ms, served.model.model_id)
        with stage("tick", feed, window_end_ms, [known]):
            with tracing.span("collect"):
                collected = self._collector.window(served, window_end_ms)
            with tracing.span("observe"):
                observation = self._observe(collected, served)
            with tracing.span("infer"):
                forecast = served.network.forecast(observation.values)
            prediction = self._prediction(served, observation, collected.sources, forecast)
            with tracing.span("store"), self._database.unit_of_work() as store:
                added = store.predictions.add(prediction, queued_at_ms=wall_ms())
        if added:
            tracing.stored(known, feed, window_end_ms, started_ns)
        return prediction, added

    def prove_next(self) -> ProveOutcome:
        """Stored prediction → proof, verified → the circuit's own outputs are served."""
        return self._proofs.next()

    def attest_next(self) -> AttestOutcome:
        """Proof → signatures of attesters who have seen its inputs themselves. One process at a time asks them."""
        if not self._turns.take(_ATTESTING):
            return AttestOutcome.TAKEN
        outcome = self._attestations.next()
        if outcome is not AttestOutcome.IDLE:
            self._turns.give_back(_ATTESTING)
        return outcome

    def submit_next(self) -> SubmitOutcome:
        """Signed proof, when it is due → transaction → round of the oracle, followed until it is settled.

        One process at a time sends for an account, and goes on until it ends: nonces come one after the other.
        """
        target = self.target
        if target and target.sender and not self._turns.take(f"send {target.oracle.chain_id} {target.sender.address}"):
            return SubmitOutcome.TAKEN
        return self._submissions.next()

    def judge_next(self, feed: str, window_end_ms: int) -> int:
        """Forecasts whose hours have passed by ``window_end_ms`` meet what the market did; gives how many."""
        return len(self._judgements.next(feed, window_end_ms))

    def free_jobs_of_the_dead(self, is_alive: Callable[[str], bool]) -> None:
        """At start-up: take up at once what processes that have ended since were doing."""
        self._proofs.free_jobs_of_the_dead(is_alive)
        with self._database.unit_of_work() as store:
            for owner in store.leases.owners():
                if not is_alive(owner):
                    store.leases.release_all(owner)

    @property
    def target(self) -> OracleTarget | None:
        return self._submissions.target

    @property
    def last_attest(self) -> StepReport | None:
        return self._attestations.last

    @property
    def last_submit(self) -> StepReport | None:
        return self._submissions.last

    def tell(self) -> None:
        """Write down how everything stands, where that has changed, for the API processes to tell; keep our leases."""
        self._turns.keep()
        standing, now_ms = self.standing(), wall_ms()
        if standing == self._told and now_ms < self._told_at_ms + _TELL_EVERY_MS:
            return
        self._write(standing)
        self._told, self._told_at_ms = standing, now_ms

    def _write(self, standing: Standing) -> None:
        now_ms = wall_ms()
        with self._database.unit_of_work() as store:
            store.standings.put(self._identity.owner, standing.to_json(), now_ms)
            store.standings.forget(now_ms - DAY_MS)

    def standing(self) -> Standing:
        """How everything stands now."""
        sender = self.target.sender if self.target else None
        return Standing(
            ticks=dict(self.last_tick),
            venues={name: fetcher.health for name, fetcher in self._collector.fetchers.items()},
            clock_skew_s=self._collector.skew_s(),
            attesting=Said.of(self.last_attest),
            publishing=Said.of(self.last_submit),
            market=self._identity.market,
            market_speed=self._clock.speed,
            prover_process_ids=tuple(self._identity.prover_process_ids()),
            sender=sender.address if sender else None,
            roles=tuple(role for role in Role if role in self._identity.roles),
            prover_slots=self._proofs.slots if Role.PROVER in self._identity.roles else 0,
        )

    def prune(self) -> None:
        """What is past its retention goes, unless another process sees to that just now."""
        if not self._turns.take(_PRUNING):
            return
        try:
            self._collector.prune()
            prune_events(self._database, wall_ms() - self._identity.event_retention_ms)
            if self._identity.prediction_retention_ms is not None:
                prune_predictions(self._database, self._clock.now_ms() - self._identity.prediction_retention_ms)
        finally:
            self._end_turn(_PRUNING)

    def stop(self) -> None:
        """Answers that are still to come are not waited for."""
        self._collector.stop()
        self._attestations.stop()

    def close(self) -> None:
        """After the last step: other processes need not wait for our leases to lapse, and nobody takes us for alive."""
        ended = replace(self.standing(), roles=(), prover_process_ids=(), prover_slots=0)
        try:
            self._turns.give_all_back()
            if self._told is not None:
                self._write(ended)
        except StoreUnavailable as error:
            log.warning("leases are left to lapse: %s", error)

    def tick(self, feed: str, window_end_ms: int) -> TickOutcome | None:
        """`forecast`, unless that is done, with every way it can end told; none while another process is at it."""
        with about_window(feed, window_end_ms):
            return self._tick_in_turn(feed, window_end_ms)

    def _tick_in_turn(self, feed: str, window_end_ms: int) -> TickOutcome | None:
        turn = ticking(feed)
        try:
            if not self._turns.take(turn):
                return None
        except StoreUnavailable as error:
            self._report(feed, TickOutcome.FAILED, str(error), window_end_ms)
            return TickOutcome.FAILED
        try:
            return self._tick(feed, window_end_ms)
        finally:
            self._end_turn(turn)

    def _tick(self, feed: str, window_end_ms: int) -> TickOutcome:
        outcome, reason, detail = TickOutcome.FAILED, None, "stopped by an unexpected error"
        left_out: Mapping[str, str] = {}
        try:
            prediction, added = self._known(feed, window_end_ms), False
            if prediction is None:
                prediction, added = self.forecast(feed, window_end_ms)
            outcome = TickOutcome.PREDICTED if added else TickOutcome.ALREADY_PREDICTED
            left_out = prediction.sources.left_out
            detail = f"{prediction.regime}, volatility {prediction.vol_annualised:.1%} a year"
        except NotNow as error:
            outcome, reason, detail = TickOutcome.SKIPPED, error.slug(), str(error)
        except OracleError as error:
            detail = str(error)
        finally:
            self._report(feed, outcome, detail, window_end_ms, reason, left_out)
        return outcome

    def _known(self, feed: str, window_end_ms: int) -> Prediction | None:
        served = self.feeds[feed]
        with self._database.unit_of_work(write=False) as store:
            return store.predictions.get(prediction_id(feed, window_end_ms, served.model.model_id))

    def _end_turn(self, turn: str) -> None:
        try:
            self._turns.give_back(turn)
        except OracleError as error:
            log.warning("%s: %s", turn, error)  # it lapses

    def _report(
        self,
        feed: str,
        outcome: TickOutcome,
        detail: str,
        window_end_ms: int,
        reason: str | None = None,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        now_ms = self._clock.now_ms()
        self.last_tick[feed] = TickReport(outcome, reason, detail, window_end_ms, now_ms, left_out or {})
        self._metrics.ticks.labels(feed, outcome).inc()
        if outcome is TickOutcome.PREDICTED:
            self._metrics.window_end_to_stored_seconds.labels(feed).observe((now_ms - window_end_ms) / 1000)
        if reason is not None:
            self._metrics.skipped.labels(feed, reason).inc()
        log.info("%s at %s: %s (%s)", feed, iso(window_end_ms), outcome, detail)

    def _observe(self, collected: Collected, served: ServedFeed) -> Observation:
        """Raises `WindowIncomplete`, with the venues that it was tried without."""
        try:
            return observe(collected.window, served.spec)
        except WindowIncomplete as error:
            without = "; ".join(f"{name}: {words}" for name, words in collected.sources.left_out.items())
            raise WindowIncomplete(f"{error}; without {without}" if without else str(error)) from error

    def _prediction(
        self, served: ServedFeed, observation: Observation, sources: Sources, forecast: Forecast
    ) -> Prediction:
        return Prediction(
            id=prediction_id(served.feed.name, observation.window_end_ms, served.model.model_id),
            feed=served.feed.name,
            window_end_ms=observation.window_end_ms,
            model_id=served.model.model_id,
            status=Status.PREDICTED,
            failure=None,
            regime=forecast.regime,
            p_high=forecast.p_high,
            vol_annualised=forecast.vol_annualised,
            network_outputs=forecast.outputs,
            observation=observation.values,
            quorum=observation.quorum,
            sources=sources,
            candles_sha256=observation.candles_sha256,
            predicted_at_ms=self._clock.now_ms(),
        )
