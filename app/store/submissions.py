"""Transactions, at most one per prediction and chain; one with a proof of several windows has a row for each of them.

The signed bytes and their hash are stored before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.predictions import set_status
from app.store.tables import predictions, submissions
from app.types import PredictionId, Receipt, SignedTransaction, Status, Submission, SubmissionState


class Submissions:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def next_proved(self, since_ms: int) -> PredictionId | None:
        """The newest proved prediction with ``window_end > since_ms`` that was not submitted yet."""
        query = (
            sa.select(predictions.c.id)
            .where(predictions.c.status == Status.PROVED, predictions.c.window_end_ms > since_ms)
            .order_by(predictions.c.window_end_ms.desc())
            .limit(1)
        )
        return self._connection.execute(query).scalar_one_or_none()

    def record(self, prediction_ids: Sequence[PredictionId], signed: SignedTransaction, now_ms: int) -> bool:
        """Store a signed transaction that is about to be sent; False when another process was first.

        It carries the proof of all these predictions, and shows in a row of each.
        """
        for prediction_id in prediction_ids:
            insert = (
                insert_new(self._connection, submissions)
                .values(
                    prediction_id=prediction_id,
                    chain_id=signed.chain_id,
                    contract=signed.contract,
                    tx_hash=signed.tx_hash,
                    raw_tx=signed.raw,
                    state=SubmissionState.SENT,
                    sent_at_ms=now_ms,
                )
                .returning(submissions.c.prediction_id)
            )
            if self._connection.execute(insert).scalar_one_or_none() is None:
                return False  # of the first: whoever came before took them all, in one transaction of the store
            set_status(self._connection, prediction_id, Status.SUBMITTED)
        return True

    def unconfirmed(self, chain_id: int) -> Submission | None:
        """The oldest transaction that was stored and has no receipt yet."""
        query = (
            sa.select(submissions)
            .where(submissions.c.chain_id == chain_id, submissions.c.state == SubmissionState.SENT)
            .order_by(submissions.c.sent_at_ms)
            .limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _submission(row)

    def confirm(self, tx_hash: str, receipt: Receipt) -> None:
        state = SubmissionState.CONFIRMED if receipt.succeeded else SubmissionState.REVERTED
        # Reverted: the proof still holds and is served, but it is not sent again; the submission says why.
        for prediction_id in self._carried(tx_hash):
            set_status(self._connection, prediction_id, Status.CONFIRMED if receipt.succeeded else Status.SUBMITTED)
        self._connection.execute(
            sa.update(submissions)
            .where(submissions.c.tx_hash == tx_hash)
            .values(state=state, block_number=receipt.block_number, gas_used=receipt.gas_used)
        )

    def forget(self, tx_hash: str) -> None:
        """Drop a transaction that the chain will never take; its predictions are `proved` again, and sent anew."""
        for prediction_id in self._carried(tx_hash):
            set_status(self._connection, prediction_id, Status.PROVED)
        self._connection.execute(sa.delete(submissions).where(submissions.c.tx_hash == tx_hash))

    def of(self, prediction_ids: Sequence[str]) -> dict[str, Submission]:
        """The newest transaction of each of these predictions, of those that have one."""
        query = (
            sa.select(submissions)
            .where(submissions.c.prediction_id.in_(prediction_ids))
            .order_by(submissions.c.sent_at_ms)
        )
        return {row.prediction_id: _submission(row) for row in self._connection.execute(query)}

    def _carried(self, tx_hash: str) -> list[PredictionId]:
        query = sa.select(submissions.c.prediction_id).where(submissions.c.tx_hash == tx_hash)
        return list(self._connection.execute(query).scalars())


def _submission(row: sa.Row[Any]) -> Submission:
    return Submission(
        prediction_id=PredictionId(row.prediction_id),
        chain_id=row.chain_id,
        contract=row.contract,
        tx_hash=row.tx_hash,
        raw=row.raw_tx,
        state=SubmissionState(row.state),
        block_number=row.block_number,
        gas_used=row.gas_used,
        sent_at_ms=row.sent_at_ms,
    )
