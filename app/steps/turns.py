"""Whose turn it is, of all processes on one database: so that several may run everything without doing it twice."""

from __future__ import annotations

import threading
import time

from app.clock import Clock, wall_ms
from app.store.database import Database

_LEASE_S = 10.0
_SHORTEST_S = 3.0
_RENEW_AT = 0.5
"""Share of a lease that has passed when it is renewed: twice as often as it would lapse."""


def ticking(feed: str) -> str:
    """The lease of whoever asks venues and forecasts for a feed."""
    return f"tick {feed}"


class Turns:
    """This process's leases. One that its holder keeps lapses only when the process is gone, or stopped for long."""

    def __init__(self, database: Database, owner: str, clock: Clock) -> None:
        self._database = database
        self._owner = owner
        self._lease_s = max(_SHORTEST_S, _LEASE_S / clock.haste)
        self._renew_at: dict[str, float] = {}
        """Monotonic time from which each lease that is held is to be renewed."""
        self._guard = threading.Lock()

    def take(self, name: str) -> bool:
        """Whether it is this process's turn. What is held already takes no write until it is to be renewed."""
        with self._guard:
            now_s = time.monotonic()
            if now_s < self._renew_at.get(name, 0.0):
                return True
            renew_at = self._next_renewal_s(now_s)
            with self._database.unit_of_work() as store:
                taken = store.leases.take(name, self._owner, wall_ms(), self._lease_ms)
            if taken:
                self._renew_at[name] = renew_at
            else:
                self._renew_at.pop(name, None)
            return taken

    def keep(self) -> None:
        """Renew what is held for work that takes long; call it about once a second. What was lost is given up."""
        with self._guard:
            now_s = time.monotonic()
            due = [name for name, at in self._renew_at.items() if now_s >= at]
            if not due:
                return
            renew_at = self._next_renewal_s(now_s)
            with self._database.unit_of_work() as store:
                kept = store.leases.renew(due, self._owner, wall_ms() + self._lease_ms)
            for name in due:
                del self._renew_at[name]
            self._renew_at |= dict.fromkeys(kept, renew_at)

    def give_back(self, name: str) -> None:
        """Somebody else may have it at once."""
        with self._guard:
            if self._renew_at.pop(name, None) is not None:
                with self._database.unit_of_work() as store:
                    store.leases.release(name, self._owner)

    def give_all_back(self) -> None:
        with self._guard, self._database.unit_of_work() as store:
            self._renew_at.clear()
            store.leases.release_all(self._owner)

    def _next_renewal_s(self, now_s: float) -> float:
        """Counted from before the database is asked: it may answer late, and the lease runs meanwhile."""
        return now_s + _RENEW_AT * self._lease_s

    @property
    def _lease_ms(self) -> int:
        return round(1000 * self._lease_s)
