"""A proof gets its signatures: every attester is asked at once, and as many as the oracle wants are enough."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app import logs
from app.chain.account import Account
from app.chain.attestation import sign
from app.chain.registry import OracleReader, Panel
from app.clock import Clock, wall_ms
from app.errors import AlreadySigned, ChainError, OracleError, StoreUnavailable
from app.metrics import Metrics
from app.steps.attester_client import OWN, Answer, Question
from app.steps.publishing import StepReport
from app.steps.subject import stage
from app.steps.update import claim_of
from app.store.attestations import enough
from app.store.database import Database
from app.store.repository import Store
from app.types import (
    Attestation,
    AttestationOutcome,
    OracleAt,
    Prediction,
    PredictionId,
    Proof,
    Status,
    iso,
)

log = logging.getLogger(__name__)

_ASK_AGAIN_MS = 5_000
_LOOK_S = 0.2
"""How soon a round of questions notices that the process is to end."""
_SETTLED = (AttestationOutcome.SIGNED, AttestationOutcome.REFUSED, AttestationOutcome.INVALID)


class AttestOutcome(StrEnum):
    NO_ORACLE = "no-oracle"
    IDLE = "idle"
    TAKEN = "taken"
    """Another process asks."""
    ATTESTED = "attested"
    SHORT = "short"
    CHAIN_UNAVAILABLE = "chain-unavailable"


class Attester(Protocol):
    """`app.steps.attester_client.AttesterClient`, or the service's own key."""

    @property
    def name(self) -> str:
        """What its answers are stored under; without a password."""

    @property
    def host(self) -> str:
        """Its label in the metrics."""

    def ask(self, question: Question) -> Answer:
        """Its checked answer; never raises."""


class OwnAttester:
    """The service's own key: it vouches for what the service observed, and keeps the same journal as any attester."""

    name = host = OWN

    def __init__(self, database: Database, account: Account) -> None:
        self.account = account
        self._database = database

    def ask(self, question: Question) -> Answer:
        try:
            with self._database.unit_of_work(durable=True) as store:
                store.signed_commitments.bind(question.claim, wall_ms())
        except AlreadySigned as error:
            return Answer(AttestationOutcome.REFUSED, None, f"already-signed: {error}")
        except OracleError as error:
            return Answer(AttestationOutcome.UNREACHABLE, None, str(error))
        return Answer(AttestationOutcome.SIGNED, sign(self.account, question.oracle, question.claim), None)


@dataclass(frozen=True, slots=True)
class _Work:
    """A prediction that lacks signatures, and the attesters that may still give one."""

    prediction: Prediction
    question: Question
    recorded_for: tuple[PredictionId, ...]
    """All predictions whose proof this is."""
    attesters: tuple[Attester, ...]
    signed_by: frozenset[str]


class AttestStep:
    """``reader`` is none where there is no oracle; ``attesters`` are the ones over HTTP and, if any, the own one."""

    def __init__(
        self,
        feeds: Collection[str],
        database: Database,
        clock: Clock,
        metrics: Metrics,
        reader: OracleReader | None,
        attesters: Sequence[Attester] = (),
        *,
        time_limit_s: float = 10,
    ) -> None:
        self.last: StepReport | None = None
        self._feeds = tuple(feeds)
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._reader = reader
        self._attesters = tuple({attester.name: attester for attester in attesters}.values())
        self._time_limit_s = time_limit_s
        self._alarmed: tuple[str, str] | None = None
        self.stopped = False

    def next(self) -> AttestOutcome:
        """Signatures for the newest proved prediction of a feed that lacks them."""
        if self._reader is None:
            return AttestOutcome.NO_ORACLE
        try:
            panel, oracle = self._reader.panel(), self._reader.oracle
            since_ms = self._clock.now_ms() - 1000 * self._reader.submission_limit_s()
        except ChainError as error:
            log.warning("chain: %s", error)
            return self._ended(AttestOutcome.CHAIN_UNAVAILABLE, str(error))
        with self._database.unit_of_work(write=False) as store:
            work = self._work(store, oracle, panel, since_ms)
        if work is None:
            return AttestOutcome.IDLE
        prediction = work.prediction
        others = [one for one in work.recorded_for if one != prediction.id]
        with stage("attest", prediction.feed, prediction.window_end_ms, [prediction.id, *others]):
            _Round(self, work, oracle, panel).run(self._time_limit_s)
            return self._outcome(work, oracle, panel)

    def stop(self) -> None:
        """Answers that are still to come are not recorded any more."""
        self.stopped = True

    def _work(self, store: Store, oracle: OracleAt, panel: Panel, since_ms: int) -> _Work | None:
        for prediction_id in store.attestations.newest_proved(self._feeds, since_ms):
            answers = store.attestations.of(prediction_id, oracle)
            signed_by = frozenset(a.signature.signer for a in answers if a.signature) & set(panel.signers)
            done = {a.attester for a in answers if a.outcome in _SETTLED or a.at_ms > wall_ms() - _ASK_AGAIN_MS}
            left = tuple(attester for attester in self._attesters if attester.name not in done)
            if len(signed_by) >= panel.threshold or (self._attesters and not left):
                continue
            work = self._question(store, prediction_id, oracle, left, signed_by)
            if work is not None:
                return work
        return None

    def _question(
        self,
        store: Store,
        prediction_id: PredictionId,
        oracle: OracleAt,
        attesters: tuple[Attester, ...],
        signed_by: frozenset[str],
    ) -> _Work | None:
        """None for a proof that holds a window which must not be published."""
        prediction, found = store.predictions.get(prediction_id), store.predictions.proof(prediction_id)
        if prediction is None or found is None:
            return None
        members = _members(store, prediction, found[0])
        if any(member is None or member.status is Status.FAILED for member in members):
            return None
        return _Work(
            prediction=prediction,
            question=Question(
                oracle=oracle,
                claim=claim_of(store, prediction, found[0]),
                observations=tuple(member.observation for member in members if member),
            ),
            recorded_for=tuple(store.predictions.proved_with(prediction_id)),
            attesters=attesters,
            signed_by=signed_by,
        )

    def _outcome(self, work: _Work, oracle: OracleAt, panel: Panel) -> AttestOutcome:
        with self._database.unit_of_work(write=False) as store:
            answers = store.attestations.of(work.prediction.id, oracle)
        signatures = enough(answers, panel.threshold, panel.signers)
        where = f"{work.prediction.feed} at {iso(work.prediction.window_end_ms)}"
        if signatures:
            signers = ", ".join(signature.signer for signature in signatures)
            log.info("%s: attested by %s", where, signers)
            return self._ended(AttestOutcome.ATTESTED, f"{where}: {signers}")
        said = "; ".join(_told(answer) for answer in answers) or "there is no attester: see VERIREGIME_ATTESTERS"
        if self._alarmed != (work.prediction.id, said):
            self._alarmed = (work.prediction.id, said)
            log.error("ALARM: %s: fewer than %d signatures: %s", where, panel.threshold, said)
        return self._ended(AttestOutcome.SHORT, f"{where}: fewer than {panel.threshold} signatures: {said}")

    def _ended(self, outcome: AttestOutcome, detail: str) -> AttestOutcome:
        self.last = StepReport(outcome, detail, self._clock.now_ms())
        return outcome

    def record(self, work: _Work, oracle: OracleAt, panel: Panel, attester: Attester, answer: Answer) -> Answer:
        """Store, count and log one answer; gives it as it counts."""
        if self.stopped:
            return answer
        signer = answer.signature.signer if answer.signature else None
        if signer is not None and signer not in panel.signers:
            answer = Answer(AttestationOutcome.INVALID, None, f"{signer} is not an attester of the oracle")
        rows = [
            Attestation(
                prediction_id=prediction_id,
                attester=attester.name,
                outcome=answer.outcome,
                signature=answer.signature,
                reason=answer.reason,
                at_ms=wall_ms(),
            )
            for prediction_id in work.recorded_for
        ]
        with self._database.unit_of_work() as store:
            store.attestations.record(rows, oracle)
        self._metrics.attestations.labels(attester.host, answer.outcome).inc()
        if answer.outcome is not AttestationOutcome.SIGNED:
            where = f"{work.prediction.feed} at {iso(work.prediction.window_end_ms)}"
            log.warning("%s: attester %s", where, _told(rows[0]))
        return answer


