"""How good a forecast is, in numbers. Every forecaster is judged by the same ones, on the same windows.

Whatever forecasts, a network, a regression or "the next hours are like the last one", is reduced to `Forecasts`; from
there on nothing knows where it came from. Everything works on arrays of n windows, recorded for training or lived
through by the service: `veriregime evaluate` and the track record both call this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from app.types import MINUTES_PER_YEAR, BoolArray, FloatArray, IntArray

ECE_BINS = 10
DIGITS = 6
LARGEST_LN_VOL = 50.0
"""Where serving cuts the third output; QLIKE, which exponentiates it, stays finite for any forecast."""
MODEL = "model"
PERSISTENCE = "persistence_"
"""What the names of the forecasts that repeat the past begin with; the minutes follow."""
SMALLEST_VOLATILITY = 1e-7
"""Stands for an hour in which the price did not move, whose logarithm has no value."""

Metrics = dict[str, float | None]


class Realised(Protocol):
    """What came of n windows, shapes (n,): ``ln_vol`` is ln of annualised volatility, ``end_ms`` int64."""

    @property
    def end_ms(self) -> IntArray: ...

    @property
    def high(self) -> BoolArray: ...

    @property
    def ln_vol(self) -> FloatArray: ...


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What one forecaster said about n windows, shapes (n,).

    ``p_high`` is the stated probability of high, ``high_said`` the regime named, ``score`` anything that grows with the
    belief in high (AUC uses its order only), ``ln_vol`` ln of annualised volatility, or None where none is forecast.
    """

    p_high: FloatArray
    high_said: BoolArray
    score: FloatArray
    ln_vol: FloatArray | None

    def __len__(self) -> int:
        return len(self.p_high)

    def __getitem__(self, part: slice | IntArray | BoolArray) -> Forecasts:
        """The forecasts of some of the windows."""
        ln_vol = None if self.ln_vol is None else self.ln_vol[part]
        return Forecasts(self.p_high[part], self.high_said[part], self.score[part], ln_vol)


def forecasts_of(outputs: FloatArray) -> Forecasts:
    """Raw outputs ``(logit_low, logit_high, ln vol_annualised)``, (n, 3), as serving reads them: a tie is low."""
    return of_margin(outputs[:, 1] - outputs[:, 0], outputs[:, 2])


def of_margin(margin: FloatArray, ln_vol: FloatArray | None = None) -> Forecasts:
    """What ``logit_high − logit_low`` says, with a volatility or without."""
    p_high = 1.0 / (1.0 + np.exp(-np.clip(margin, -700, 700)))
    return Forecasts(p_high=p_high, high_said=margin > 0, score=margin, ln_vol=ln_vol)


def repeating(past: FloatArray, high: BoolArray) -> Forecasts:
    """Persistence: the next hours are like the last ones, of which the deviation is ``past`` (n,), ``high`` or not.

    It knows no doubt: its probability is 0 or 1, which Brier score and calibration error take as it stands. AUC is by
    the past volatility itself.
    """
    return Forecasts(p_high=high.astype(np.float64), high_said=high, score=past, ln_vol=past_ln_vol(past))


def past_ln_vol(past: FloatArray) -> FloatArray:
    """ln of annualised volatility of deviations of one-minute log returns, floored at `SMALLEST_VOLATILITY`."""
    return realised_ln_vol(np.maximum(past, SMALLEST_VOLATILITY))


def realised_ln_vol(volatility: FloatArray) -> FloatArray:
    """ln of annualised volatility of deviations (n,) of one-minute log returns, all above 0."""
    result: FloatArray = np.log(volatility * math.sqrt(MINUTES_PER_YEAR))
    return result


def metrics(forecasts: Forecasts, realised: Realised) -> Metrics:
    """Accuracy, balanced accuracy, macro F1, AUC, Brier score, calibration error, R² of ln volatility and QLIKE.

    What does not apply is None: AUC of a single class, R² and QLIKE of a forecaster that names no volatility.
    """
    high, ln_vol, actual = realised.high, forecasts.ln_vol, realised.ln_vol
    return rounded(
        {
            **class_metrics(forecasts.high_said, high),
            "auc": auc(forecasts.score, high),
            "brier": float(((forecasts.p_high - high) ** 2).mean()),
            "ece": calibration_error(forecasts.p_high, high),
            "r2_log_vol": None if ln_vol is None else r_squared(ln_vol, actual),
            "qlike": None if ln_vol is None else qlike(ln_vol, actual),
        }
    )


