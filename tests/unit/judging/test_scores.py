from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest

from app.inference.network import forecast_from
from app.judging.scores import (
    Forecasts,
    auc,
    calibration,
    calibration_error,
    class_metrics,
    forecasts_of,
    metrics,
    monthly,
    past_ln_vol,
    points_above,
    qlike,
    r_squared,
    realised_ln_vol,
    repeating,
)
from app.types import BoolArray, FloatArray, IntArray, Regime, parse_time

LOW, HIGH = 0.0004, 0.0006
NAMES = ["accuracy", "balanced_accuracy", "f1", "auc", "brier", "ece", "r2_log_vol", "qlike"]


@dataclass(frozen=True)
class Hours:
    """What came of some windows."""

    end_ms: IntArray
    volatility: FloatArray

    @property
    def high(self) -> BoolArray:
        return self.volatility >= 0.0005

    @property
    def ln_vol(self) -> FloatArray:
        return realised_ln_vol(self.volatility)


def hours(volatility: list[float], times: list[str] | None = None) -> Hours:
    stamps = times or ["2025-01-01T00:00:00Z"] * len(volatility)
    return Hours(np.asarray([parse_time(stamp) for stamp in stamps], dtype=np.int64), np.asarray(volatility))


def said(*high: bool) -> Forecasts:
    stated = np.asarray(high, dtype=np.float64)
    return Forecasts(p_high=stated, high_said=np.asarray(high), score=stated, ln_vol=None)


@pytest.fixture
def drawn() -> tuple[Forecasts, Hours]:
    """Two thousand forecasts that are right more often than not, with equal scores among them."""
    rng = np.random.default_rng(4)
    volatility = 0.0005 * np.exp(rng.normal(0, 0.5, 2_000))
    margin = np.round(np.log(volatility / 0.0005) + rng.normal(0, 0.6, 2_000), 1)
    outputs = np.column_stack([np.zeros(2_000), margin, np.log(volatility) + rng.normal(6.5, 0.3, 2_000)])
    return forecasts_of(outputs), hours(volatility.tolist())


def test_metrics__names__are_those_used_everywhere(drawn: tuple[Forecasts, Hours]) -> None:
    assert sorted(metrics(*drawn)) == sorted(NAMES)


def test_metrics__against_scikit_learn__are_the_same(drawn: tuple[Forecasts, Hours]) -> None:
    reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the train extra")
    (forecasts, samples), found = drawn, metrics(*drawn)
    high, named = samples.high, forecasts.high_said
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(high, named), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(high, named), abs=1e-6)
    assert found["f1"] == pytest.approx(reference.f1_score(high, named, average="macro"), abs=1e-6)
    assert found["auc"] == pytest.approx(reference.roc_auc_score(high, forecasts.score), abs=1e-6)
    assert found["brier"] == pytest.approx(reference.brier_score_loss(high, forecasts.p_high), abs=1e-6)
    assert found["r2_log_vol"] == pytest.approx(reference.r2_score(samples.ln_vol, forecasts.ln_vol), abs=1e-6)


def test_metrics__values__are_rounded_to_six_digits(drawn: tuple[Forecasts, Hours]) -> None:
    assert all(value == round(value, 6) for value in metrics(*drawn).values() if value is not None)


def test_metrics__no_volatility_named__has_no_r2_and_no_qlike() -> None:
    found = metrics(said(True, False), hours([HIGH, LOW]))
    assert found["r2_log_vol"] is None
    assert found["qlike"] is None
    assert found["accuracy"] == 1


def test_metrics__one_class__has_no_auc() -> None:
    found = metrics(said(True, False), hours([LOW, LOW]))
    assert found["auc"] is None
    json.dumps(found, allow_nan=False)


def test_class_metrics__hand_counted() -> None:
    predicted = np.asarray([True, True, False, False, True])
    high = np.asarray([True, False, False, False, True])
    found = class_metrics(predicted, high)
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 2 + 2 / 3) / 2)
    # High: precision 2/3, recall 1, F1 0.8. Low: precision 1, recall 2/3, F1 0.8.
    assert found["f1"] == pytest.approx(0.8)


def test_auc__ties__count_half() -> None:
    # Pairs (high, low): 0.8 > 0.1, 0.8 > 0.5, 0.5 > 0.1 and one tie.
    assert auc(np.asarray([0.1, 0.5, 0.5, 0.8]), np.asarray([False, False, True, True])) == pytest.approx(3.5 / 4)


def test_auc__one_class__is_none() -> None:
    assert auc(np.asarray([0.1, 0.2]), np.asarray([True, True])) is None


def test_calibration_error__two_bins() -> None:
    # Bin 0: stated 0.05 twice, observed 1/2. Bin 9: stated 1.0 twice, observed 1.
    stated, high = np.asarray([0.05, 0.05, 1.0, 1.0]), np.asarray([False, True, True, True])
    assert calibration_error(stated, high) == pytest.approx(0.5 * 0.45)


def test_calibration__two_bins__says_what_was_stated_and_what_was_seen() -> None:
    stated, high = np.asarray([0.05, 0.15, 1.0, 0.15]), np.asarray([False, True, True, False])
    first, second, *empty, last = calibration(stated, high)
    assert first == {"from": 0.0, "to": 0.1, "windows": 1, "stated": 0.05, "observed": 0.0}
    assert second == {"from": 0.1, "to": 0.2, "windows": 2, "stated": 0.15, "observed": 0.5}
    assert last == {"from": 0.9, "to": 1.0, "windows": 1, "stated": 1.0, "observed": 1.0}
    assert [row["stated"] for row in empty] == [None] * 7


