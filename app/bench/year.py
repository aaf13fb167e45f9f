"""A year of many feeds, simulated against the capacity model: ticks, proofs, updates, disk, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from app.bench.capacity_constants import Constants
from app.bench.capacity_model import (
    DAY_MINUTES,
    POLICIES,
    Movement,
    Plant,
    Policy,
    Published,
    database_bytes,
    gas_per_day,
    needs,
    transactions_per_minute,
    updates_per_day,
)
from app.bench.year_markets import forecasts
from app.bench.year_proving import proving_year
from app.bench.year_publishing import publishing_year
from app.bench.year_troubles import troubles
from app.errors import BadInput
from app.inference.release import ReleasedModel

Say = Callable[[str], None]
_MOST_UTILISED = 0.8
_MONTH_DAYS = 365 / 12
_RETENTIONS = (0, 90)
_GIB = 2**30


def simulated_year(
    constants: Constants, plant: Plant, model: ReleasedModel, days: int, seed: int, say: Say
) -> dict[str, Any]:
    """Proving, publishing and disk, with what the formulas say beside them.

    Raises `BadInput` for provers that could not keep up with the feeds even where nothing goes wrong.
    """
    expected = needs(constants, plant)
    if expected["prover_utilisation"] > _MOST_UTILISED:
        raise BadInput(
            f"{plant.provers} provers would be busy for {expected['prover_utilisation']:.0%} of the time: more "
            "--provers, or fewer --feeds"
        )
    made = forecasts(model, plant.feeds, days, seed, say)
    amiss = troubles(made.minutes, seed)
    proving, proved = proving_year(constants, plant, amiss, seed, say)
    updates = publishing_year(constants, made, POLICIES, proved, amiss, say)
    moves, told = made.movement(), proving.told()
    return {
        "days": days,
        "seed": seed,
        "movement": asdict(moves),
        "troubled_minutes": {name: int(getattr(amiss, name).sum()) for name in amiss.__slots__},
        "proving": told,
        "updates": updates,
        "disk_gib": disk(constants, plant.feeds, days, published(updates, POLICIES[0], plant.feeds)),
        "compared": compared(constants, plant, moves, expected, told, updates),
    }


def compared(
    constants: Constants,
    plant: Plant,
    moves: Movement,
    expected: dict[str, float],
    proving: dict[str, Any],
    updates: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """What the formulas say and what came of the year."""
    cores = proving["proving_cores"]
    rows: list[tuple[str, float, float]] = [
        ("cores that prove, in the mean", expected["prover_utilisation"] * plant.provers, cores["mean"]),
        ("last tick of a minute, s", expected["last_tick_s"], proving["stored_s"]["largest"]),
        ("last proof of a minute, s", expected["last_proof_s"], proving["proved_s"]["p99"]),
    ]
    for row in updates:
        policy = next(one for one in POLICIES if one.name == row["policy"])
        said, joint = updates_per_day(policy, moves), row["mode"] == "joint"
        if not joint:
            said = min(said, transactions_per_minute() * DAY_MINUTES / plant.feeds)
            rows.append((f"updates of a feed a day, {policy.name}", said, row["rounds_per_feed_and_day"]))
        gas = gas_per_day(constants, plant.feeds, said, joint=joint) / 1e6
        least = ", joint at best" if joint else ", single"
        rows.append((f"million gas a day, {policy.name}{least}", gas, row["million_gas_per_day"]))
    return [
        {
            "what": what,
            "model": round(said, 2),
            "simulated": round(found, 2),
            "ratio": round(found / said, 2) if said else None,
        }
        for what, said, found in rows
    ]


def disk(constants: Constants, feeds: int, days: int, published: Published) -> list[dict[str, Any]]:
    """GiB at the end of each month, for each engine, with all predictions kept and with some."""
    ends = [_MONTH_DAYS * month for month in range(1, 13) if _MONTH_DAYS * month <= days + 1] or [float(days)]
    return [
        {
            "engine": engine,
            "retention_days": retention,
            "by_month": [round(database_bytes(each, feeds, end, published, retention) / _GIB, 2) for end in ends],
        }
        for engine, each in constants.bytes_each.items()
        for retention in _RETENTIONS
    ]


def published(updates: Sequence[dict[str, Any]], policy: Policy, feeds: int) -> Published:
    """As the product publishes many feeds: together where that saves gas."""
    row = next(one for one in updates if one["policy"] == policy.name and one["mode"] == "joint")
    return Published(row["rounds_per_feed_and_day"], row["transactions_per_day"] / feeds)