def monthly(forecasts: Mapping[str, Forecasts], realised: Realised) -> list[dict[str, Any]]:
    """One row per calendar month (UTC) of window ends: the forecaster named `MODEL` beside the others.

    ``accuracy``, ``auc`` and ``r2_log_vol`` are the model's; every other forecaster's accuracy stands under its name.
    ``points_above_…`` are accuracy points of the model above persistence, ``…_better`` above whichever persistence did
    better over that month.
    """
    months = realised.end_ms.astype("datetime64[ms]").astype("datetime64[M]")
    high, ln_vol = realised.high, realised.ln_vol
    rows: list[dict[str, Any]] = []
    for month in np.unique(months):
        here = np.flatnonzero(months == month)
        part = {name: said[here] for name, said in forecasts.items()}
        accuracy = {name: float((said.high_said == high[here]).mean()) for name, said in part.items()}
        model = part[MODEL]
        row: dict[str, Any] = {
            "samples": len(here),
            "high_share": float(high[here].mean()),
            "accuracy": accuracy[MODEL],
            "auc": auc(model.score, high[here]),
            "r2_log_vol": None if model.ln_vol is None else r_squared(model.ln_vol, ln_vol[here]),
            **{name: value for name, value in accuracy.items() if name != MODEL},
            **points_above(accuracy),
        }
        rows.append({"month": str(month), **rounded(row)})
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
        "f1": sum(f1) / 2,
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
    _, stated, observed = bins(p_high, high)
    return float(np.abs(stated - observed).sum() / len(high))


def calibration(p_high: FloatArray, high: BoolArray) -> list[dict[str, float | None]]:
    """One row for each bin of probability: how many windows, their mean stated probability, the share that was high."""
    rows: list[dict[str, float | None]] = []
    for place, (size, stated, observed) in enumerate(zip(*(part.tolist() for part in bins(p_high, high)), strict=True)):
        means = {"stated": stated / size, "observed": observed / size} if size else {"stated": None, "observed": None}
        rows.append({"from": place / ECE_BINS, "to": (place + 1) / ECE_BINS, "windows": size} | rounded(means))
    return rows


def bins(p_high: FloatArray, high: BoolArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Of each equal bin of probability, (`ECE_BINS`,): windows, the sum of what was stated, and how many were high."""
    place: IntArray = np.minimum((p_high * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    size: IntArray = np.bincount(place, minlength=ECE_BINS)
    stated: FloatArray = np.bincount(place, weights=p_high, minlength=ECE_BINS).astype(np.float64)
    observed: FloatArray = np.bincount(place, weights=high.astype(np.float64), minlength=ECE_BINS).astype(np.float64)
    return size, stated, observed


def r_squared(forecast: FloatArray, actual: FloatArray) -> float | None:
    """Share of the variance explained; None when there is none to explain."""
    spread = float(((actual - actual.mean()) ** 2).sum())
    return 1 - float(((forecast - actual) ** 2).sum()) / spread if spread > 0 else None


def qlike(forecast: FloatArray, actual: FloatArray) -> float:
    """Mean of s/h − ln(s/h) − 1 with s the realised and h the forecast variance, of two arrays of ln volatility.

    Patton (2011), "Volatility forecast comparison using imperfect volatility proxies": the order it puts forecasts in
    is not disturbed by noise in the realised variance. It is 0 for a perfect forecast and punishes saying too little
    more than saying too much.
    """
    ln_ratio = 2 * (actual - np.clip(forecast, -LARGEST_LN_VOL, LARGEST_LN_VOL))
    return float((np.exp(ln_ratio) - ln_ratio - 1).mean())


def points_above(accuracy: Mapping[str, float]) -> dict[str, float]:
    """Accuracy points of `MODEL` above persistence over an hour, and above whichever persistence did better."""
    persistence = {name: value for name, value in accuracy.items() if name.startswith(PERSISTENCE)}
    compared = {name: value for name, value in persistence.items() if name == f"{PERSISTENCE}60"}
    if persistence:
        compared[f"{PERSISTENCE}better"] = max(persistence.values())
    return {f"points_above_{name}": 100 * (accuracy[MODEL] - value) for name, value in compared.items()}


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every float at `DIGITS` digits."""
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in values.items()}
