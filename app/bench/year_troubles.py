"""What goes wrong in a simulated year, and for how long: seeded, so that the same year can be had again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.bench.capacity_constants import VENUES
from app.types import BoolArray

YEAR_MINUTES = 525_600


@dataclass(frozen=True, slots=True)
class Trouble:
    """So many times a year, for so many minutes in the mean; both as chance has it (Poisson, exponential)."""

    per_year: float
    mean_minutes: float


VENUE_AWAY = Trouble(24, 20)
"""Of each venue."""
PROVERS_AWAY = Trouble(6, 45)
"""All of them: an upgrade, a network, a power cut."""
HALF_THE_PROVERS_AWAY = Trouble(12, 120)
CHAIN_AWAY = Trouble(24, 15)
"""No endpoint answers, or fees are above what is paid."""


@dataclass(frozen=True, slots=True)
class Troubles:
    """Minute by minute, shapes (minutes,)."""

    no_quorum: BoolArray
    one_venue_away: BoolArray
    provers_away: BoolArray
    half_away: BoolArray
    chain_away: BoolArray


def troubles(minutes: int, seed: int) -> Troubles:
    rng = np.random.default_rng([seed, 1])
    away = np.sum([_stretches(VENUE_AWAY, minutes, rng) for _ in range(VENUES)], axis=0)
    return Troubles(
        no_quorum=away > VENUES // 2,
        one_venue_away=away == 1,
        provers_away=_stretches(PROVERS_AWAY, minutes, rng),
        half_away=_stretches(HALF_THE_PROVERS_AWAY, minutes, rng),
        chain_away=_stretches(CHAIN_AWAY, minutes, rng),
    )


def _stretches(trouble: Trouble, minutes: int, rng: np.random.Generator) -> BoolArray:
    away = np.zeros(minutes, dtype=np.bool_)
    for first in rng.integers(0, minutes, rng.poisson(trouble.per_year * minutes / YEAR_MINUTES)):
        away[first : first + max(1, round(rng.exponential(trouble.mean_minutes)))] = True
    return away
