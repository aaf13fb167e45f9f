"""How things stand, as each process at work tells it: kept in the database, for every API process to put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter

from app.steps.fetch import VenueHealth, VenueState
from app.steps.publishing import StepReport

Market = Literal["live", "simulated", "recorded"]


class Role(StrEnum):
    """What a process does, of everything that runs in the background."""

    PIPELINE = "pipeline"
    """Candles become stored forecasts, and forecasts are judged."""
    PROVER = "prover"
    SUBMITTER = "submitter"
    """Signatures are asked for, and transactions sent and followed."""


EVERY_ROLE = frozenset(Role)


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
    roles: tuple[Role, ...] = tuple(Role)
    """What it does; nothing any more once it has ended in order."""
    prover_slots: int = 0
    """Proofs that it makes at once."""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = _FORM.dump_python(self, mode="json")
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Standing:
        """The inverse of `to_json`. Raises `ValueError` for what another version wrote."""
        return _FORM.validate_python(found)

    @classmethod
    def merged(cls, told: Iterable[Standing]) -> Standing | None:
        """What several processes say of themselves as one; none of nobody.

        Of each thing the newest is taken: of venues what the process says that ticked last, for only it asks them.
        """
        by_tick = sorted(told, key=lambda one: max((tick.at_ms for tick in one.ticks.values()), default=0))
        if not by_tick:
            return None
        newest = next((one for one in reversed(by_tick) if Role.PIPELINE in one.roles), by_tick[-1])
        return cls(
            market=newest.market,
            market_speed=newest.market_speed,
            ticks=_newest_ticks(by_tick),
            venues=_newest_venues(by_tick),
            clock_skew_s=next((one.clock_skew_s for one in reversed(by_tick) if one.clock_skew_s is not None), None),
            attesting=_newest_said(one.attesting for one in by_tick),
            publishing=_newest_said(one.publishing for one in by_tick),
            prover_process_ids=tuple(pid for one in by_tick for pid in one.prover_process_ids),
            sender=next((one.sender for one in reversed(by_tick) if one.sender), None),
            roles=tuple(role for role in Role if any(role in one.roles for one in by_tick)),
            prover_slots=sum(one.prover_slots for one in by_tick),
        )


def _newest_ticks(told: Iterable[Standing]) -> dict[str, TickReport]:
    """Of each feed; where several processes looked at the same window, of the one that did something."""
    newest: dict[str, TickReport] = {}
    for feed, tick in ((feed, tick) for one in told for feed, tick in one.ticks.items()):
        if feed not in newest or _rank(tick) > _rank(newest[feed]):
            newest[feed] = tick
    return newest


def _rank(tick: TickReport) -> tuple[int, bool, int]:
    return tick.window_end_ms, tick.outcome is not TickOutcome.ALREADY_PREDICTED, tick.at_ms


def _newest_venues(told: Iterable[Standing]) -> dict[str, VenueHealth]:
    newest: dict[str, VenueHealth] = {}
    for name, health in ((name, health) for one in told for name, health in one.venues.items()):
        if name not in newest or health.state is not VenueState.UNKNOWN:
            newest[name] = health
    return newest


def _newest_said(said: Iterable[Said | None]) -> Said | None:
    return max((one for one in said if one is not None), key=lambda one: one.at_ms, default=None)


_FORM: TypeAdapter[Standing] = TypeAdapter(Standing)
