"""Which fault comes when: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from app.demo import SIMULATED_VENUES
from tests.chaos.faults.clocks import ClockJump
from tests.chaos.faults.disk import DatabaseDiskFull, DiskFull
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.files import FileSpoiled, SecondCopy
from tests.chaos.faults.network import ChainFrozen, Reorg, WayCut
from tests.chaos.faults.processes import Frozen, Killed, Told, WorkerHurt
from tests.chaos.faults.store import (
    BackendHurt,
    DatabaseSpoiled,
    PostgresAway,
    SqliteLocked,
    WayToDatabaseCut,
)
from tests.chaos.faults.venues import VenueFault
from tests.rig.proxy import Way
from tests.rig.rig import ATTESTER

Make = Callable[[random.Random], Fault]
_OUTAGES = (Way.REFUSED, Way.HANGING, Way.RESET, Way.FAILING, Way.GARBAGE, Way.SLOW)
_JUMPS_S = (3.0, 45.0, 600.0, 3.0 * 3600)
_SECONDS_OF = {"timeout": 5.0, "rate-limit": 3.0}
_MISBEHAVIOURS = (
    "timeout",
    "rate-limit",
    "server-error",
    "html",
    "missing",
    "late",
    "revised",
    "frozen",
    "wrong-price",
    "clock-skew",
)
_AWAY = ("server-error", "timeout", "html")


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault and its moment: ``pause_s`` after the one before it could begin."""

    number: int
    fault: Fault
    pause_s: float


@dataclass(frozen=True, slots=True)
class Cast:
    """Who there is to be hurt."""

    store: Literal["sqlite", "postgresql"]
    services: Sequence[str]
    provers: Sequence[str]
    """Of the services, those with prover processes of their own."""


def schedule(seed: int, count: int, cast: Cast, *, long: bool = True) -> list[Planned]:
    """``count`` faults: each kind comes once before any comes again, in an order drawn anew each time.

    Without ``long``, none that takes more than a few seconds.
    """
    rng = random.Random(f"{seed} {cast.store}")
    dealt = _dealt(rng, _deck(cast, long))
    return [Planned(number, next(dealt)(rng), rng.uniform(0, 0.5)) for number in range(count)]


def _dealt(rng: random.Random, deck: Sequence[Make]) -> Iterator[Make]:
    while True:
        yield from rng.sample(deck, len(deck))


def _deck(cast: Cast, long: bool) -> list[Make]:
    makes = [*_signals(cast), *_outside(), *_clocks(cast), *_all_venues()]
    makes += _of_sqlite() if cast.store == "sqlite" else _of_postgres()
    return makes + (_long_ones(cast) if long else [])


def _short(rng: random.Random) -> float:
    return round(rng.uniform(0.3, 2.0), 2)


def _signals(cast: Cast) -> list[Make]:
    services, provers = list(cast.services), list(cast.provers)
    return [
        *[lambda rng: Killed(rng.choice(services), hold_s=_short(rng))] * 6,
        lambda rng: Killed(ATTESTER, hold_s=_short(rng)),
        *[lambda rng: Told(rng.choice(services), hold_s=_short(rng))] * 3,
        *[lambda rng: Frozen(rng.choice([*services, ATTESTER]), "short", hold_s=_short(rng))] * 4,
        *[lambda rng: WorkerHurt(rng.choice(provers), "SIGKILL", hold_s=0.0)] * 4,
        *[lambda rng: WorkerHurt(rng.choice(provers), "SIGSTOP", hold_s=_short(rng))] * 2,
        *[lambda rng: DiskFull(rng.choice(services), hold_s=_short(rng))] * 2,
    ]


def _outside() -> list[Make]:
    makes: list[Make] = [
        *[lambda rng, way=way: WayCut("RPC", way, hold_s=_short(rng)) for way in _OUTAGES],
        *[lambda rng, way=way: WayCut("attester", way, hold_s=_short(rng)) for way in _OUTAGES[:5]],
        lambda rng: ChainFrozen(hold_s=_short(rng)),
        lambda rng: Reorg(rng.randint(1, 2)),
    ]
    return makes + [lambda rng, kind=kind: _one_venue(rng, kind) for kind in _MISBEHAVIOURS]


def _one_venue(rng: random.Random, misbehaviour: str) -> Fault:
    venue = rng.choice(SIMULATED_VENUES)
    return VenueFault((venue,), misbehaviour, _SECONDS_OF.get(misbehaviour), hold_s=_short(rng))


def _all_venues() -> list[Make]:
    def some(rng: random.Random, many: int) -> Fault:
        kind = rng.choice(_AWAY)
        return VenueFault(tuple(rng.sample(SIMULATED_VENUES, many)), kind, _SECONDS_OF.get(kind), hold_s=_short(rng))

    return [lambda rng: some(rng, 2), lambda rng: some(rng, 3)]


def _clocks(cast: Cast) -> list[Make]:
    return [
        lambda rng, jump=jump, sign=sign: ClockJump(rng.choice(cast.services), sign * jump, hold_s=_short(rng))
        for jump in _JUMPS_S
        for sign in (1, -1)
    ]


def _of_sqlite() -> list[Make]:
    return [
        *[lambda rng: SqliteLocked("short", hold_s=_short(rng))] * 2,
        *[lambda rng, what=what: FileSpoiled(what) for what in ("pk", "vk", "SRS", "model")],
        lambda rng: DatabaseSpoiled("truncated", rng.randrange(2**16)),
        lambda rng: DatabaseSpoiled("overwritten", rng.randrange(2**16)),
        lambda rng: SecondCopy(),
    ]


def _of_postgres() -> list[Make]:
    return [
        lambda rng: PostgresAway("immediate", hold_s=_short(rng)),
        lambda rng: PostgresAway("SIGKILL", hold_s=_short(rng)),
        *[lambda rng: BackendHurt("SIGTERM", rng.randrange(64))] * 2,
        lambda rng: BackendHurt("SIGKILL", rng.randrange(64)),
        *[
            lambda rng, way=way: WayToDatabaseCut(way, hold_s=_short(rng))
            for way in (Way.REFUSED, Way.HANGING, Way.RESET)
        ],
        lambda rng: DatabaseDiskFull(hold_s=_short(rng)),
    ]


def _long_ones(cast: Cast) -> list[Make]:
    """Longer than the leases, the prover's patience, or the time that anybody waits for SQLite's lock."""
    beyond = 17.0
    makes: list[Make] = [
        lambda rng: WorkerHurt(rng.choice(cast.provers), "SIGSTOP", hold_s=6.5),
        lambda rng: Frozen(rng.choice(cast.services), "long", hold_s=beyond),
    ]
    return makes + ([lambda rng: SqliteLocked("long", hold_s=beyond)] if cast.store == "sqlite" else [])
