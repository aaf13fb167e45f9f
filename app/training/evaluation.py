"""How good a forecast is, in numbers, beside the forecast that anyone can make: tomorrow is like today.

Everything works on arrays of n windows: raw outputs (n, 3), ``high`` bool (n,), volatilities as deviations of
one-minute log returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.training.datasets import Samples, is_high
from app.types import MINUTES_PER_YEAR, BoolArray, FloatArray, IntArray

ECE_BINS = 10
DIGITS = 6
SMALLEST_VOLATILITY = 1e-7
"""Stands for an hour in which the price did not move, whose logarithm has no value."""

Metrics = dict[str, float | int | None]


def forecast_metrics(outputs: FloatArray, samples: Samples) -> Metrics:
    """Every metric of a model's raw outputs ``(logit_low, logit_high, ln vol_annualised)``."""
    margin = outputs[:, 1] - outputs[:, 0]
    p_high = 1.0 / (1.0 + np.exp(-np.clip(margin, -700, 700)))
    return _rounded(
        {
            "samples": len(samples),
            "high_share": float(samples.high.mean()),
            **class_metrics(margin > 0, samples.high),
            "auc": auc(margin, samples.high),
            "brier": float(((p_high - samples.high) ** 2).mean()),
            "ece": calibration_error(p_high, samples.high),
            "r2_ln_vol": r_squared(outputs[:, 2], samples.ln_vol),
        }
    )


def persistence_metrics(samples: Samples, minutes: int) -> Metrics:
    """The same, as far as they apply, of "the next four hours are like the last ``minutes``"."""
    past = samples.past[minutes]
    ln_vol = np.log(np.maximum(past, SMALLEST_VOLATILITY) * np.sqrt(MINUTES_PER_YEAR))
    return _rounded(
        {
            "samples": len(samples),
            **class_metrics(is_high(past), samples.high),
            "auc": auc(past, samples.high),
            "r2_ln_vol": r_squared(ln_vol, samples.ln_vol),
        }
    )


def monthly_metrics(outputs: FloatArray, samples: Samples) -> list[dict[str, Any]]:
    """One row per calendar month (UTC) of window ends, model beside persistence."""
    predicted = outputs[:, 1] > outputs[:, 0]
    months = samples.end_ms.astype("datetime64[ms]").astype("datetime64[M]")
    rows: list[dict[str, Any]] = []
    for month in np.unique(months):
        here = months == month
        accuracy = _share(predicted[here] == samples.high[here])
        persistence = {
            f"persistence_{minutes}": _share(is_high(past[here]) == samples.high[here])
            for minutes, past in samples.past.items()
        }
        row = {
            "samples": int(here.sum()),
            "high_share": _share(samples.high[here]),
            "accuracy": accuracy,
            "auc": auc((outputs[:, 1] - outputs[:, 0])[here], samples.high[here]),
            "r2_ln_vol": r_squared(outputs[here, 2], samples.ln_vol[here]),
            **persistence,
            "points_above_persistence_60": 100 * (accuracy - persistence["persistence_60"]),
        }
        rows.append({"month": str(month), **_rounded(row)})
    return rows


def class_metrics(predicted: BoolArray, high: BoolArray) -> Metrics:
    """Accuracy, balanced accuracy and macro F1 of yes-or-no forecasts; a class that never occurs counts as missed."""
    hits = {True: int((predicted & high).sum()), False: int((~predicted & ~high).sum())}
    actual = {True: int(high.sum()), False: int((~high).sum())}
    said = {True: int(predicted.sum()), False: int((~predicted).sum())}
    recall = [hits[c] / max(actual[c], 1) for c in (True, False)]
    f1 = [2 * hits[c] / max(actual[c] + said[c], 1) for c in (True, False)]
    return {
        "accuracy": (hits[True] + hits[False]) / len(high),
        "balanced_accuracy": sum(recall) / 2,
        "macro_f1": sum(f1) / 2,
    }


def auc(score: FloatArray, high: BoolArray) -> float | None:
    """Chance that a high window scores above a low one, ties counting half; None when there is only one class.

    The rank sum of Mann and Whitney (1947), with the mean rank for equal scores.
    """
    positives, negatives = int(high.sum()), int((~high).sum())
    if not positives or not negatives:
        return None
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(size) - (size - 1) / 2
    rank_sum = float(mean_rank[group][high].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def calibration_error(p_high: FloatArray, high: BoolArray) -> float:
    """Expected calibration error: mean |stated − observed| share of high over ten equal bins of probability."""
    bins: IntArray = np.minimum((p_high * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    stated = np.bincount(bins, weights=p_high, minlength=ECE_BINS)
    observed = np.bincount(bins, weights=high.astype(np.float64), minlength=ECE_BINS)
    return float(np.abs(stated - observed).sum() / len(high))


def r_squared(forecast: FloatArray, actual: FloatArray) -> float | None:
    """Share of the variance explained; None when there is none to explain."""
    spread = float(((actual - actual.mean()) ** 2).sum())
    return 1 - float(((forecast - actual) ** 2).sum()) / spread if spread > 0 else None


def _share(mask: BoolArray) -> float:
    return float(mask.mean())


def _rounded(metrics: Metrics) -> Metrics:
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in metrics.items()}
