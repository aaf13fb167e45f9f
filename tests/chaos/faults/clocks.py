"""This machine's clock is set, as one process sees it, and set right again."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.faults.fault import ProcessFault
from tests.rig.rig import Rig


@dataclass(frozen=True, slots=True)
class ClockJump(ProcessFault):
    offset_s: float

    @property
    def kind(self) -> str:
        far = "hours" if abs(self.offset_s) >= 3600 else "minutes" if abs(self.offset_s) >= 60 else "seconds"
        return f"clock {'ahead' if self.offset_s > 0 else 'back'} by {far}"

    @property
    def name(self) -> str:
        return f"clock of {self.process} {self.offset_s:+g} s for {self.hold_s:.1f} s"

    def inject(self, rig: Rig) -> None:
        rig.children[self.process].set_clock(self.offset_s)

    def heal(self, rig: Rig) -> None:
        rig.children[self.process].set_clock(0.0)
