"""The forecasts that anyone can make from past volatility alone: what a model has to beat. Needs numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.features.realised import THRESHOLD, is_high
from app.judging.scores import PERSISTENCE, Forecasts, past_ln_vol, repeating
from app.training.datasets import Samples
from app.types import MINUTES_PER_YEAR, FloatArray

LN_THRESHOLD = math.log(THRESHOLD * math.sqrt(MINUTES_PER_YEAR))
"""From where on ln of annualised volatility counts as high."""
HAR_MINUTES = (240, 1440, 10080)
"""The horizon itself, a day and a week: Corsi's day, week and month at our horizon."""
RECORD_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Persistence:
    """The next four hours are like the last ``minutes``."""

    minutes: int

    @property
    def name(self) -> str:
        return f"{PERSISTENCE}{self.minutes}"

    def forecasts(self, samples: Samples) -> Forecasts:
        past = samples.past[self.minutes]
        return repeating(past, is_high(past))


@dataclass(frozen=True, slots=True)
class HarRv:
    """Heterogeneous autoregression of realised volatility, in logs.

    Corsi (2009), "A simple approximate long-memory model of realized volatility": ln vol of the next four hours is
    ``intercept`` plus ``coefficients`` · ln vol of the last `HAR_MINUTES`, all annualised. ``deviation`` is that of the
    residual, taken as Gaussian for the probability of high.
    """

    intercept: float
    coefficients: tuple[float, ...]
    deviation: float

    @classmethod
    def fit(cls, samples: Samples) -> HarRv:
        """Ordinary least squares over the samples.

        The numbers are rounded at once: what is recorded is what was judged, and no machine's linear algebra shows in
        the last digits.
        """
        inputs, target = _har_inputs(samples), samples.ln_vol
        design = np.column_stack([np.ones(len(samples)), inputs])
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        deviation = float((target - design @ solution).std())
        intercept, *coefficients = (round(float(value), RECORD_DIGITS) for value in solution)
        return cls(intercept, tuple(coefficients), round(max(deviation, 10**-RECORD_DIGITS), RECORD_DIGITS))

    def forecasts(self, samples: Samples) -> Forecasts:
        ln_vol = self.intercept + _har_inputs(samples) @ np.asarray(self.coefficients)
        p_high = _normal_cdf((ln_vol - LN_THRESHOLD) / self.deviation)
        return Forecasts(p_high=p_high, high_said=ln_vol >= LN_THRESHOLD, score=ln_vol, ln_vol=ln_vol)

    def to_record(self) -> dict[str, Any]:
        """What `from_record` takes, as JSON can hold it."""
        return {
            "minutes": list(HAR_MINUTES),
            "intercept": self.intercept,
            "coefficients": list(self.coefficients),
            "deviation": self.deviation,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> HarRv:
        """The inverse of `to_record`. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        if record["minutes"] != list(HAR_MINUTES):
            raise ValueError(f"HAR-RV over {record['minutes']} minutes, not {list(HAR_MINUTES)}")
        made = cls(
            intercept=float(record["intercept"]),
            coefficients=tuple(float(value) for value in record["coefficients"]),
            deviation=float(record["deviation"]),
        )
        finite = all(math.isfinite(value) for value in (made.intercept, *made.coefficients, made.deviation))
        if not finite or len(made.coefficients) != len(HAR_MINUTES) or made.deviation <= 0:
            raise ValueError(f"HAR-RV needs {len(HAR_MINUTES)} finite coefficients and a positive deviation")
        return made


def _har_inputs(samples: Samples) -> FloatArray:
    """Shape (n, 3)."""
    return np.column_stack([past_ln_vol(samples.past[minutes]) for minutes in HAR_MINUTES])


def _normal_cdf(z: FloatArray) -> FloatArray:
    """Φ, shape (n,). numpy has no erf, and scipy comes with the train extra only."""
    erf = np.fromiter(map(math.erf, (z / math.sqrt(2)).tolist()), dtype=np.float64, count=len(z))
    result: FloatArray = (1 + erf) / 2
    return result
