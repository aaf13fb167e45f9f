"""How things stand, as a pipeline's process tells it: kept in the database, for every API process to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter

from app.steps.fetch import VenueHealth
from app.steps.publishing import StepReport

Market = Literal["live", "simulated", "recorded"]


class TickOutcome(StrEnum):
    PREDICTED = "predicted"
    ALREADY_PREDICTED = "already-predicted"
    SKIPPED = "skipped"
    """There is nothing sound to forecast from just now; the reason says why."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TickReport:
    outcome: TickOutcome
    reason: str | None
    """Of a tick that was skipped: `no-quorum`, `window-incomplete`."""
    detail: str
    window_end_ms: int
    at_ms: int
    left_out: Mapping[str, str]
    """Venues that had no part in it, with the reason."""


@dataclass(frozen=True, slots=True)
class Said:
    """How the last step of a kind ended that did something."""

    outcome: str
    detail: str
    at_ms: int

    @classmethod
    def of(cls, report: StepReport | None) -> Said | None:
        return Said(report.outcome.value, report.detail, report.at_ms) if report else None


@dataclass(frozen=True, slots=True)
class Standing:
    market: Market
    ticks: Mapping[str, TickReport] = field(default_factory=dict)
    """The last one of each feed."""
    venues: Mapping[str, VenueHealth] = field(default_factory=dict)
    clock_skew_s: float | None = None
    """The median of the venues' clocks against this machine's."""
    attesting: Said | None = None
    publishing: Said | None = None
    market_speed: float = 1.0
    """Market seconds per second of the wall."""
    prover_process_ids: tuple[int, ...] = ()
    sender: str | None = None
    """Address of the account that pays for updates."""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = _FORM.dump_python(self, mode="json")
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Standing:
        """The inverse of `to_json`. Raises `ValueError` for what another version wrote."""
        return _FORM.validate_python(found)


_FORM: TypeAdapter[Standing] = TypeAdapter(Standing)
