"""One look at a rig: a connection, and what an invariant remembers from one look to the next."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Look:
    connection: sa.Connection
    now_s: float
    """Monotonic."""
    wall_ms: int

    @classmethod
    def at(cls, connection: sa.Connection) -> Look:
        return cls(connection, time.monotonic(), time.time_ns() // 1_000_000)

    def rows(self, query: str, **values: Any) -> list[sa.Row[Any]]:
        return list(self.connection.execute(sa.text(query), values))

    def row(self, query: str, **values: Any) -> sa.Row[Any]:
        return self.connection.execute(sa.text(query), values).one()


class Invariant(Protocol):
    @property
    def name(self) -> str: ...

    def violations(self, look: Look) -> list[str]:
        """What does not hold, each in words that stay the same while it lasts."""


@dataclass(slots=True)
class Lasting:
    """What may be so for a while, as a round that was mined this moment, but not for longer than ``grace_s``."""

    grace_s: float
    since_s: dict[Hashable, float] = field(default_factory=dict)

    def too_long(self, found: Iterable[Hashable], now_s: float) -> list[Hashable]:
        """Those of the things found now that were found ever since, longer than the grace ago."""
        self.since_s = {one: self.since_s.get(one, now_s) for one in found}
        return [one for one, since_s in self.since_s.items() if now_s - since_s > self.grace_s]
