"""What a fault is to whoever plays it."""

from __future__ import annotations

from typing import Protocol

from tests.rig.rig import Rig

CHAIN, DATABASE, VENUES = "chain", "database", "venues"
"""What faults touch besides processes, which go by their names."""


class ProductAtFaultError(AssertionError):
    """The product did not meet a fault as it promises to."""


class Fault(Protocol):
    """Frozen, so that a schedule can be compared and told."""

    @property
    def kind(self) -> str:
        """What it is counted under."""

    @property
    def name(self) -> str:
        """What it is told by: its kind, and whom it meets."""

    @property
    def touches(self) -> frozenset[str]:
        """Processes, or one of `CHAIN`, `DATABASE`, `VENUES`: two faults at once never share one."""

    @property
    def hold_s(self) -> float:
        """Wall seconds from the beginning to the end."""

    @property
    def wants_round(self) -> bool:
        """Whether it is over only when another forecast is confirmed on the chain."""

    def inject(self, rig: Rig) -> None:
        """Raises `ProductAtFaultError` where the product does not behave."""

    def heal(self, rig: Rig) -> None:
        """As it was before. Raises like `inject`."""
