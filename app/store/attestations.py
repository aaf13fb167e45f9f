"""What attesters answered about a prediction, for one oracle; a proof of several windows has a row for each of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.events import Events
from app.store.tables import attestations, predictions
from app.types import (
    PROVED_STATES,
    Attestation,
    AttestationOutcome,
    AttesterSignature,
    EventKind,
    OracleAt,
    PredictionId,
    Status,
)


class Attestations:
    def __init__(self, connection: sa.Connection, events: Events) -> None:
        self._connection = connection
        self._events = events

    def record(self, answers: Sequence[Attestation], oracle: OracleAt) -> None:
        """Store answers, each in the place of the attester's former one; but a signature stays once it is there."""
        for answer in answers:
            row = _row(answer, oracle)
            self._connection.execute(insert_new(self._connection, attestations).values(row))
            self._connection.execute(
                sa.update(attestations)
                .where(
                    *_of(oracle),
                    attestations.c.prediction_id == answer.prediction_id,
                    attestations.c.attester == answer.attester,
                    attestations.c.outcome != AttestationOutcome.SIGNED,
                )
                .values(row)
            )
            self._events.note(
                EventKind.ATTESTATION,
                answer.prediction_id,
                attester=answer.attester,
                host=answer.host,
                oracle=oracle,
            )

    def of(self, prediction_id: str, oracle: OracleAt) -> list[Attestation]:
        """Every attester's answer about a prediction, in the order of their names."""
        query = (
            sa.select(attestations)
            .where(*_of(oracle), attestations.c.prediction_id == prediction_id)
            .order_by(attestations.c.attester)
        )
        return [_attestation(row) for row in self._connection.execute(query)]

    def newest_proved(self, feeds: Collection[str], since_ms: int) -> list[PredictionId]:
        """Each feed's newest proved prediction with ``window_end >= since_ms``, unless it was sent; newest first.

        Older ones are left alone: the oracle takes no window before its newest, so nobody needs their signatures.
        """
        newest = (
            sa.select(predictions.c.feed, sa.func.max(predictions.c.window_end_ms).label("window_end_ms"))
            .where(
                predictions.c.feed.in_(feeds),
                predictions.c.status.in_(PROVED_STATES),
                predictions.c.window_end_ms >= since_ms,
            )
            .group_by(predictions.c.feed)
            .subquery()
        )
        query = (
            sa.select(predictions.c.id)
            .join(
                newest,
                sa.and_(predictions.c.feed == newest.c.feed, predictions.c.window_end_ms == newest.c.window_end_ms),
            )
            .where(predictions.c.status == Status.PROVED)
            .order_by(predictions.c.window_end_ms.desc(), predictions.c.id)
        )
        return [PredictionId(found) for found in self._connection.execute(query).scalars()]


def enough(
    answers: Sequence[Attestation], threshold: int, signers: Collection[str] | None = None
) -> list[AttesterSignature]:
    """Exactly ``threshold`` signatures of different signers, or none at all when there are fewer.

    ``signers`` are those that the oracle knows now, where the caller has asked it: one that was removed since it signed
    would spoil the update. The order is the same every time.
    """
    found = (answer.signature for answer in answers)
    by_signer = {signature.signer: signature for signature in found if signature is not None}
    usable = [by_signer[signer] for signer in sorted(by_signer) if signers is None or signer in signers]
    return usable[:threshold] if len(usable) >= threshold else []


def _of(oracle: OracleAt) -> tuple[sa.ColumnElement[bool], ...]:
    return attestations.c.chain_id == oracle.chain_id, attestations.c.contract == oracle.contract


def _row(answer: Attestation, oracle: OracleAt) -> dict[str, Any]:
    signature = answer.signature if answer.outcome is AttestationOutcome.SIGNED else None
    return {
        "prediction_id": answer.prediction_id,
        "chain_id": oracle.chain_id,
        "contract": oracle.contract,
        "attester": answer.attester,
        "outcome": answer.outcome,
        "signer": signature.signer if signature else None,
        "r": signature.r if signature else None,
        "vs": signature.vs if signature else None,
        "reason": answer.reason,
        "at_ms": answer.at_ms,
    }


def _attestation(row: sa.Row[Any]) -> Attestation:
    signature = None if row.signer is None else AttesterSignature(row.signer, bytes(row.r), bytes(row.vs))
    return Attestation(
        prediction_id=PredictionId(row.prediction_id),
        attester=row.attester,
        outcome=AttestationOutcome(row.outcome),
        signature=signature,
        reason=row.reason,
        at_ms=row.at_ms,
    )
