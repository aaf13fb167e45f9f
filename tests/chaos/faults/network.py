"""The chain's endpoint and the attester, reached badly or not at all, and the chain itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.chaos.faults.fault import CHAIN, Fault
from tests.rig.proxy import Way
from tests.rig.rig import ATTESTER, Rig


@dataclass(frozen=True, slots=True)
class WayCut(Fault):
    """The way to the chain's endpoint or to the attester, for all who go it."""

    to: Literal["RPC", "attester"]
    way: Way

    @property
    def kind(self) -> str:
        return f"{self.to} {self.way}"

    @property
    def name(self) -> str:
        return f"{self.to} {self.way} for {self.hold_s:.1f} s"

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({CHAIN} if self.to == "RPC" else {ATTESTER})

    @property
    def wants_round(self) -> bool:
        return True

    def inject(self, rig: Rig) -> None:
        (rig.rpc if self.to == "RPC" else rig.attesting).set(self.way)

    def heal(self, rig: Rig) -> None:
        (rig.rpc if self.to == "RPC" else rig.attesting).set(Way.OPEN)


@dataclass(frozen=True, slots=True)
class _ChainFault(Fault):
    @property
    def touches(self) -> frozenset[str]:
        return frozenset({CHAIN})

    @property
    def wants_round(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ChainFrozen(_ChainFault):
    """SIGSTOP of anvil."""

    @property
    def kind(self) -> str:
        return "SIGSTOP anvil"

    @property
    def name(self) -> str:
        return f"SIGSTOP anvil for {self.hold_s:.1f} s"

    def inject(self, rig: Rig) -> None:
        rig.anvil_process().suspend()

    def heal(self, rig: Rig) -> None:
        rig.anvil_process().resume()


@dataclass(frozen=True, slots=True)
class Reorg(_ChainFault):
    """The last blocks are gone, with what was in them."""

    hold_s: float = field(default=0.0, kw_only=True)
    depth: int

    @property
    def kind(self) -> str:
        return "reorg"

    @property
    def name(self) -> str:
        return f"reorg of {self.depth} block(s)"

    def inject(self, rig: Rig) -> None:
        if len(rig.published()) > self.depth:  # the contracts' own blocks must stay
            rig.anvil("anvil_reorg", self.depth, [])

    def heal(self, rig: Rig) -> None:
        """The chain goes on by itself."""