def test_repeating__past__is_a_forecast_without_doubt() -> None:
    found = repeating(np.asarray([HIGH, 0.0]), np.asarray([True, False]))
    assert (found.p_high.tolist(), found.high_said.tolist(), found.score.tolist()) == ([1, 0], [True, False], [HIGH, 0])
    assert found.ln_vol is not None
    assert found.ln_vol.tolist() == past_ln_vol(np.asarray([HIGH, 0.0])).tolist()


def test_points_above__persistence__is_the_better_one() -> None:
    found = points_above({"model": 0.9, "persistence_60": 0.7, "persistence_240": 0.8, "har_rv": 0.85})
    assert found == {
        "points_above_persistence_60": pytest.approx(20),
        "points_above_persistence_better": pytest.approx(10),
    }


def test_r_squared__mean_forecast__explains_nothing() -> None:
    actual = np.asarray([1.0, 2.0, 3.0])
    assert r_squared(np.full(3, 2.0), actual) == pytest.approx(0)
    assert r_squared(actual, actual) == 1
    assert r_squared(actual, np.ones(3)) is None


def test_qlike__by_hand__is_pattons_ratio_of_variances() -> None:
    realised, forecast = 0.3, 0.2
    ratio = realised**2 / forecast**2
    expected = (ratio - math.log(ratio) - 1) / 2
    assert qlike(np.log([0.2, 0.5]), np.log([0.3, 0.5])) == pytest.approx(expected)


def test_qlike__perfect_forecast__is_zero() -> None:
    assert qlike(np.log([0.2, 0.5]), np.log([0.2, 0.5])) == 0


def test_qlike__too_little__costs_more_than_too_much() -> None:
    assert qlike(np.log([0.1]), np.log([0.2])) > qlike(np.log([0.4]), np.log([0.2]))


@pytest.mark.parametrize("forecast", [-1e6, 1e6])
def test_qlike__absurd_forecast__is_finite(forecast: float) -> None:
    assert math.isfinite(qlike(np.asarray([forecast]), np.asarray([-1.0])))


def test_forecasts_of__outputs__are_read_as_serving_reads_them() -> None:
    outputs = np.asarray([[0.25, 1.5, -1.0], [2.0, -900.0, 0.5], [1.0, 1.0, 0.0]])
    found = forecasts_of(outputs)
    served = [forecast_from(row) for row in outputs]
    assert found.p_high.tolist() == pytest.approx([forecast.p_high for forecast in served])
    assert found.high_said.tolist() == [forecast.regime is Regime.HIGH for forecast in served]
    assert found.ln_vol is not None
    assert np.exp(found.ln_vol).tolist() == pytest.approx([forecast.vol_annualised for forecast in served])


def test_forecasts_of__equal_logits__say_low() -> None:
    found = metrics(forecasts_of(np.zeros((2, 3))), hours([HIGH, LOW]))
    assert found["accuracy"] == pytest.approx(0.5)
    assert found["brier"] == pytest.approx(0.25)


def test_forecasts__part__is_of_those_windows(drawn: tuple[Forecasts, Hours]) -> None:
    forecasts = drawn[0]
    part = forecasts[np.asarray([3, 5])]
    assert len(part) == 2
    assert part.score.tolist() == [forecasts.score[3], forecasts.score[5]]
    assert said(True, False)[:1].ln_vol is None


def test_monthly__two_months__are_apart() -> None:
    times = ["2025-01-31T23:59:00Z", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"]
    samples = hours([HIGH, LOW, LOW], times)
    always = said(True, True, True)
    rows = monthly({"model": said(True, False, False), "persistence_60": always}, samples)
    assert [(row["month"], row["samples"]) for row in rows] == [("2025-01", 2), ("2025-02", 1)]
    assert rows[0]["high_share"] == pytest.approx(0.5)
    assert rows[0]["accuracy"] == 1
    assert rows[0]["persistence_60"] == pytest.approx(0.5)
    assert rows[0]["points_above_persistence_60"] == pytest.approx(50)
    assert rows[1]["auc"] is None
    assert rows[1]["r2_log_vol"] is None
    json.dumps(rows, allow_nan=False)


def test_monthly__better_persistence__is_chosen_month_by_month() -> None:
    samples = hours([HIGH, HIGH, LOW], ["2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z", "2025-02-01T00:00:00Z"])
    rows = monthly(
        {
            "model": said(True, True, False),
            "persistence_60": said(True, False, True),
            "persistence_240": said(False, False, False),
            "har_rv": said(True, True, False),
        },
        samples,
    )
    assert rows[0]["points_above_persistence_better"] == pytest.approx(50)
    assert rows[1]["points_above_persistence_better"] == 0
    assert rows[1]["points_above_persistence_60"] == 100
    assert rows[0]["har_rv"] == 1


def test_metrics__four_hundred_thousand_windows__are_not_looked_at_one_by_one() -> None:
    rng = np.random.default_rng(9)
    n = 400_000
    ends = parse_time("2025-01-01T00:00:00Z") + 60_000 * np.arange(n, dtype=np.int64)
    samples = Hours(ends, 0.0005 * np.exp(rng.normal(0, 0.5, n)))
    forecasts = forecasts_of(rng.normal(size=(n, 3)))
    calls = count()
    sys.setprofile(lambda frame, event, called: next(calls) and None)
    try:
        metrics(forecasts, samples)
        months = monthly({"model": forecasts, "persistence_60": forecasts}, samples)
    finally:
        sys.setprofile(None)
    assert len(months) == 10
    assert next(calls) < n / 10
