"""The teachers: what may be as large as it likes, as only the student is ever proven.

`train production` fits every candidate, compares them and their mean on validation, and distils the best one. They
differ in kind on purpose, trees, wide networks, a convolution and a recurrence over the hours: the mean of forecasters
that err differently errs less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from app.features.variation import INPUTS
from app.training.boosting import MOST_THREADS, lightgbm, reproducible
from app.training.lessons import Inputs, Lesson
from app.training.teachers.fitting import NetworkTeacher, Reader, Recipe, fit_network
from app.training.teachers.networks import CHANNELS, STATE, DilatedConvolutions, Head, HourlyNetwork, LastState
from app.types import FloatArray

ENSEMBLE = "ensemble"
ENSEMBLE_WHAT = "the mean of the other teachers' outputs"

ROUNDS = 400
"""Fixed: rounds chosen on validation would need a validation part wherever a teacher is fitted."""
THREADS = MOST_THREADS
"""For speed only: the trees are the same on any number."""
PARAMETERS = {
    "num_leaves": 31,
    "learning_rate": 0.03,
    # Every tree sees a part of the inputs and of the windows: neighbours are nearly the same in both directions.
    "feature_fraction": 0.3,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "min_data_in_leaf": 500,
    "lambda_l2": 10.0,
    "max_bin": 63,
}

MEMBERS = 4
WIDE = Recipe(epochs=6, learning_rate=6e-3, weight_decay=0.4, noise=0.5)
HOURLY = Recipe(epochs=4, learning_rate=8e-3, weight_decay=0.4, noise=0.3)


CONFIGURATION: Mapping[str, Any] = {
    "trees": {"rounds": ROUNDS, **PARAMETERS},
    "wide": {"members": MEMBERS, **asdict(WIDE)},
    "hourly": asdict(HOURLY),
}
"""What decides about the teachers beside the data and the seed."""


class Teacher(Protocol):
    """Something fitted that forecasts."""

    def outputs(self, lesson: Lesson) -> FloatArray:
        """``(logit_low, logit_high, ln vol_annualised)`` of every window, float64 (n, 3).

        Only the difference of the logits means something; some teachers leave the first at 0.
        """
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kind of teacher. ``fit`` takes a lesson and a seed; both the same give the same teacher on the same machine.

    What it makes small is cross entropy of the regime plus squared error of ln volatility, windows counting by
    ``Lesson.weight``.
    """

    name: str
    what: str
    fit: Callable[[Lesson, int], Teacher]


@dataclass(frozen=True, slots=True)
class Mean:
    """Teachers that speak with one voice: margins and ln volatility are averaged, not probabilities."""

    teachers: tuple[Teacher, ...]

    def outputs(self, lesson: Lesson) -> FloatArray:
        result: FloatArray = np.mean([teacher.outputs(lesson) for teacher in self.teachers], axis=0)
        return result


@dataclass(frozen=True, slots=True)
class BoostedTeacher:
    """One forest for the regime's margin, one for ln volatility: the only teacher with the whole month of context."""

    margin: Any
    ln_vol: Any

    def outputs(self, lesson: Lesson) -> FloatArray:
        inputs = _inputs(lesson)
        margin = self.margin.predict(inputs, raw_score=True, num_threads=THREADS)
        ln_vol = self.ln_vol.predict(inputs, num_threads=THREADS)
        return np.column_stack([np.zeros(len(inputs)), margin, ln_vol])


def fit_boosted(lesson: Lesson, seed: int) -> BoostedTeacher:
    """`ROUNDS` trees for each question (Ke et al., 2017, "LightGBM"); both classes must occur in the lesson."""
    data = lightgbm.Dataset(_inputs(lesson), weight=lesson.weight)

    def grown(objective: str, target: Any) -> Any:
        parameters = {**PARAMETERS, **reproducible(objective, seed, THREADS)}
        return lightgbm.train(parameters, data.set_label(target), num_boost_round=ROUNDS)

    return BoostedTeacher(grown("binary", lesson.samples.high), grown("regression", lesson.samples.ln_vol))


def fit_wide(lesson: Lesson, seed: int) -> Mean:
    """`MEMBERS` networks on the observation that differ in their seed only; no two ensembles share a member."""
    start = _mean_ln_vol(lesson)
    seeds = range(MEMBERS * seed, MEMBERS * (seed + 1))
    return Mean(tuple(fit_network(lambda: Head(INPUTS, start), Reader(), lesson, WIDE, one) for one in seeds))


def fit_temporal(lesson: Lesson, seed: int) -> NetworkTeacher:
    """Convolutions over the hours, and the observation."""
    start, reader = _mean_ln_vol(lesson), Reader.of_hours(lesson)
    return fit_network(lambda: HourlyNetwork(DilatedConvolutions(), CHANNELS, start), reader, lesson, HOURLY, seed)


def fit_recurrent(lesson: Lesson, seed: int) -> NetworkTeacher:
    """A recurrence over the hours, and the observation."""
    start, reader = _mean_ln_vol(lesson), Reader.of_hours(lesson)
    return fit_network(lambda: HourlyNetwork(LastState(), STATE, start), reader, lesson, HOURLY, seed)


def _mean_ln_vol(lesson: Lesson) -> float:
    return float(np.average(lesson.samples.ln_vol, weights=lesson.weight))


def _inputs(lesson: Lesson) -> Inputs:
    """What trees see, float32 (n, `INPUTS` + `CONTEXT`)."""
    return np.concatenate([lesson.inputs, lesson.context], axis=1)


_ALL = (
    Candidate("gradient_boosting", "gradient-boosted trees on the observation and a month of context", fit_boosted),
    Candidate("wide_ensemble", "the mean of four networks with 64 hidden units on the observation", fit_wide),
    Candidate("temporal_network", "dilated causal convolutions over the hours of the week", fit_temporal),
    Candidate("recurrent_network", "a GRU over the week in steps of four hours", fit_recurrent),
)
CANDIDATES: Mapping[str, Candidate] = {candidate.name: candidate for candidate in _ALL}
"""By name. `ENSEMBLE` is not among them: it is the mean of those that the caller has fitted."""
