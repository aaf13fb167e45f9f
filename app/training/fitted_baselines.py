"""The forecasts that need a library to fit: the strongest things to compare a network with on the same inputs.

Both see the very integers that the circuit sees, so what is left between them and the network is the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge

from app.errors import ToolMissing
from app.training.circuit import INPUT_SCALE
from app.training.datasets import Observations, Samples
from app.training.evaluation import Forecasts
from app.types import FloatArray

try:
    import lightgbm
except OSError as error:
    raise ToolMissing(
        "LightGBM needs the OpenMP runtime libgomp: install libgomp1 (Debian, Ubuntu), libgomp (Fedora, Alpine)"
    ) from error

INVERSE_PENALTIES = (1e-4, 1e-2, 1.0)
"""Tried for the logistic regression, sklearn's C; validation chooses."""
RIDGE_PENALTY = 100.0
LOGISTIC_STEPS = 200
LIGHTGBM_ROUNDS = 300
LIGHTGBM_PATIENCE = 30
"""Rounds without progress on validation after which boosting ends."""
CHUNK = 50_000

Inputs = npt.NDArray[np.float32]
Predict = Callable[[Inputs], FloatArray]


@dataclass(frozen=True, slots=True)
class FittedForecaster:
    """Two fitted models on the same inputs: (n, 192) to probability of high (n,), and to ln vol (n,)."""

    p_high: Predict
    ln_vol: Predict

    def forecasts(self, samples: Samples) -> Forecasts:
        p_high = _in_chunks(self.p_high, samples)
        return Forecasts(p_high=p_high, high_said=p_high > 0.5, score=p_high, ln_vol=_in_chunks(self.ln_vol, samples))


def inputs_of(observations: Observations) -> Inputs:
    """Observations as the numbers they stand for, (n, 192): exact in float32, and half the memory of float64."""
    return np.ldexp(observations.astype(np.float32), -INPUT_SCALE)


def fit_logistic(train: Samples, validation: Samples) -> FittedForecaster:
    """Logistic regression for the regime, ridge regression for ln vol, on all inputs of the observation.

    The inputs are standardised already. Both classes must occur in ``train``.
    """
    inputs = inputs_of(train.observations)
    regimes = (_logistic(inputs, train, penalty) for penalty in INVERSE_PENALTIES)
    regime = min(regimes, key=lambda p_high: _cross_entropy(_in_chunks(p_high, validation), validation))
    ridge = Ridge(alpha=RIDGE_PENALTY, solver="cholesky").fit(inputs, train.ln_vol)
    return FittedForecaster(p_high=regime, ln_vol=lambda part: np.asarray(ridge.predict(part), dtype=np.float64))


def fit_lightgbm(train: Samples, validation: Samples, *, seed: int, threads: int = 2) -> FittedForecaster:
    """Gradient-boosted trees for the regime and for ln vol, stopped early on validation (Ke et al., 2017).

    The same samples and seed give the same trees, whatever the number of threads.
    """
    inputs, judged = (
        lightgbm.Dataset(inputs_of(train.observations)),
        lightgbm.Dataset(inputs_of(validation.observations)),
    )

    def boosted(objective: str, target: npt.NDArray[Any], judged_by: npt.NDArray[Any]) -> Predict:
        booster = lightgbm.train(
            _parameters(objective, seed, threads),
            inputs.set_label(target),
            num_boost_round=LIGHTGBM_ROUNDS,
            valid_sets=[judged.set_reference(inputs).set_label(judged_by)],
            callbacks=[lightgbm.early_stopping(LIGHTGBM_PATIENCE, verbose=False)],
        )
        return lambda part: np.asarray(booster.predict(part, num_threads=threads), dtype=np.float64)

    return FittedForecaster(
        p_high=boosted("binary", train.high, validation.high),
        ln_vol=boosted("regression", train.ln_vol, validation.ln_vol),
    )


def _logistic(inputs: Inputs, train: Samples, penalty: float) -> Predict:
    fitted = LogisticRegression(C=penalty, max_iter=LOGISTIC_STEPS).fit(inputs, train.high)
    return lambda part: np.asarray(fitted.predict_proba(part)[:, 1], dtype=np.float64)


def _parameters(objective: str, seed: int, threads: int) -> dict[str, Any]:
    return {
        "objective": objective,
        "learning_rate": 0.05,
        "num_leaves": 47,
        # Windows a minute apart are nearly the same one: a leaf of a hundred may be a single afternoon.
        "min_data_in_leaf": 1000,
        "feature_fraction": 0.5,
        "lambda_l2": 10.0,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _cross_entropy(p_high: FloatArray, samples: Samples) -> float:
    """Mean cross entropy of the stated probability of what happened."""
    stated = np.where(samples.high, p_high, 1 - p_high)
    return float(-np.log(np.maximum(stated, 1e-12)).mean())


def _in_chunks(predict: Predict, samples: Samples) -> FloatArray:
    """Predictions for every sample without their float inputs in memory all at once."""
    steps = range(0, len(samples), CHUNK)
    return np.concatenate([predict(inputs_of(samples.observations[first : first + CHUNK])) for first in steps])
