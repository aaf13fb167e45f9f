"""A stored prediction gets its proof, and from then on the circuit's outputs are served."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.clock import Clock, wall_ms
from app.errors import OutputsDisagree, ProvingFailed
from app.inference.network import dequantise, disagreement, forecast_from
from app.metrics import Metrics
from app.proving.pool import ProverPool
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import Proof, ProofJob, iso

log = logging.getLogger(__name__)


class ProveOutcome(StrEnum):
    IDLE = "idle"
    PROVED = "proved"
    WILL_RETRY = "will-retry"
    DISAGREEMENT = "disagreement"
    LEASE_LOST = "lease-lost"


@dataclass(frozen=True, slots=True)
class ProvingPolicy:
    """A lease outlasts the time limit of the proof it is for, so it lapses only when its holder is gone."""

    owner: str
    lease_ms: int
    max_attempts: int


class ProofStep:
    def __init__(
        self,
        feeds: Mapping[str, ServedFeed],
        database: Database,
        pool: ProverPool,
        clock: Clock,
        metrics: Metrics,
        policy: ProvingPolicy,
    ) -> None:
        self._feeds = feeds
        self._database = database
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._policy = policy
        self._models = [served.model.model_id for served in feeds.values()]

    def next(self) -> ProveOutcome:
        """Prove the newest window that waits, and serve what the circuit says from then on."""
        policy = self._policy
        with self._database.unit_of_work() as store:
            job = store.jobs.lease(policy.owner, wall_ms(), policy.lease_ms, policy.max_attempts, self._models)
        if job is None:
            return ProveOutcome.IDLE
        outcome = ProveOutcome.WILL_RETRY
        try:
            proof = self._pool.prove(self._served(job).keys, job.observation)
            outcome = self._record_proof(job, proof)
        except OutputsDisagree as error:
            outcome = ProveOutcome.DISAGREEMENT
            self._metrics.disagreements.labels(job.feed).inc()
            log.error("%s at %s: %s", job.feed, iso(job.window_end_ms), error)
            with self._database.unit_of_work() as store:
                store.jobs.give_up(job.prediction_id, policy.owner, str(error))
        except ProvingFailed as error:
            log.warning("%s at %s, attempt %d: %s", job.feed, iso(job.window_end_ms), job.attempt, error)
            with self._database.unit_of_work() as store:
                store.jobs.retry(job.prediction_id, policy.owner, str(error), wall_ms())
        finally:
            self._metrics.proofs.labels(outcome).inc()
        return outcome

    def free_jobs_of_the_dead(self, is_alive: Callable[[str], bool]) -> None:
        """At start-up: take up at once what a process of this machine was working on when it ended."""
        with self._database.unit_of_work() as store:
            for owner in store.jobs.owners():
                if not is_alive(owner):
                    freed = store.jobs.free(owner)
                    log.info("taking up %d unfinished proof(s) of %s", freed, owner)

    def _served(self, job: ProofJob) -> ServedFeed:
        served = self._feeds.get(job.feed)
        if served is None or served.model.model_id != job.model_id:
            raise ProvingFailed(f"model {job.model_id[:16]}… of {job.feed} is not served here")
        return served

    def _record_proof(self, job: ProofJob, proof: Proof) -> ProveOutcome:
        model = self._served(job).model
        outputs = dequantise(proof.instances, model.output_scale)
        off = disagreement(job.network_outputs, outputs, model.tolerance)
        if off > 1:
            raise OutputsDisagree(f"network {job.network_outputs} and circuit {outputs} are {off:.1f} tolerances apart")
        now_ms = self._clock.now_ms()
        with self._database.unit_of_work() as store:
            kept = store.jobs.finish(job.prediction_id, self._policy.owner, proof, forecast_from(outputs), now_ms)
        if not kept:
            return ProveOutcome.LEASE_LOST
        self._metrics.prove_seconds.observe(proof.prove_seconds)
        self._metrics.tick_to_proved_seconds.observe((now_ms - job.window_end_ms) / 1000)
        log.info(
            "%s at %s: proved in %.2f s (witness %.3f s, verify %.3f s)",
            job.feed,
            iso(job.window_end_ms),
            proof.prove_seconds,
            proof.witness_seconds,
            proof.verify_seconds,
        )
        return ProveOutcome.PROVED
