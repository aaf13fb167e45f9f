"""All invariants of one rig, looked at together."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from tests.chaos.invariants.candles import NoCandleLost
from tests.chaos.invariants.chain import ConfirmedIsOnChain
from tests.chaos.invariants.look import Invariant, Look
from tests.chaos.invariants.proofs import EveryProofVerifies
from tests.chaos.invariants.rows import NoEventMissing, NoJobStuck, OnePredictionPerWindow
from tests.rig.rig import Rig

_SETTLES_WITHIN_S = 45.0
LEFT_BEHIND = "no process left behind"


class Watch:
    """`look` gives what does not hold and was not told before; `settle` waits for what may take a moment."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._chain = ConfirmedIsOnChain(rig.published)
        self._invariants: Sequence[Invariant] = (
            OnePredictionPerWindow(),
            NoJobStuck(),
            NoEventMissing(),
            EveryProofVerifies(rig.ground),
            NoCandleLost(rig.options.seed, rig.market_faults),
            self._chain,
        )
        self._told: set[str] = set()
        self.looks = 0
        self.seconds = 0.0

    @property
    def names(self) -> list[str]:
        return [one.name for one in self._invariants] + [LEFT_BEHIND]

    def look(self) -> list[str]:
        """Raises `sqlalchemy.exc.DBAPIError` while the database is away."""
        began = time.monotonic()
        engine = self._rig.engine()
        try:
            with engine.connect() as connection, connection.begin():
                look = Look.at(connection)
                found = [f"{one.name}: {words}" for one in self._invariants for words in one.violations(look)]
        finally:
            engine.dispose()
        found += [f"{LEFT_BEHIND}: {words}" for words in self._rig.left_behind()]
        self.looks += 1
        self.seconds += time.monotonic() - began
        new = [words for words in found if words not in self._told]
        self._told |= set(new)
        return new

    def settle(self) -> list[str]:
        """Look until chain and database agree; what is apart for too long is told like anything else."""
        found, deadline = self.look(), time.monotonic() + _SETTLES_WITHIN_S
        while not self._chain.settled and time.monotonic() < deadline:
            time.sleep(0.5)
            found += self.look()
        return found

    def figures(self) -> dict[str, int]:
        """How much was looked at."""
        engine = self._rig.engine()
        try:
            with engine.connect() as connection:
                counts = {
                    table: int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())
                    for table in ("predictions", "proofs", "candles", "events")
                }
                counts["failed"] = int(
                    connection.execute(sa.text("SELECT count(*) FROM predictions WHERE status = 'failed'")).scalar_one()
                )
        finally:
            engine.dispose()
        return counts | {"rounds": len(self._rig.published()), "looks": self.looks}
