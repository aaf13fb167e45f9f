"""Numbers that say in which order things were written, the same for every process on the database."""

from __future__ import annotations

import sqlalchemy as sa

from app.store.tables import counters


def take(connection: sa.Connection, name: str, how_many: int = 1) -> int:
    """The last of ``how_many`` numbers that are the caller's from now on.

    The counter's row stays locked until the transaction ends: whoever comes next has later numbers *and* commits
    later, so that a reader who has seen a number has seen all before it. A transaction that is rolled back leaves no
    gap. Take numbers last, or as the only contested row.
    """
    bump = sa.update(counters).where(counters.c.name == name).values(value=counters.c.value + how_many)
    return int(connection.execute(bump.returning(counters.c.value)).scalar_one())


def hold(connection: sa.Connection, name: str) -> None:
    """Lock the counter without taking a number: nobody else writes what it counts until the transaction ends."""
    connection.execute(sa.select(counters.c.value).where(counters.c.name == name).with_for_update()).scalar_one()


def last(connection: sa.Connection, name: str) -> int:
    """The last number that was taken, 0 before the first."""
    return int(connection.execute(sa.select(counters.c.value).where(counters.c.name == name)).scalar_one())
