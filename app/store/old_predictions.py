"""Predictions past their retention, with all that hangs on them. What became of them stays: the track record is whole.

Whole windows go, so that a proof of several windows loses none of its members before the others. A window stays for now
while a transaction for it is under way, while an alarm about it is open, or while it may still be judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.store.tables import (
    attestations,
    disagreements,
    events,
    outcomes,
    predictions,
    proof_attempts,
    proof_jobs,
    proofs,
    submissions,
    transactions,
)
from app.types import DAY_MS, MINUTE_MS, PROVED_STATES, TransactionState

JUDGED_WITHIN_MS = 7 * DAY_MS
"""Longer than any horizon: what has no outcome by then gets none."""
_AT_ONCE = 500
_HANGING = (attestations, disagreements, events, proof_attempts, proof_jobs, proofs, submissions)
_UNSETTLED = (TransactionState.SENT, TransactionState.INCLUDED)


@dataclass(frozen=True, slots=True)
class Slice:
    """Predictions of windows that end before ``end_ms``, and not before the slice that was looked at before."""

    end_ms: int
    predictions: int
    """That can go, or have gone."""


class OldPredictions:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def count(self, since_ms: int, before_ms: int) -> Slice | None:
        """What `prune` would delete."""
        found = self._slice(since_ms, before_ms)
        return None if found is None else Slice(found[0], len(found[1]))

    def prune(self, since_ms: int, before_ms: int) -> Slice | None:
        """Delete a slice of the windows with ``since <= window_end < before``, oldest first; none when there is none.

        Times are of the market. Go on from the slice's end: what had to stay is passed over so.
        """
        found = self._slice(since_ms, before_ms)
        if found is None:
            return None
        end_ms, ids = found
        for first in range(0, len(ids), _AT_ONCE):
            self._delete(ids[first : first + _AT_ONCE])
        return Slice(end_ms, len(ids))

    def _slice(self, since_ms: int, before_ms: int) -> tuple[int, list[str]] | None:
        """Where the slice ends, and which predictions of it can go."""
        feeds = list(self._feeds())
        oldest = [end_ms for feed in feeds if (end_ms := self._oldest(feed, since_ms, before_ms)) is not None]
        if not oldest:
            return None
        end_ms = min(before_ms, min(oldest) + max(1, _AT_ONCE // len(feeds)) * MINUTE_MS)
        ends = {
            row.id: row.window_end_ms
            for feed in feeds
            for row in self._between(feed, max(since_ms, min(oldest)), end_ms)
        }
        held = {ends[one] for one in self._held(list(ends), before_ms)}
        return end_ms, [one for one, window_end_ms in ends.items() if window_end_ms not in held]

    def _feeds(self) -> Iterator[str]:
        """From one to the next by the index: DISTINCT would read every prediction."""
        query = sa.select(sa.func.min(predictions.c.feed))
        found = self._connection.execute(query).scalar_one()
        while found is not None:
            yield found
            found = self._connection.execute(query.where(predictions.c.feed > found)).scalar_one()

    def _oldest(self, feed: str, since_ms: int, before_ms: int) -> int | None:
        end = predictions.c.window_end_ms
        query = sa.select(sa.func.min(end)).where(predictions.c.feed == feed, end >= since_ms, end < before_ms)
        found: int | None = self._connection.execute(query).scalar_one()
        return found

    def _between(self, feed: str, since_ms: int, end_ms: int) -> Iterator[Any]:
        end = predictions.c.window_end_ms
        query = sa.select(predictions.c.id, end).where(predictions.c.feed == feed, end >= since_ms, end < end_ms)
        yield from self._connection.execute(query)

    def _held(self, ids: Sequence[str], before_ms: int) -> Iterator[str]:
        for first in range(0, len(ids), _AT_ONCE):
            asked = predictions.c.id.in_(ids[first : first + _AT_ONCE])
            yield from self._connection.execute(sa.select(predictions.c.id).where(asked, _is_held(before_ms))).scalars()

    def _delete(self, ids: Collection[str]) -> None:
        # Nobody adds anything to them from here on: what is deleted below is all there is.
        self._connection.execute(sa.select(predictions.c.id).where(predictions.c.id.in_(ids)).with_for_update()).all()
        ours = sa.select(submissions.c.tx_hash).where(submissions.c.prediction_id.in_(ids), submissions.c.ours)
        hashes = list(self._connection.execute(ours.distinct()).scalars())
        for table in _HANGING:
            self._connection.execute(sa.delete(table).where(table.c.prediction_id.in_(ids)))
        told = sa.update(outcomes).where(outcomes.c.prediction_id.in_(ids))
        self._connection.execute(told.values(prediction_id=None))
        self._connection.execute(sa.delete(predictions).where(predictions.c.id.in_(ids)))
        carries = sa.exists().where(submissions.c.tx_hash == transactions.c.tx_hash)
        self._connection.execute(sa.delete(transactions).where(transactions.c.tx_hash.in_(hashes), ~carries))


def _is_held(before_ms: int) -> sa.ColumnElement[bool]:
    under_way = sa.exists().where(
        submissions.c.prediction_id == predictions.c.id,
        submissions.c.tx_hash == transactions.c.tx_hash,
        transactions.c.state.in_(_UNSETTLED),
    )
    alarm = sa.exists().where(
        disagreements.c.prediction_id == predictions.c.id, disagreements.c.cleared_at_ms.is_(None)
    )
    judged = sa.exists().where(outcomes.c.prediction_id == predictions.c.id)
    to_be_judged = sa.and_(
        predictions.c.status.in_(PROVED_STATES), predictions.c.window_end_ms >= before_ms - JUDGED_WITHIN_MS, ~judged
    )
    return sa.or_(under_way, alarm, to_be_judged)
