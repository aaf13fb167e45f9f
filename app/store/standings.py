"""What each process at work last said of itself, so that every API process can tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.tables import standings


class Standings:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def put(self, owner: str, standing: Mapping[str, Any], now_ms: int) -> None:
        """In the place of what the process said before. ``now_ms`` is the wall clock's time."""
        row = {"owner": owner, "seen_ms": now_ms, "standing": dict(standing)}
        self._connection.execute(insert_new(self._connection, standings).values(row))
        self._connection.execute(sa.update(standings).where(standings.c.owner == owner).values(row))

    def since(self, since_ms: int) -> list[tuple[int, Mapping[str, Any]]]:
        """What was said at ``since_ms`` or later and when, by each process, in the order of time."""
        query = sa.select(standings.c.seen_ms, standings.c.standing).where(standings.c.seen_ms >= since_ms)
        return [(row.seen_ms, row.standing) for row in self._connection.execute(query.order_by(standings.c.seen_ms))]

    def others(self, owner: str, since_ms: int) -> list[Mapping[str, Any]]:
        """What everybody but ``owner`` said last, of those heard of at ``since_ms`` or later."""
        query = sa.select(standings.c.standing).where(standings.c.seen_ms >= since_ms, standings.c.owner != owner)
        return list(self._connection.execute(query).scalars())

    def newest(self) -> tuple[int, Mapping[str, Any]] | None:
        """What was said last, and when; none before anything was."""
        query = sa.select(standings.c.seen_ms, standings.c.standing).order_by(standings.c.seen_ms.desc()).limit(1)
        found = self._connection.execute(query).one_or_none()
        return None if found is None else (found.seen_ms, found.standing)

    def forget(self, before_ms: int) -> None:
        """Drop what was said before a time of the wall clock: those processes have ended."""
        self._connection.execute(sa.delete(standings).where(standings.c.seen_ms < before_ms))
