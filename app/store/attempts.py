"""Every try at a proof and what it took: how the queue and the provers do, told afterwards."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from app.store.tables import proof_attempts
from app.types import Attempt, AttemptOutcome, PredictionId


class Attempts:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, attempt: Attempt) -> None:
        insert_attempt(self._connection, attempt)

    def of(self, prediction_id: str) -> list[Attempt]:
        """The attempts at one prediction's proof, oldest first."""
        query = (
            sa.select(proof_attempts)
            .where(proof_attempts.c.prediction_id == prediction_id)
            .order_by(proof_attempts.c.id)
        )
        return [_attempt(row) for row in self._connection.execute(query)]


def insert_attempt(connection: sa.Connection, attempt: Attempt) -> None:
    connection.execute(sa.insert(proof_attempts).values(_row(attempt)))


def _row(attempt: Attempt) -> dict[str, Any]:
    row = asdict(attempt)
    return row | {"attempt": row.pop("number")}


def _attempt(row: sa.Row[Any]) -> Attempt:
    return Attempt(
        prediction_id=PredictionId(row.prediction_id),
        number=row.attempt,
        outcome=AttemptOutcome(row.outcome),
        reason=row.reason,
        owner=row.owner,
        windows=row.windows,
        queue_seconds=row.queue_seconds,
        witness_seconds=row.witness_seconds,
        prove_seconds=row.prove_seconds,
        verify_seconds=row.verify_seconds,
        at_ms=row.at_ms,
    )
