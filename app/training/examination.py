"""The test: opened once, after every choice is made, and everything that is said about it is worked out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.features.variation import VariationSpec
from app.judging.scores import MODEL, Forecasts, forecasts_of, metrics, monthly
from app.training.baselines import HarRv, Persistence
from app.training.circuit import Weights, circuit_floats, integer_weights
from app.training.datasets import Samples, between, samples
from app.training.fitted_baselines import fit_lightgbm, fit_logistic
from app.training.material import Market
from app.types import FloatArray

DIGITS = 6
TEACHER = "teacher"
Json = dict[str, Any]


class Forecaster(Protocol):
    """Anything that was fitted, or needs no fitting."""

    def forecasts(self, samples: Samples) -> Forecasts: ...


@dataclass(frozen=True, slots=True)
class Examined:
    """What was said about the test windows, by name, and the record of how good it was."""

    forecasts: dict[str, Forecasts]
    record: Json


def persistences() -> list[Persistence]:
    return [Persistence(60), Persistence(240)]


def fitted_on(train: Samples, validation: Samples, test: Samples, har: HarRv, seed: int) -> dict[str, Forecasts]:
    """The baselines' forecasts of the test: each has learnt from the same time as the student."""
    forecasters: dict[str, Forecaster] = {
        **{past.name: past for past in persistences()},
        "har_rv": har,
        "logistic_regression": fit_logistic(train, validation),
        "lightgbm": fit_lightgbm(train, validation, seed=seed),
    }
    return {name: forecaster.forecasts(test) for name, forecaster in forecasters.items()}


def proved(weights: Weights, part: Samples) -> Forecasts:
    """What the circuit computes, since that is what a proof shows and a consumer gets."""
    return forecasts_of(circuit_floats(integer_weights(weights), part.observations))


def examine(student: Weights, teacher: FloatArray, others: Mapping[str, Forecasts], test: Samples) -> Examined:
    """The student's circuit, its teacher and every baseline on the same windows."""
    said = {MODEL: proved(student, test), TEACHER: forecasts_of(teacher), **others}
    scores = {name: metrics(forecasts, test) for name, forecasts in said.items()}
    accuracy = {name: float(score["accuracy"] or 0) for name, score in scores.items()}
    better = max(accuracy[past.name] for past in persistences())
    record = {
        "samples": len(test),
        "high_share": round(float(test.high.mean()), DIGITS),
        "scores": scores,
        "points_above_better_persistence": round(100 * (accuracy[MODEL] - better), 4),
        "retention": round(accuracy[MODEL] / accuracy[TEACHER], DIGITS),
        "per_month": monthly(said, test),
    }
    return Examined(said, record)


def examine_other(market: Market, spec: VariationSpec, students: Mapping[str, Weights], *, every: int) -> Json | None:
    """The other asset in the months of the test, as a feed would serve it: same network, same constants, its own
    candles. None without one.
    """
    if market.other is None:
        return None
    ours, other = market.ours.series, market.other.series
    stretch = between(other, int(ours.time_ms(market.split.test.start)), ours.end_ms)
    part = samples(other, stretch, spec, every=every, to_train=False)
    said = {**{past.name: past.forecasts(part) for past in persistences()}}
    said |= {name: proved(weights, part) for name, weights in students.items()}
    return {
        "file": market.other.path.name,
        "samples": len(part),
        "high_share": round(float(part.high.mean()), DIGITS),
        "scores": {name: metrics(forecasts, part) for name, forecasts in said.items()},
    }
