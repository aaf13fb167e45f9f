"""Windows where network and circuit said different things: each an alarm until somebody has looked at it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.tables import disagreements
from app.types import Disagreement, PredictionId


class Disagreements:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, found: Disagreement, window: Mapping[str, Any]) -> None:
        """Raise the alarm and keep ``window``, everything that is needed to study it; the first one stays."""
        row = {
            "prediction_id": found.prediction_id,
            "feed": found.feed,
            "window_end_ms": found.window_end_ms,
            "reason": found.reason,
            "window": gzip.compress(json.dumps(window).encode(), mtime=0),
        }
        self._connection.execute(insert_new(self._connection, disagreements).values(row))

    def open(self, feed: str | None = None) -> list[Disagreement]:
        """Those that nobody has cleared, newest window first."""
        return self._all(disagreements.c.cleared_at_ms.is_(None), *([disagreements.c.feed == feed] if feed else []))

    def all(self) -> list[Disagreement]:
        return self._all()

    def window(self, prediction_id: str) -> dict[str, Any] | None:
        """What was kept of a window; none when there is no such disagreement."""
        query = sa.select(disagreements.c.window).where(disagreements.c.prediction_id == prediction_id)
        kept = self._connection.execute(query).scalar_one_or_none()
        return None if kept is None else dict(json.loads(gzip.decompress(kept)))

    def clear(self, prediction_id: str, now_ms: int) -> bool:
        """End an alarm; the window stays. False when there is no such open one."""
        changed = self._connection.execute(
            sa.update(disagreements)
            .where(disagreements.c.prediction_id == prediction_id, disagreements.c.cleared_at_ms.is_(None))
            .values(cleared_at_ms=now_ms)
        )
        return changed.rowcount == 1

    def _all(self, *wanted: sa.ColumnElement[bool]) -> list[Disagreement]:
        told = [column for column in disagreements.c if column.name != "window"]
        query = sa.select(*told).where(*wanted).order_by(disagreements.c.window_end_ms.desc())
        return [
            Disagreement(
                prediction_id=PredictionId(row.prediction_id),
                feed=row.feed,
                window_end_ms=row.window_end_ms,
                reason=row.reason,
                cleared_at_ms=row.cleared_at_ms,
            )
            for row in self._connection.execute(query)
        ]
