"""The forecasts that need a library to fit: the strongest things to compare a network with on the same inputs.

Both see the very integers that the circuit sees, and as much history as the released student: validation settles the
one thing each has to choose, then they are fitted again on training and validation windows together. So what is left
between them and the network is the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge

from app.judging.scores import Forecasts
from app.training.boosting import MOST_THREADS, lightgbm, reproducible
from app.training.circuit import INPUT_SCALE
from app.training.datasets import Observations, Samples, joined
from app.types import FloatArray

INVERSE_PENALTIES = (1e-4, 1e-2, 1.0)
"""Tried for the logistic regression, sklearn's C; validation chooses."""
RIDGE_PENALTY = 100.0
LOGISTIC_STEPS = 200
LIGHTGBM_ROUNDS = 300
LIGHTGBM_PATIENCE = 30
"""Rounds without progress on validation after which boosting ends."""
REGIME, LN_VOL = "binary", "regression"
"""LightGBM's objectives for the two questions."""
TARGETS: Mapping[str, Callable[[Samples], npt.NDArray[Any]]] = {
    REGIME: lambda samples: samples.high,
    LN_VOL: lambda samples: samples.ln_vol,
}
CHUNK = 50_000

Inputs = npt.NDArray[np.float32]
Predict = Callable[[Inputs], FloatArray]


@dataclass(frozen=True, slots=True)
class FittedForecaster:
    """Two fitted models on the same inputs: (n, `INPUTS`) to probability of high (n,), and to ln vol (n,)."""

    p_high: Predict
    ln_vol: Predict

    def forecasts(self, samples: Samples) -> Forecasts:
        p_high = _in_chunks(self.p_high, samples)
        return Forecasts(p_high=p_high, high_said=p_high > 0.5, score=p_high, ln_vol=_in_chunks(self.ln_vol, samples))


def inputs_of(observations: Observations) -> Inputs:
    """Observations as the numbers they stand for, (n, `INPUTS`): exact in float32, and half the memory of float64."""
    return np.ldexp(observations.astype(np.float32), -INPUT_SCALE)


def fit_logistic(train: Samples, validation: Samples) -> FittedForecaster:
    """Logistic regression for the regime, ridge regression for ln vol, on all inputs of the observation.

    Fitted on ``train`` and ``validation`` together, with the penalty that did best on ``validation`` when fitted on
    ``train``. The inputs are standardised already. Both classes must occur in ``train``.
    """
    penalty = _best_penalty(train, validation)
    whole = joined(train, validation)
    inputs = inputs_of(whole.observations)
    ridge = Ridge(alpha=RIDGE_PENALTY, solver="cholesky").fit(inputs, whole.ln_vol)
    return FittedForecaster(
        p_high=_logistic(inputs, whole, penalty),
        ln_vol=lambda part: np.asarray(ridge.predict(part), dtype=np.float64),
    )


def fit_lightgbm(train: Samples, validation: Samples, *, seed: int, threads: int = MOST_THREADS) -> FittedForecaster:
    """Gradient-boosted trees for the regime and for ln vol (Ke et al., 2017).

    Grown on ``train`` and ``validation`` together, as many as did best on ``validation`` when grown on ``train``. The
    same samples and seed give the same trees, whatever the number of threads.
    """
    parameters = {objective: _parameters(objective, seed, threads) for objective in TARGETS}
    rounds = _best_rounds(train, validation, parameters)
    whole = joined(train, validation)
    inputs = lightgbm.Dataset(inputs_of(whole.observations))

    def grown(objective: str) -> Predict:
        data = inputs.set_label(TARGETS[objective](whole))
        booster = lightgbm.train(parameters[objective], data, num_boost_round=rounds[objective])
        return lambda part: np.asarray(booster.predict(part, num_threads=threads), dtype=np.float64)

    return FittedForecaster(p_high=grown(REGIME), ln_vol=grown(LN_VOL))


def _best_penalty(train: Samples, validation: Samples) -> float:
    inputs = inputs_of(train.observations)

    def entropy(penalty: float) -> float:
        return _cross_entropy(_in_chunks(_logistic(inputs, train, penalty), validation), validation)

    return min(INVERSE_PENALTIES, key=entropy)


def _logistic(inputs: Inputs, train: Samples, penalty: float) -> Predict:
    fitted = LogisticRegression(C=penalty, max_iter=LOGISTIC_STEPS).fit(inputs, train.high)
    return lambda part: np.asarray(fitted.predict_proba(part)[:, 1], dtype=np.float64)


def _best_rounds(train: Samples, validation: Samples, parameters: Mapping[str, dict[str, Any]]) -> dict[str, int]:
    """How many trees early stopping on ``validation`` leaves, by objective."""
    inputs = lightgbm.Dataset(inputs_of(train.observations))
    judged = lightgbm.Dataset(inputs_of(validation.observations), reference=inputs)
    rounds = {}
    for objective, target in TARGETS.items():
        booster = lightgbm.train(
            parameters[objective],
            inputs.set_label(target(train)),
            num_boost_round=LIGHTGBM_ROUNDS,
            valid_sets=[judged.set_label(target(validation))],
            callbacks=[lightgbm.early_stopping(LIGHTGBM_PATIENCE, verbose=False)],
        )
        rounds[objective] = int(booster.best_iteration)
    return rounds


def _parameters(objective: str, seed: int, threads: int) -> dict[str, Any]:
    return {
        "learning_rate": 0.05,
        "num_leaves": 47,
        # Windows a minute apart are nearly the same one: a leaf of a hundred may be a single afternoon.
        "min_data_in_leaf": 1000,
        "feature_fraction": 0.5,
        "lambda_l2": 10.0,
        **reproducible(objective, seed, threads),
    }


def _cross_entropy(p_high: FloatArray, samples: Samples) -> float:
    """Mean cross entropy of the stated probability of what happened."""
    stated = np.where(samples.high, p_high, 1 - p_high)
    return float(-np.log(np.maximum(stated, 1e-12)).mean())


def _in_chunks(predict: Predict, samples: Samples) -> FloatArray:
    """Predictions for every sample without their float inputs in memory all at once."""
    steps = range(0, len(samples), CHUNK)
    return np.concatenate([predict(inputs_of(samples.observations[first : first + CHUNK])) for first in steps])