class _Round:
    """One question to several attesters at once, over when enough have signed or the time is up.

    An answer that comes later is still recorded, by the thread that waited for it.
    """

    def __init__(self, step: AttestStep, work: _Work, oracle: OracleAt, panel: Panel) -> None:
        self._step = step
        self._work = work
        self._oracle = oracle
        self._panel = panel
        self._answers: queue.SimpleQueue[tuple[Attester, Answer]] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._over = False

    def run(self, time_limit_s: float) -> None:
        give_up = time.monotonic() + time_limit_s
        for attester in self._work.attesters:
            threading.Thread(target=logs.carried(self._ask), args=(attester,), daemon=True).start()
        waiting = {attester.name: attester for attester in self._work.attesters}
        signers = set(self._work.signed_by)
        while waiting and len(signers) < self._panel.threshold and not self._step.stopped:
            left_s = give_up - time.monotonic()
            try:
                attester, answer = self._answers.get(timeout=max(0.0, min(_LOOK_S, left_s)))
            except queue.Empty:
                if left_s > _LOOK_S:
                    continue
                break
            del waiting[attester.name]
            counted = self._record(attester, answer)
            if counted.signature:
                signers.add(counted.signature.signer)
        self._end(waiting, in_time=len(signers) >= self._panel.threshold, time_limit_s=time_limit_s)

    def _end(self, waiting: dict[str, Attester], *, in_time: bool, time_limit_s: float) -> None:
        with self._guard:
            self._over = True
        while not self._answers.empty():  # came between the last look and the end
            attester, answer = self._answers.get()
            del waiting[attester.name]
            self._record(attester, answer)
        if not in_time:
            late = Answer(AttestationOutcome.UNREACHABLE, None, f"no answer within {time_limit_s:g} s")
            for attester in waiting.values():
                self._record(attester, late)

    def _ask(self, attester: Attester) -> None:
        try:
            answer = attester.ask(self._work.question)
            with self._guard:
                if not self._over:
                    self._answers.put((attester, answer))
                    return
            self._record(attester, answer)
        except StoreUnavailable as error:
            log.warning("the answer of attester %s is lost: %s", attester.name, error)
        except Exception:  # in a thread of its own nobody else would hear of it
            log.exception("asking attester %s met a bug", attester.name)

    def _record(self, attester: Attester, answer: Answer) -> Answer:
        return self._step.record(self._work, self._oracle, self._panel, attester, answer)


def _members(store: Store, prediction: Prediction, proof: Proof) -> list[Prediction | None]:
    """The predictions whose windows the proof proves, in the order of its places."""
    if not proof.members:
        return [prediction]
    return [store.predictions.get(member) for member in proof.members if member is not None]


def _told(answer: Attestation) -> str:
    words = f"{answer.attester} {answer.outcome}"
    return f"{words} ({answer.reason})" if answer.reason else words
