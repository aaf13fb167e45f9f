"""Figures of the whole database that are told to operators. Each is one look into an index."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from app.store.tables import predictions, proof_jobs
from app.types import JobState, Status


class Figures:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def waiting_since_ms(self) -> int | None:
        """Since when the oldest proof job waits that is not finished (wall clock); none while nothing waits."""
        waiting = proof_jobs.c.state.in_((JobState.QUEUED, JobState.LEASED)), proof_jobs.c.queued_at_ms > 0
        return self._connection.execute(sa.select(sa.func.min(proof_jobs.c.queued_at_ms)).where(*waiting)).scalar()

    def newest_windows_ms(self, feed: str, states: Collection[Status]) -> dict[Status, int]:
        """End of the feed's newest window in each of these states that it has one in."""
        found = {status: self._connection.execute(_newest(feed, status)).scalar() for status in states}
        return {status: end_ms for status, end_ms in found.items() if end_ms is not None}


def _newest(feed: str, status: Status) -> sa.Select[Any]:
    """A query for each: only so it is a single look into the index."""
    wanted = predictions.c.feed == feed, predictions.c.status == status
    return sa.select(sa.func.max(predictions.c.window_end_ms)).where(*wanted)
