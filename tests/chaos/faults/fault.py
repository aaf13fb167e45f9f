"""What a fault is to whoever plays it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from tests.rig.rig import Rig

CHAIN, DATABASE, VENUES = "chain", "database", "venues"
"""What faults touch besides processes, which go by their names."""


class ProductAtFaultError(AssertionError):
    """The product did not meet a fault as it promises to."""


@dataclass(frozen=True, slots=True)
class Fault(ABC):
    """Frozen, so that a schedule can be compared and told."""

    hold_s: float = field(kw_only=True)
    """Wall seconds from the beginning to the end."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is counted under."""

    @property
    def name(self) -> str:
        """What it is told by: its kind, and whom it meets."""
        return self.kind

    @property
    @abstractmethod
    def touches(self) -> frozenset[str]:
        """Processes, or one of `CHAIN`, `DATABASE`, `VENUES`: two faults at once never share one."""

    @property
    def wants_round(self) -> bool:
        """Whether it is over only when another forecast is confirmed on the chain."""
        return False

    @abstractmethod
    def inject(self, rig: Rig) -> None:
        """Raises `ProductAtFaultError` where the product does not behave."""

    @abstractmethod
    def heal(self, rig: Rig) -> None:
        """As it was before. Raises like `inject`."""


@dataclass(frozen=True, slots=True)
class ProcessFault(Fault):
    """It meets one process."""

    process: str

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.process})


@dataclass(frozen=True, slots=True)
class DatabaseFault(Fault):
    """It meets the database, and so all who use it."""

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({DATABASE})
