"""Predictions, their proofs, and the history that is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.store.counters import take
from app.store.dialect import insert_new
from app.store.events import Events
from app.store.tables import predictions, proof_jobs, proofs
from app.types import (
    PROVED_STATES,
    EventKind,
    JobState,
    ModelId,
    Prediction,
    PredictionId,
    Proof,
    Regime,
    Sources,
    Status,
)

_COUNTER = "predictions"


class Predictions:
    def __init__(self, connection: sa.Connection, events: Events) -> None:
        self._connection = connection
        self._events = events

    def add(self, new: Prediction, queued_at_ms: int = 0) -> bool:
        """Store a prediction together with the job that will prove it; False when this window has one already.

        ``queued_at_ms`` is the wall clock's time, by which the job's waiting is counted.
        """
        row = {
            "id": new.id,
            "feed": new.feed,
            "window_end_ms": new.window_end_ms,
            "model_id": new.model_id,
            "status": new.status,
            "regime": new.regime,
            "p_high": new.p_high,
            "vol_annualised": new.vol_annualised,
            "network_outputs": list(new.network_outputs),
            "observation": list(new.observation),
            "markets": dict(new.sources.markets),
            "left_out": dict(new.sources.left_out) or None,
            "candles_as_of": new.sources.as_of,
            "quorum": new.quorum,
            "candles_sha256": new.candles_sha256,
            "predicted_at_ms": new.predicted_at_ms,
            "seq": take(self._connection, _COUNTER),
        }
        # What came back, not the row count: PostgreSQL's driver does not count rows of such an insert.
        insert = insert_new(self._connection, predictions).values(row).returning(predictions.c.id)
        added = self._connection.execute(insert).scalar_one_or_none() is not None
        if added:
            job = {
                "prediction_id": new.id,
                "window_end_ms": new.window_end_ms,
                "state": JobState.QUEUED,
                "attempts": 0,
                "wait_until_ms": 0,
                "queued_at_ms": queued_at_ms,
            }
            self._connection.execute(sa.insert(proof_jobs).values(job))
            self._events.note(EventKind.PREDICTION, new.id)
        return added

    def get(self, prediction_id: str) -> Prediction | None:
        return self._first(predictions.c.id == prediction_id)

    def latest(self, feed: str, *, proved: bool = True) -> Prediction | None:
        """The newest prediction of a feed: by default the newest whose proof was verified."""
        wanted = [predictions.c.feed == feed]
        if proved:
            wanted.append(predictions.c.status.in_(PROVED_STATES))
        return self._first(*wanted)

    def history(
        self, feed: str, start_ms: int | None, end_ms: int | None, limit: int, before: tuple[int, str] | None = None
    ) -> list[Prediction]:
        """Newest first, with ``start <= window_end < end``, after the position ``before`` (window end, id)."""
        wanted = _within(feed, start_ms, end_ms)
        if before is not None:
            wanted.append(sa.tuple_(predictions.c.window_end_ms, predictions.c.id) < sa.tuple_(*before))
        return self._all(limit, *wanted)

    def arrivals(
        self, feed: str, start_ms: int | None, end_ms: int | None, limit: int, after_seq: int = 0
    ) -> list[tuple[int, Prediction]]:
        """In the order of arrival, each with its number, after the number ``after_seq``."""
        wanted = [*_within(feed, start_ms, end_ms), predictions.c.seq > after_seq]
        query = sa.select(predictions).where(*wanted).order_by(predictions.c.seq).limit(limit)
        return [(row.seq, _prediction(row)) for row in self._connection.execute(query)]

    def proof(self, prediction_id: str) -> tuple[Proof, int] | None:
        """The verified proof and when (market time) it was made."""
        row = self._connection.execute(sa.select(proofs).where(proofs.c.prediction_id == prediction_id)).one_or_none()
        if row is None:
            return None
        proof = Proof(
            proof=row.proof,
            instances=tuple(row.instances),
            commitment=row.proof[:64],
            vk_hash=row.vk_hash,
            srs_hash=row.srs_hash,
            witness_seconds=row.witness_seconds,
            prove_seconds=row.prove_seconds,
            verify_seconds=row.verify_seconds,
            members=tuple(row.members or ()),
            slot=row.slot,
        )
        return proof, row.proved_at_ms

    def proved_with(self, prediction_id: PredictionId) -> list[PredictionId]:
        """The predictions whose windows its proof proves, itself among them, of those that were recorded."""
        shared = sa.select(proofs.c.members, proofs.c.proof).where(proofs.c.prediction_id == prediction_id)
        members, proof = self._connection.execute(shared).one()
        # A member whose lease was lost may have been proved again, alone: its row holds another proof.
        recorded = sa.select(proofs.c.prediction_id).where(
            proofs.c.prediction_id.in_([prediction_id, *(members or ())]), proofs.c.proof == proof
        )
        return sorted(self._connection.execute(recorded).scalars())

    def prove_seconds(self, prediction_ids: Sequence[str]) -> dict[str, float]:
        """How long the proofs of these predictions took, of those that have one."""
        query = sa.select(proofs.c.prediction_id, proofs.c.prove_seconds).where(
            proofs.c.prediction_id.in_(prediction_ids)
        )
        return {row.prediction_id: row.prove_seconds for row in self._connection.execute(query)}

    def _first(self, *wanted: sa.ColumnElement[bool]) -> Prediction | None:
        return next(iter(self._all(1, *wanted)), None)

    def _all(self, limit: int, *wanted: sa.ColumnElement[bool]) -> list[Prediction]:
        query = (
            sa.select(predictions)
            .where(*wanted)
            .order_by(predictions.c.window_end_ms.desc(), predictions.c.id.desc())
            .limit(limit)
        )
        return [_prediction(row) for row in self._connection.execute(query)]


def _within(feed: str, start_ms: int | None, end_ms: int | None) -> list[sa.ColumnElement[bool]]:
    wanted = [predictions.c.feed == feed]
    if start_ms is not None:
        wanted.append(predictions.c.window_end_ms >= start_ms)
    if end_ms is not None:
        wanted.append(predictions.c.window_end_ms < end_ms)
    return wanted


def set_status(
    connection: sa.Connection, prediction_id: PredictionId, status: Status, failure: str | None = None
) -> None:
    connection.execute(
        sa.update(predictions).where(predictions.c.id == prediction_id).values(status=status, failure=failure)
    )


def _prediction(row: sa.Row[Any]) -> Prediction:
    return Prediction(
        id=PredictionId(row.id),
        feed=row.feed,
        window_end_ms=row.window_end_ms,
        model_id=ModelId(row.model_id),
        status=Status(row.status),
        failure=row.failure,
        regime=Regime(row.regime),
        p_high=row.p_high,
        vol_annualised=row.vol_annualised,
        network_outputs=tuple(row.network_outputs),
        observation=tuple(row.observation),
        quorum=row.quorum,
        sources=Sources(markets=row.markets, left_out=row.left_out or {}, as_of=row.candles_as_of),
        candles_sha256=row.candles_sha256,
        predicted_at_ms=row.predicted_at_ms,
    )
