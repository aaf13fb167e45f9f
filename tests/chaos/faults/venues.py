"""Venues that misbehave, as the simulated market plays it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.demo import SIMULATED_VENUES
from tests.chaos.faults.fault import VENUES, Fault
from tests.rig.rig import Rig

_LEAST_MINUTES = 2


@dataclass(frozen=True, slots=True)
class VenueFault(Fault):
    """One kind of misbehaviour of some venues for a while; ``seconds`` as `app.sim.faults` takes them."""

    venues: Sequence[str]
    misbehaviour: str
    seconds: float | None = None

    @property
    def kind(self) -> str:
        if len(self.venues) == 1:
            return f"venue {self.misbehaviour}"
        return "all venues away" if len(self.venues) == len(SIMULATED_VENUES) else "most venues away"

    @property
    def name(self) -> str:
        return f"{' and '.join(self.venues)} {self.misbehaviour} for {self.hold_s:.1f} s"

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({VENUES})

    def inject(self, rig: Rig) -> None:
        """Not taken back: what a venue has once shown stays so, and the fault ends with its minutes."""
        minutes = max(_LEAST_MINUTES, round(self.hold_s * rig.options.speed / 60))
        for venue in self.venues:
            told = {"venue": venue, "kind": self.misbehaviour, "minutes": minutes}
            rig.market_fault(**told | ({} if self.seconds is None else {"seconds": self.seconds}))

    def heal(self, rig: Rig) -> None:
        """By itself."""
