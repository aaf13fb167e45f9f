"""Work that one process at a time does, of all on the database: held for a while, and taken over when that has passed.

A lease keeps several processes from doing the same thing twice; it does not make that harmless. Whoever was stopped for
longer than its lease still finds a unique key, or a state that has moved on, when it writes.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from app.store.dialect import insert_new
from app.store.tables import leases


class Leases:
    """Times are the wall clock's, in ms."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def take(self, name: str, owner: str, now_ms: int, lease_ms: int) -> bool:
        """Hold ``name`` for ``lease_ms`` from now on; False while another owner holds it.

        A lease that ends later than a fresh one would was taken by a clock that has been set back since: it has lapsed.
        """
        row = {"name": name, "owner": owner, "until_ms": now_ms + lease_ms}
        new = insert_new(self._connection, leases).values(row).returning(leases.c.name)
        if self._connection.execute(new).scalar_one_or_none() is not None:
            return True
        free = sa.or_(
            leases.c.owner == owner, leases.c.until_ms <= now_ms, leases.c.until_ms > now_ms + _FARTHEST * lease_ms
        )
        taken = sa.update(leases).where(leases.c.name == name, free).values(row).returning(leases.c.name)
        return self._connection.execute(taken).scalar_one_or_none() is not None

    def renew(self, names: Collection[str], owner: str, until_ms: int) -> set[str]:
        """Hold these for longer, where they are still ``owner``'s; gives those that are."""
        mine = leases.c.name.in_(names), leases.c.owner == owner
        renewed = sa.update(leases).where(*mine).values(until_ms=until_ms).returning(leases.c.name)
        return set(self._connection.execute(renewed).scalars())

    def release(self, name: str, owner: str) -> None:
        """Let others have it at once; nothing happens where it is not ``owner``'s any more."""
        self._connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.owner == owner))

    def release_all(self, owner: str) -> int:
        """At the end of a process, or when it is known to have ended; gives how many leases that were."""
        return self._connection.execute(sa.delete(leases).where(leases.c.owner == owner)).rowcount

    def owners(self) -> list[str]:
        """Who holds one."""
        return list(self._connection.execute(sa.select(leases.c.owner).distinct()).scalars())

    def held(self, now_ms: int) -> dict[str, str]:
        """Owner by name, of those that have not lapsed."""
        query = sa.select(leases.c.name, leases.c.owner).where(leases.c.until_ms > now_ms).order_by(leases.c.name)
        return {row.name: row.owner for row in self._connection.execute(query)}


_FARTHEST = 2
"""Processes with different settings may lease the same thing for different times."""
