"""How much of everything so many feeds take: formulas, to be reckoned on paper.

Means only. What happens when things queue, fail and come back is simulated (`app.bench.year`), and docs/scaling.md puts
the two side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from app.bench.capacity_constants import (
    BLOCK_S,
    EVENTS_EACH,
    EVENTS_OF_UPDATE,
    JOINT,
    SETTLE_S,
    SIGNATURES,
    VENUE_LIMIT_PER_MINUTE,
    VENUE_SPACING_S,
    VENUES,
    Constants,
)

DAY_MINUTES = 1_440
CANDLE_DAYS = 14
EVENT_DAYS = 7
_PAST_A_CACHE_PER_S = 100.0


@dataclass(frozen=True, slots=True)
class Policy:
    """When an update is due. A changed regime always is."""

    name: str
    heartbeat_minutes: float
    deviation: float


POLICIES = (
    Policy("an hour or 5 %", 60, 0.05),
    Policy("an hour or 25 %", 60, 0.25),
    Policy("a day or 50 %", 1_440, 0.50),
)
"""The default, a calm one, and one for whom gas is dear."""


@dataclass(frozen=True, slots=True)
class Movement:
    """How forecasts move: deviation of the log of volatility over a minute, and regime changes a day."""

    per_minute: float
    flips_per_day: float


@dataclass(frozen=True, slots=True)
class Published:
    """What goes on chain of one feed in a day: forecasts, and its share of transactions."""

    rounds: float
    transactions: float


@dataclass(frozen=True, slots=True)
class Plant:
    """What is set up: proofs at once, each on a core of its own, and processes that tick, each for its share."""

    feeds: int
    provers: int
    pipelines: int


def planned(constants: Constants, feeds: int, within_s: float = 5.0) -> Plant:
    """Enough to have every window of a minute proved ``within_s`` after its end, as the formulas have it."""
    pipelines = next(count for count in range(1, feeds + 1) if _ticked_s(constants, feeds, count) <= within_s / 2)
    left_s = within_s - _ticked_s(constants, math.ceil(feeds / pipelines), pipelines)
    return Plant(feeds, max(1, math.ceil(feeds * mean(constants.proof_s) / max(left_s, within_s / 2))), pipelines)


def needs(constants: Constants, plant: Plant) -> dict[str, float]:
    """Cores, seconds and questions, as the formulas of docs/scaling.md give them."""
    each_s, feeds = mean(constants.proof_s), plant.feeds
    last_tick_s = _ticked_s(constants, feeds, plant.pipelines)
    return {
        "proofs_a_minute": feeds,
        "proving_cores": feeds / 60 / constants.proofs_per_core_s,
        "pipeline_cores": feeds / 60 * constants.window_cpu_s,
        "attester_cores_each": feeds / 60 * constants.attester_cpu_s,
        "last_tick_s": last_tick_s,
        "last_proof_s": max(last_tick_s, SETTLE_S + feeds * each_s / plant.provers) + each_s,
        "prover_utilisation": feeds * each_s / 60 / plant.provers,
        "catch_up_windows_a_minute": 60 * plant.provers / each_s - feeds,
    }


def _ticked_s(constants: Constants, feeds: int, pipelines: int) -> float:
    """From a minute's end until the last window is stored: a process asks each venue one thing at a time, and reckons
    one window at a time; a quorum of the venues is waited for."""
    share = math.ceil(feeds / pipelines)
    spacing = sorted(VENUE_SPACING_S.values())[VENUES // 2]
    return SETTLE_S + max(share * spacing + mean(constants.tick_s), spacing + share * mean(constants.tick_s))


def updates_per_day(policy: Policy, moves: Movement) -> float:
    """Of one feed, for a volatility that walks at random: it has moved by d after (d/σ)² minutes in the mean."""
    walked = (math.log1p(policy.deviation) / moves.per_minute) ** 2
    return max(DAY_MINUTES / min(walked, policy.heartbeat_minutes), DAY_MINUTES / policy.heartbeat_minutes) + (
        moves.flips_per_day if walked > DAY_MINUTES / max(moves.flips_per_day, 1e-9) else 0.0
    )


def gas_per_day(constants: Constants, feeds: int, updates: float, *, joint: bool) -> float:
    """``updates`` of each feed, alone or ten in one."""
    each = constants.gas_joint / JOINT if joint else constants.gas_single
    return feeds * updates * each


def bytes_of_forecast(each: Mapping[str, int]) -> float:
    """What stays of one forecast for as long as predictions are kept, without an update."""
    return each["prediction"] + SIGNATURES * each["signature"] + each["commitment"] + each["outcome"]


def database_bytes(
    each: Mapping[str, int], feeds: int, days: float, published: Published, retention_days: int = 0
) -> float:
    """After so many days; ``retention_days`` of predictions, 0 for all of them.

    Outcomes stay for ever. Candles and events have a retention of their own.
    """
    kept = min(days, retention_days) if retention_days else days
    minutes, kept_minutes = days * DAY_MINUTES, kept * DAY_MINUTES
    forecasts = kept_minutes * (bytes_of_forecast(each) - each["outcome"]) + minutes * each["outcome"]
    events_a_day = DAY_MINUTES * EVENTS_EACH + published.rounds * EVENTS_OF_UPDATE
    return feeds * (
        forecasts
        + kept * (published.transactions * each["transaction"] + published.rounds * each["round"])
        + min(days, EVENT_DAYS) * events_a_day * each["event"]
        + min(days, CANDLE_DAYS) * DAY_MINUTES * VENUES * each["candle"]
    )


def replicas(constants: Constants, requests_per_s: float, *, cached: bool = False) -> int:
    """API processes for that load at half of what each can do.

    With a cache in front that joins equal questions, what reaches them hardly depends on the load.
    """
    reaching = min(requests_per_s, _PAST_A_CACHE_PER_S) if cached else requests_per_s
    return max(1, math.ceil(2 * reaching / constants.api_per_s))


def questions_per_minute(feeds: int) -> dict[str, Any]:
    """For candles, to each venue from one address, and how many feeds its limit allows."""
    return {
        venue: {"questions": feeds, "limit": limit, "most_feeds": limit}
        for venue, limit in VENUE_LIMIT_PER_MINUTE.items()
    }


def transactions_per_minute() -> float:
    """Of one account: the next waits until the last is in a block."""
    return 60 / BLOCK_S
