"""Venues that failed, or asked us to slow down, and until when they are left alone: a restart does not forget it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.tables import venue_rests
from app.types import VenueRest


class VenueRests:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def rest(self, venue: str) -> VenueRest | None:
        """None when nothing is known against the venue."""
        return self.all().get(venue)

    def set_rest(self, rest: VenueRest) -> None:
        """In the place of the venue's former one."""
        row = asdict(rest)
        self._connection.execute(insert_new(self._connection, venue_rests).values(row))
        self._connection.execute(sa.update(venue_rests).where(venue_rests.c.venue == rest.venue).values(row))

    def clear(self, venue: str) -> None:
        """It answers again."""
        self._connection.execute(sa.delete(venue_rests).where(venue_rests.c.venue == venue))

    def all(self) -> dict[str, VenueRest]:
        """By venue, in the order of their names."""
        query = sa.select(venue_rests).order_by(venue_rests.c.venue)
        return {row.venue: _rest(row) for row in self._connection.execute(query)}


def _rest(row: sa.Row[Any]) -> VenueRest:
    return VenueRest(
        venue=row.venue, failures=row.failures, until_ms=row.until_ms, reason=row.reason, since_ms=row.since_ms
    )
