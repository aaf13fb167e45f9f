"""What so many feeds take, by formula and by a simulated year: ``veriregime bench capacity``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.bench.capacity_constants import Constants, read_constants
from app.bench.capacity_measuring import MeasuringEffort, measured
from app.bench.capacity_model import (
    Plant,
    bytes_of_forecast,
    needs,
    planned,
    questions_per_minute,
    replicas,
    transactions_per_minute,
)
from app.bench.year import simulated_year
from app.inference.release import ReleasedModel
from app.settings import Settings

Say = Callable[[str], None]
_REQUESTS_PER_S = (100, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class CapacityEffort:
    """``provers`` and ``pipelines`` are planned where they are 0; ``days`` of none leave the simulation out."""

    feeds: int = 100
    days: int = 365
    provers: int = 0
    pipelines: int = 0
    seed: int = 0
    measuring: MeasuringEffort = field(default_factory=MeasuringEffort)


def bench_capacity(
    settings: Settings, model: ReleasedModel, effort: CapacityEffort, known: Path | None, say: Say
) -> dict[str, Any]:
    """Constants, measured unless ``known`` has them; needs by formula; and the year.

    Raises `BadInput` for constants that are none, or for provers too few.
    """
    constants = measured(settings, model, effort.measuring, say) if known is None else read_constants(known)
    plan = planned(constants, effort.feeds)
    plant = Plant(effort.feeds, effort.provers or plan.provers, effort.pipelines or plan.pipelines)
    found = {"constants": constants.to_json(), "plant": asdict(plant), "needs": _needs(constants, plant)}
    if effort.days:
        found["year"] = simulated_year(constants, plant, model, effort.days, effort.seed, say)
    return found


def _needs(constants: Constants, plant: Plant) -> dict[str, Any]:
    return {
        **{name: round(value, 4) for name, value in needs(constants, plant).items()},
        "bytes_of_forecast": {engine: bytes_of_forecast(each) for engine, each in constants.bytes_each.items()},
        "api_replicas": {
            str(rate): {"alone": replicas(constants, rate), "behind_a_cache": replicas(constants, rate, cached=True)}
            for rate in _REQUESTS_PER_S
        },
        "venues_per_minute": questions_per_minute(plant.feeds),
        "transactions_per_minute": transactions_per_minute(),
    }
