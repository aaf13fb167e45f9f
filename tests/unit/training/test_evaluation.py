from __future__ import annotations

import json

import numpy as np
import pytest

from app.training.datasets import Samples
from app.training.evaluation import (
    auc,
    calibration_error,
    class_metrics,
    forecast_metrics,
    monthly_metrics,
    persistence_metrics,
    r_squared,
)
from app.types import parse_time

LOW, HIGH = 0.0004, 0.0006


def samples_of(volatility: list[float], past: list[float], times: list[str] | None = None) -> Samples:
    n = len(volatility)
    stamps = times or ["2025-01-01T00:00:00Z"] * n
    return Samples(
        end_ms=np.asarray([parse_time(stamp) for stamp in stamps], dtype=np.int64),
        observations=np.zeros((n, 192), dtype=np.int16),
        volatility=np.asarray(volatility),
        past={60: np.asarray(past), 240: np.asarray(past)},
        left_out=0,
    )


def test_class_metrics__hand_counted() -> None:
    predicted = np.asarray([True, True, False, False, True])
    high = np.asarray([True, False, False, False, True])
    found = class_metrics(predicted, high)
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 2 + 2 / 3) / 2)
    # High: precision 2/3, recall 1, F1 0.8. Low: precision 1, recall 2/3, F1 0.8.
    assert found["macro_f1"] == pytest.approx(0.8)


def test_auc__ties__count_half() -> None:
    # Pairs (high, low): 0.8 > 0.1, 0.8 > 0.5, 0.5 > 0.1 and one tie.
    assert auc(np.asarray([0.1, 0.5, 0.5, 0.8]), np.asarray([False, False, True, True])) == pytest.approx(3.5 / 4)


def test_auc__one_class__is_none() -> None:
    assert auc(np.asarray([0.1, 0.2]), np.asarray([True, True])) is None


def test_calibration_error__two_bins() -> None:
    # Bin 0: stated 0.05 twice, observed 1/2. Bin 9: stated 1.0 twice, observed 1.
    stated, high = np.asarray([0.05, 0.05, 1.0, 1.0]), np.asarray([False, True, True, True])
    assert calibration_error(stated, high) == pytest.approx(0.5 * 0.45)


def test_r_squared__mean_forecast__explains_nothing() -> None:
    actual = np.asarray([1.0, 2.0, 3.0])
    assert r_squared(np.full(3, 2.0), actual) == pytest.approx(0)
    assert r_squared(actual, actual) == 1
    assert r_squared(actual, np.ones(3)) is None


def test_forecast_metrics__brier__is_the_squared_distance() -> None:
    samples = samples_of([HIGH, LOW], [HIGH, HIGH])
    found = forecast_metrics(np.asarray([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), samples)
    assert found["brier"] == pytest.approx(0.25)
    assert found["accuracy"] == pytest.approx(0.5), "a tie is low"


def test_persistence_metrics__repeats_the_past() -> None:
    found = persistence_metrics(samples_of([HIGH, LOW, HIGH, LOW], [HIGH, LOW, LOW, 0.0]), 60)
    assert found["accuracy"] == pytest.approx(3 / 4)


def test_monthly_metrics__two_months__are_apart() -> None:
    times = ["2025-01-31T23:59:00Z", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"]
    samples = samples_of([HIGH, LOW, LOW], [HIGH, HIGH, HIGH], times)
    rows = monthly_metrics(np.asarray([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), samples)
    assert [(row["month"], row["samples"]) for row in rows] == [("2025-01", 2), ("2025-02", 1)]
    assert rows[0]["accuracy"] == 1
    assert rows[0]["points_above_persistence_60"] == pytest.approx(50)
    assert rows[1]["auc"] is None
    json.dumps(rows, allow_nan=False)
