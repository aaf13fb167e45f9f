"""What is confirmed is on the chain, and what is on the chain is confirmed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.invariants.look import Lasting, Look
from tests.rig.rig import Published

_GRACE_S = 40.0


@dataclass(slots=True)
class ConfirmedIsOnChain:
    """``published`` gives all rounds that are on the chain now.

    A round is mined some time before anybody has seen it, and a reorg takes some time to be noticed; twice is twice.
    """

    published: Callable[[], Sequence[Published]]
    name: str = "confirmed rows and rounds on chain are the same"
    apart: Lasting = field(default_factory=lambda: Lasting(_GRACE_S))

    def violations(self, look: Look) -> list[str]:
        rounds = Counter(one.window_end_ms for one in self.published())
        confirmed = {
            row.window_end_ms for row in look.rows("SELECT window_end_ms FROM predictions WHERE status = 'confirmed'")
        }
        apart = [(end_ms, "is confirmed and not on the chain") for end_ms in confirmed - set(rounds)]
        apart += [(end_ms, "is on the chain and not confirmed") for end_ms in set(rounds) - confirmed]
        return [f"the window to {end_ms} was published {many} times" for end_ms, many in rounds.items() if many > 1] + [
            f"the window to {one[0]} {one[1]}"
            for one in self.apart.too_long(apart, look.now_s)
            if isinstance(one, tuple)
        ]

    @property
    def settled(self) -> bool:
        """Whether at the last look nothing was apart."""
        return not self.apart.since_s
