"""Proof jobs: queued, leased to one process at a time, done or given up.

A lease that lapses is taken up again, so a job outlives whoever worked on it. Only the holder of the lease may finish
a job, so a proof is recorded once. Times here are of the wall clock: a lease is about processes, not about the market.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.store.attempts import insert_attempt
from app.store.events import Events
from app.store.predictions import set_status
from app.store.tables import predictions, proof_jobs, proofs
from app.types import Attempt, AttemptOutcome, EventKind, Forecast, JobState, PredictionId, Proof, ProofJob, Status

_RETRY_PAUSE_MS = 1_000
_FARTHEST = 2
"""Leases: what waits for longer than so many was leased, or put back, by a clock that has been set back since."""
_ALL = 2**31 - 1
"""SQLite takes an OFFSET only after a LIMIT."""


class ProofJobs:
    def __init__(self, connection: sa.Connection, events: Events) -> None:
        self._connection = connection
        self._events = events

    def lease(
        self,
        owner: str,
        now_ms: int,
        lease_ms: int,
        max_attempts: int,
        models: Sequence[str] | None = None,
        feeds: Sequence[str] | None = None,
    ) -> ProofJob | None:
        """The newest window that waits for a proof, now leased to ``owner``; none when nothing waits.

        Only predictions of these ``models`` and ``feeds``, where they are given: another process may serve others.

        A job whose lease lapsed after its last attempt is given up: its prediction is `failed`.
        """
        due = _due(now_ms, lease_ms)
        self._give_up_lapsed(due, max_attempts)
        waiting = self._open(models, feeds).where(due).order_by(proof_jobs.c.window_end_ms.desc()).limit(1)
        row = self._connection.execute(waiting.with_for_update(skip_locked=True)).one_or_none()
        return None if row is None else self._take(row, owner, now_ms, lease_ms)

    def lease_together(
        self,
        owner: str,
        now_ms: int,
        lease_ms: int,
        model: str,
        feeds: Sequence[str] | None = None,
        *,
        least: int,
        most: int,
    ) -> list[ProofJob]:
        """Up to ``most`` jobs of one model and its newest waiting window, all leased; none when fewer than ``least``.

        Only first attempts are taken: a window whose joint proof failed is proved alone.
        """
        fresh = self._open([model], feeds).where(_due(now_ms, lease_ms), proof_jobs.c.attempts == 0)
        newest = self._connection.execute(fresh.order_by(proof_jobs.c.window_end_ms.desc()).limit(1)).one_or_none()
        if newest is None:
            return []
        group = fresh.where(proof_jobs.c.window_end_ms == newest.window_end_ms).order_by(proof_jobs.c.prediction_id)
        rows = self._connection.execute(group.limit(most).with_for_update(skip_locked=True)).all()
        return [self._take(row, owner, now_ms, lease_ms) for row in rows] if len(rows) >= least else []

    def gathering(self, model: str, feeds: Sequence[str] | None = None) -> tuple[list[PredictionId], int] | None:
        """The first attempts of the model's newest waiting window, and since when the first waits (wall clock)."""
        never_tried = proof_jobs.c.attempts == 0, proof_jobs.c.wait_until_ms == 0
        fresh = self._open([model], feeds).where(*never_tried).subquery()
        newest = sa.select(sa.func.max(fresh.c.window_end_ms)).scalar_subquery()
        query = sa.select(fresh.c.prediction_id, fresh.c.queued_at_ms).where(fresh.c.window_end_ms == newest)
        rows = self._connection.execute(query).all()
        return ([row.prediction_id for row in rows], min(row.queued_at_ms for row in rows)) if rows else None

    def shed(
        self,
        keep: int,
        reason: str,
        models: Sequence[str],
        owner: str,
        now_ms: int,
        feeds: Sequence[str] | None = None,
    ) -> int:
        """Give up all but the ``keep`` newest queued windows; says how many that were."""
        surplus = (
            sa.select(proof_jobs.c.prediction_id, proof_jobs.c.attempts, proof_jobs.c.queued_at_ms)
            .where(proof_jobs.c.state == JobState.QUEUED, _of(models, feeds))
            .order_by(proof_jobs.c.window_end_ms.desc())
            .offset(keep)
            .limit(_ALL)
            .with_for_update(skip_locked=True)
        )
        rows = self._connection.execute(surplus).all()
        for row in rows:
            self._fail(row.prediction_id, reason)
            attempt = Attempt(
                prediction_id=row.prediction_id,
                number=row.attempts,
                outcome=AttemptOutcome.SHED,
                reason=reason,
                owner=owner,
                windows=1,
                queue_seconds=_since(row.queued_at_ms, now_ms),
                witness_seconds=None,
                prove_seconds=None,
                verify_seconds=None,
                at_ms=now_ms,
            )
            insert_attempt(self._connection, attempt)
        return len(rows)

    def finish(self, prediction_id: PredictionId, owner: str, proof: Proof, proved: Forecast, now_ms: int) -> bool:
        """Record the proof and serve the outputs that it proves; False when the lease is no longer ``owner``'s.

        ``now_ms`` is the market's time.
        """
        if not self._close(prediction_id, owner, state=JobState.DONE, last_error=None):
            return False
        self._connection.execute(
            sa.insert(proofs).values(
                prediction_id=prediction_id,
                proof=proof.proof,
                instances=list(proof.instances),
                vk_hash=proof.vk_hash,
                srs_hash=proof.srs_hash,
                witness_seconds=proof.witness_seconds,
                prove_seconds=proof.prove_seconds,
                verify_seconds=proof.verify_seconds,
                proved_at_ms=now_ms,
                slot=proof.slot,
                members=list(proof.members) or None,
            )
        )
        self._connection.execute(
            sa.update(predictions)
            .where(predictions.c.id == prediction_id)
            .values(
                status=Status.PROVED,
                regime=proved.regime,
                p_high=proved.p_high,
                vol_annualised=proved.vol_annualised,
            )
        )
        self._events.note(EventKind.PROOF, prediction_id)
        return True

    def retry(self, prediction_id: PredictionId, owner: str, reason: str, now_ms: int, *, counts: bool = True) -> bool:
        """Hand the job back for another attempt after a pause; ``counts`` is whether this one was an attempt."""
        next_ms = now_ms + _RETRY_PAUSE_MS
        back: dict[str, object] = {
            "state": JobState.QUEUED,
            "last_error": reason,
            "wait_until_ms": next_ms,
            "queued_at_ms": next_ms,
        }
        if not counts:
            back["attempts"] = proof_jobs.c.attempts - 1
        if not self._close(prediction_id, owner, **back):
            return False
        set_status(self._connection, prediction_id, Status.PREDICTED)
        return True

    def give_up(self, prediction_id: PredictionId, owner: str, reason: str) -> bool:
        """No further attempt: the prediction is `failed` with the reason."""
        if not self._close(prediction_id, owner, state=JobState.FAILED, last_error=reason):
            return False
        self._failed(prediction_id, reason)
        return True

    def owners(self) -> list[str]:
        """Who holds a lease."""
        query = sa.select(proof_jobs.c.owner).where(proof_jobs.c.state == JobState.LEASED).distinct()
        return list(self._connection.execute(query).scalars())

    def free(self, owner: str) -> int:
        """Queue the jobs of an owner that is known to be gone, without waiting for its leases to lapse."""
        query = sa.select(proof_jobs.c.prediction_id).where(
            proof_jobs.c.owner == owner, proof_jobs.c.state == JobState.LEASED
        )
        left = list(self._connection.execute(query).scalars())
        for prediction_id in left:
            self._close(prediction_id, owner, state=JobState.QUEUED, wait_until_ms=0)
            set_status(self._connection, prediction_id, Status.PREDICTED)
        return len(left)

    def waiting(self) -> int:
        query = sa.select(sa.func.count()).where(proof_jobs.c.state.in_((JobState.QUEUED, JobState.LEASED)))
        return self._connection.execute(query).scalar_one()

    def _close(self, prediction_id: PredictionId, owner: str, **values: object) -> bool:
        """Change a job that ``owner`` still holds."""
        changed = self._connection.execute(
            sa.update(proof_jobs)
            .where(
                proof_jobs.c.prediction_id == prediction_id,
                proof_jobs.c.owner == owner,
                proof_jobs.c.state == JobState.LEASED,
            )
            .values(owner=None, **values)
        )
        return changed.rowcount == 1

    def _give_up_lapsed(self, due: sa.ColumnElement[bool], max_attempts: int) -> None:
        lapsed = sa.select(proof_jobs.c.prediction_id, proof_jobs.c.last_error).where(
            proof_jobs.c.state.in_((JobState.QUEUED, JobState.LEASED)),
            due,
            proof_jobs.c.attempts >= max_attempts,
        )
        for row in self._connection.execute(lapsed).all():
            reason = f"given up after {max_attempts} attempts: {row.last_error or 'the prover never came back'}"
            self._fail(row.prediction_id, reason)

    def _fail(self, prediction_id: PredictionId, reason: str) -> None:
        self._connection.execute(
            sa.update(proof_jobs)
            .where(proof_jobs.c.prediction_id == prediction_id)
            .values(state=JobState.FAILED, owner=None, last_error=reason)
        )
        self._failed(prediction_id, reason)

    def _failed(self, prediction_id: PredictionId, reason: str) -> None:
        set_status(self._connection, prediction_id, Status.FAILED, reason)
        self._events.note(EventKind.FAILURE, prediction_id)

    def _open(self, models: Sequence[str] | None, feeds: Sequence[str] | None) -> sa.Select[Any]:
        """Jobs that are not done: queued, or leased by somebody who may have gone."""
        query = sa.select(
            proof_jobs.c.prediction_id,
            proof_jobs.c.attempts,
            proof_jobs.c.window_end_ms,
            proof_jobs.c.queued_at_ms,
        ).where(proof_jobs.c.state.in_((JobState.QUEUED, JobState.LEASED)))
        return query.where(_of(models, feeds))

    def _take(self, row: sa.Row[Any], owner: str, now_ms: int, lease_ms: int) -> ProofJob:
        self._connection.execute(
            sa.update(proof_jobs)
            .where(proof_jobs.c.prediction_id == row.prediction_id)
            .values(state=JobState.LEASED, owner=owner, attempts=row.attempts + 1, wait_until_ms=now_ms + lease_ms)
        )
        set_status(self._connection, row.prediction_id, Status.PROVING)
        return self._job(row.prediction_id, row.attempts + 1, _since(row.queued_at_ms, now_ms))

    def _job(self, prediction_id: PredictionId, attempt: int, queue_seconds: float | None) -> ProofJob:
        query = sa.select(predictions).where(predictions.c.id == prediction_id)
        row = self._connection.execute(query).one()
        return ProofJob(
            prediction_id=row.id,
            feed=row.feed,
            window_end_ms=row.window_end_ms,
            model_id=row.model_id,
            observation=tuple(row.observation),
            network_outputs=tuple(row.network_outputs),
            attempt=attempt,
            queue_seconds=queue_seconds,
        )


def _due(now_ms: int, lease_ms: int) -> sa.ColumnElement[bool]:
    """Whether a job's pause or lease is over."""
    until = proof_jobs.c.wait_until_ms
    return sa.or_(until <= now_ms, until > now_ms + _FARTHEST * lease_ms)


def _of(models: Sequence[str] | None, feeds: Sequence[str] | None) -> sa.ColumnElement[bool]:
    wanted = [
        column.in_(values)
        for column, values in ((predictions.c.model_id, models), (predictions.c.feed, feeds))
        if values is not None
    ]
    return proof_jobs.c.prediction_id.in_(sa.select(predictions.c.id).where(*wanted)) if wanted else sa.true()


def _since(queued_at_ms: int, now_ms: int) -> float | None:
    return max(0, now_ms - queued_at_ms) / 1000 if queued_at_ms else None
