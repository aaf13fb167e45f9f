"""A stored prediction gets its proof, and from then on the circuit's outputs are served."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from app.clock import Clock, wall_ms
from app.errors import OutputsDisagree, ProofTimedOut, ProverDied, ProverOutOfMemory, ProverUnavailable, ProvingFailed
from app.inference.network import dequantise, disagreement, forecast_from
from app.metrics import Metrics
from app.proving.checked import Prover
from app.steps.backlog import Backlog
from app.steps.disagreement import keep_for_study
from app.steps.served import ServedFeed
from app.steps.subject import about_window, stage
from app.store.database import Database
from app.store.repository import Store
from app.types import Attempt, AttemptOutcome, ModelId, Prediction, PredictionId, Proof, ProofJob, iso

log = logging.getLogger(__name__)

_SHED_EVERY_S = 5.0
_HEARD_OF_MS = 30_000
_GATHER_MS = 400
"""How long the first window of a minute waits for those of the other feeds, where they are proved together."""
_JOINT_AGAINST_SINGLE = 9.0
"""A joint proof takes as long as so many single ones (docs/circuit-search.md), until it is measured here."""
_OUTCOMES: tuple[tuple[type[ProvingFailed], AttemptOutcome], ...] = (
    (OutputsDisagree, AttemptOutcome.DISAGREED),
    (ProofTimedOut, AttemptOutcome.TIMED_OUT),
    (ProverOutOfMemory, AttemptOutcome.OUT_OF_MEMORY),
    (ProverDied, AttemptOutcome.DIED),
    (ProverUnavailable, AttemptOutcome.UNAVAILABLE),
)


class ProveOutcome(StrEnum):
    IDLE = "idle"
    GATHERING = "gathering"
    PROVED = "proved"
    WILL_RETRY = "will-retry"
    DISAGREEMENT = "disagreement"
    LEASE_LOST = "lease-lost"


@dataclass(frozen=True, slots=True)
class ProvingPolicy:
    """A lease outlasts the time limit of the proof it is for, so it lapses only when its holder is gone.

    ``saves_gas``: whether proofs go to a chain where a joint one costs less than two.
    """

    owner: str
    lease_ms: int
    max_attempts: int
    batching: Literal["auto", "off", "always"] = "off"
    saves_gas: bool = False


class ProofStep:
    def __init__(
        self,
        feeds: Mapping[str, ServedFeed],
        database: Database,
        prover: Prover,
        clock: Clock,
        metrics: Metrics,
        policy: ProvingPolicy,
        backlog: Backlog,
        due: Callable[[Prediction], bool] = lambda _: True,
    ) -> None:
        """``due`` says whether a forecast would go on chain: only there a joint proof saves anything but time."""
        self._feeds = feeds
        self._database = database
        self._prover = prover
        self._clock = clock
        self._metrics = metrics
        self._policy = policy
        self._backlog = backlog
        self._due = due
        self._models = Counter(served.model.model_id for served in feeds.values())
        self._shed_next = 0.0
        self._shedding = threading.Lock()

    @property
    def slots(self) -> int:
        return self._prover.slots

    def next(self) -> ProveOutcome:
        """Prove the newest window that waits, or the newest of several feeds together."""
        if self._prover.slots == 0:  # a cluster without workers: the jobs wait for them
            return ProveOutcome.IDLE
        self._shed_when_due()
        jobs = self._lease()
        if not isinstance(jobs, list):
            return jobs
        started = time.perf_counter()
        outcome = ProveOutcome.WILL_RETRY
        try:
            with stage("prove", jobs[0].feed, jobs[0].window_end_ms, [job.prediction_id for job in jobs]):
                proof = self._prove(jobs)
                outcome = self._record(jobs, proof)
        except ProvingFailed as error:
            self._hand_back(jobs, error)
        finally:
            self._metrics.proofs.labels(outcome).inc()
            self._backlog.add(time.perf_counter() - started, joint=len(jobs) > 1)
        return outcome

    def free_jobs_of_the_dead(self, is_alive: Callable[[str], bool]) -> None:
        """At start-up: take up at once what a process of this machine was working on when it ended."""
        with self._database.unit_of_work() as store:
            for owner in store.jobs.owners():
                if not is_alive(owner):
                    freed = store.jobs.free(owner)
                    log.info("taking up %d unfinished proof(s) of %s", freed, owner)

    def _lease(self) -> list[ProofJob] | ProveOutcome:
        policy, now_ms, mine = self._policy, wall_ms(), list(self._feeds)
        for model in self._models:
            jobs = self._lease_together(model, now_ms)
            if jobs:
                return jobs
        with self._database.unit_of_work() as store:
            job = store.jobs.lease(policy.owner, now_ms, policy.lease_ms, policy.max_attempts, list(self._models), mine)
        return ProveOutcome.IDLE if job is None else [job]

    def _lease_together(self, model: ModelId, now_ms: int) -> list[ProofJob] | ProveOutcome | None:
        """The newest minute's windows of a model where one proof of them all wins; the last of them are waited for."""
        policy, mine = self._policy, list(self._feeds)
        keys = next(served.batch_keys for served in self._feeds.values() if served.model.model_id == model)
        if keys is None or policy.batching == "off":
            return None
        most = keys.circuit.windows
        expected = min(self._models[model], most)
        with self._database.unit_of_work() as store:
            waiting, since_ms = store.jobs.gathering(model, mine) or ([], now_ms)
            missing = 0 if now_ms - since_ms >= _GATHER_MS else max(0, expected - len(waiting))
            least = self._least(store, waiting, missing)
            if not waiting or not 2 <= least <= expected:
                return None
            if missing:
                return ProveOutcome.GATHERING
            return store.jobs.lease_together(policy.owner, now_ms, policy.lease_ms, model, mine, least=least, most=most)

    def _least(self, store: Store, waiting: list[PredictionId], missing: int) -> int:
        """From how many windows on a joint proof wins: by the gas of those that go on chain, or by its time."""
        if self._policy.batching == "always":
            return 2
        if self._policy.saves_gas and self._backlog.joint_keeps_up(self._prover.slots):
            predictions = (store.predictions.get(one) for one in waiting)
            if sum(self._due(one) for one in predictions if one) + missing >= 2:
                return 2
        single, joint = self._backlog.seconds(joint=False), self._backlog.seconds(joint=True)
        ratio = joint / single if single and joint else _JOINT_AGAINST_SINGLE
        return max(2, math.ceil(ratio * max(1, self._prover.slots)))

    def _prove(self, jobs: list[ProofJob]) -> Proof:
        served = self._served(jobs[0])
        if len(jobs) == 1:
            return self._prover.prove(served.keys, jobs[0].observation)
        assert served.batch_keys is not None  # noqa: S101  `_together` found them
        empty = served.batch_keys.circuit.windows - len(jobs)
        values = [value for job in jobs for value in job.observation] + [0] * (empty * len(jobs[0].observation))
        proof = self._prover.prove(served.batch_keys, values)
        return replace(proof, members=(*(job.prediction_id for job in jobs), *[None] * empty))

    def _served(self, job: ProofJob) -> ServedFeed:
        served = self._feeds.get(job.feed)
        if served is None or served.model.model_id != job.model_id:
            raise ProvingFailed(f"model {job.model_id[:16]}… of {job.feed} is not served here")
        return served

    def _record(self, jobs: list[ProofJob], proof: Proof) -> ProveOutcome:
        """All windows of the proof in one transaction; the worst outcome is the outcome."""
        now_ms = self._clock.now_ms()
        with self._database.unit_of_work() as store:
            outcomes = [
                self._record_window(store, job, replace(proof, slot=slot), len(jobs), now_ms)
                for slot, job in enumerate(jobs)
            ]
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome is ProveOutcome.DISAGREEMENT:
                self._metrics.disagreements.labels(job.feed).inc()
            if outcome is ProveOutcome.PROVED:
                with about_window(job.feed, job.window_end_ms, job.prediction_id):
                    self._observe(job, proof, now_ms)
        return next(
            (worst for worst in (ProveOutcome.DISAGREEMENT, ProveOutcome.LEASE_LOST) if worst in outcomes),
            ProveOutcome.PROVED,
        )

    def _record_window(self, store: Store, job: ProofJob, proof: Proof, windows: int, now_ms: int) -> ProveOutcome:
        served, owner = self._served(job), self._policy.owner
        outputs = dequantise(proof.outputs, served.model.output_scale)
        off = disagreement(job.network_outputs, outputs, served.model.tolerance)
        if off > 1:
            error = OutputsDisagree(
                f"network {job.network_outputs} and circuit {outputs} are {off:.1f} tolerances apart"
            )
            log.error("ALARM: %s at %s: %s", job.feed, iso(job.window_end_ms), error)
            if store.jobs.give_up(job.prediction_id, owner, str(error)):
                keep_for_study(store, served, job, proof, str(error))
                store.attempts.add(self._attempt(job, windows, error=error, proof=proof))
            return ProveOutcome.DISAGREEMENT
        if not store.jobs.finish(job.prediction_id, owner, proof, forecast_from(outputs), now_ms):
            return ProveOutcome.LEASE_LOST
        store.attempts.add(self._attempt(job, windows, proof=proof))
        return ProveOutcome.PROVED

    def _hand_back(self, jobs: list[ProofJob], error: ProvingFailed) -> None:
        """For another attempt; one that never reached a prover does not count."""
        tried = not isinstance(error, ProverUnavailable)
        with self._database.unit_of_work() as store:
            for job in jobs:
                with about_window(job.feed, job.window_end_ms, job.prediction_id):
                    log.warning("%s at %s, attempt %d: %s", job.feed, iso(job.window_end_ms), job.attempt, error)
                if store.jobs.retry(job.prediction_id, self._policy.owner, str(error), wall_ms(), counts=tried):
                    store.attempts.add(self._attempt(job, len(jobs), error=error))

    def _attempt(
        self, job: ProofJob, windows: int, *, error: ProvingFailed | None = None, proof: Proof | None = None
    ) -> Attempt:
        outcome = AttemptOutcome.PROVED if error is None else AttemptOutcome.ERROR
        outcome = next((known for kind, known in _OUTCOMES if isinstance(error, kind)), outcome)
        self._metrics.proof_attempts.labels(outcome).inc()
        return Attempt(
            prediction_id=job.prediction_id,
            number=job.attempt,
            outcome=outcome,
            reason=str(error) if error else None,
            owner=self._policy.owner,
            windows=windows,
            queue_seconds=job.queue_seconds,
            witness_seconds=proof.witness_seconds if proof else None,
            prove_seconds=proof.prove_seconds if proof else None,
            verify_seconds=proof.verify_seconds if proof else None,
            at_ms=wall_ms(),
        )

    def _observe(self, job: ProofJob, proof: Proof, now_ms: int) -> None:
        steps = {
            "queue": job.queue_seconds,
            "witness": proof.witness_seconds,
            "prove": proof.prove_seconds,
            "verify": proof.verify_seconds,
        }
        for step, seconds in steps.items():
            if seconds is not None:
                self._metrics.proof_step_seconds.labels(step).observe(seconds)
        self._metrics.tick_to_proved_seconds.observe((now_ms - job.window_end_ms) / 1000)
        log.info(
            "%s at %s: proved in %.2f s (queue %.2f s, witness %.3f s, verify %.3f s)%s",
            job.feed,
            iso(job.window_end_ms),
            proof.prove_seconds,
            job.queue_seconds or 0,
            proof.witness_seconds,
            proof.verify_seconds,
            f", with {sum(member is not None for member in proof.members) - 1} other windows" if proof.members else "",
        )

    def _shed_when_due(self) -> None:
        """Every few seconds: what cannot be caught up with is given up, oldest first, with the reason."""
        with self._shedding:
            if time.monotonic() < self._shed_next:
                return
            self._shed_next = time.monotonic() + _SHED_EVERY_S
        slots = self._prover.slots + self._slots_of_others()
        bearable = self._backlog.bearable(slots)
        if bearable is None:
            return
        keep, seconds = bearable
        reason = (
            f"shed: a window takes {seconds:.2f} s to prove and {slots} are proved at once, so only the newest {keep} "
            "that wait can be caught up with"
        )
        mine = list(self._feeds)
        with self._database.unit_of_work() as store:
            shed = store.jobs.shed(keep, reason, list(self._models), self._policy.owner, wall_ms(), mine)
        if shed:
            self._metrics.shed.inc(shed)
            log.warning("%d windows %s", shed, reason)

    def _slots_of_others(self) -> int:
        """Proofs that other processes on the database make at once, as far as they were heard of lately."""
        with self._database.unit_of_work(write=False) as store:
            told = store.standings.others(self._policy.owner, wall_ms() - _HEARD_OF_MS)
        return sum(int(said.get("prover_slots", 0)) for said in told)
