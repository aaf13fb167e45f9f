from __future__ import annotations

import json
import math
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest

from app.features.variation import INPUTS
from app.judging.scores import SMALLEST_VOLATILITY, metrics
from app.training.baselines import HAR_MINUTES, LN_THRESHOLD, HarRv, Persistence
from app.training.datasets import Samples

LOW, HIGH = 0.0004, 0.0006
YEAR = math.sqrt(525_600)


def samples_of(volatility: np.ndarray, past: dict[int, np.ndarray]) -> Samples:
    n = len(volatility)
    return Samples(
        end_ms=np.zeros(n, dtype=np.int64),
        observations=np.zeros((n, INPUTS), dtype=np.int16),
        volatility=volatility,
        past=past,
        left_out=0,
    )


@pytest.fixture
def drawn() -> Samples:
    """Volatility that follows Corsi's equation with coefficients 0.5, 0.3, 0.1 and a residual of 0.2."""
    rng = np.random.default_rng(6)
    past = {minutes: 0.0005 * np.exp(rng.normal(0, 0.5, 20_000)) for minutes in (60, *HAR_MINUTES)}
    logs = np.column_stack([np.log(past[minutes] * YEAR) for minutes in HAR_MINUTES])
    ln_vol = -0.1 + logs @ [0.5, 0.3, 0.1] + rng.normal(0, 0.2, 20_000)
    return samples_of(np.exp(ln_vol) / YEAR, past)


def test_persistence__repeats_the_past() -> None:
    samples = samples_of(np.asarray([HIGH, LOW, HIGH, LOW]), {60: np.asarray([HIGH, LOW, LOW, 0.0005])})
    found = Persistence(60).forecasts(samples)
    assert found.high_said.tolist() == [True, False, False, True], "at the threshold is high"
    assert found.p_high.tolist() == [1, 0, 0, 1]
    assert found.ln_vol is not None
    assert found.ln_vol[0] == pytest.approx(math.log(HIGH * YEAR))
    assert metrics(found, samples)["brier"] == pytest.approx(0.5), "a hard forecast's Brier score is its errors"


def test_persistence__auc__is_by_the_past_volatility() -> None:
    samples = samples_of(np.asarray([LOW, HIGH, HIGH]), {60: np.asarray([0.0001, 0.0002, 0.0003])})
    assert metrics(Persistence(60).forecasts(samples), samples)["auc"] == 1


def test_persistence__price_stood_still__has_a_floor() -> None:
    samples = samples_of(np.asarray([LOW, HIGH]), {60: np.asarray([0.0, HIGH])})
    found = Persistence(60).forecasts(samples)
    assert found.ln_vol is not None
    assert found.ln_vol[0] == pytest.approx(math.log(SMALLEST_VOLATILITY * YEAR))
    json.dumps(metrics(found, samples), allow_nan=False)


def test_persistence__name__is_the_one_in_manifests() -> None:
    assert Persistence(240).name == "persistence_240"


def test_har_rv__drawn_from_the_equation__finds_its_coefficients(drawn: Samples) -> None:
    fitted = HarRv.fit(drawn)
    assert fitted.intercept == pytest.approx(-0.1, abs=0.02)
    assert fitted.coefficients == pytest.approx((0.5, 0.3, 0.1), abs=0.02)
    assert fitted.deviation == pytest.approx(0.2, abs=0.01)


def test_har_rv__forecast__is_the_equation(drawn: Samples) -> None:
    fitted = HarRv(intercept=0.25, coefficients=(0.5, 0.25, 0.125), deviation=0.5)
    found = fitted.forecasts(drawn)
    logs = [math.log(drawn.past[minutes][7] * YEAR) for minutes in HAR_MINUTES]
    expected = 0.25 + 0.5 * logs[0] + 0.25 * logs[1] + 0.125 * logs[2]
    assert found.ln_vol is not None
    assert found.ln_vol[7] == pytest.approx(expected)
    threshold = math.log(0.0005 * YEAR)
    assert threshold == pytest.approx(LN_THRESHOLD)
    assert found.p_high[7] == pytest.approx(NormalDist().cdf((expected - threshold) / 0.5))
    assert found.high_said[7] == (expected >= threshold)


def test_har_rv__gaussian_residual__gives_calibrated_probabilities(drawn: Samples) -> None:
    found = metrics(HarRv.fit(drawn).forecasts(drawn), drawn)
    assert found["ece"] is not None
    assert found["ece"] < 0.02
    assert found["r2_log_vol"] is not None
    assert found["r2_log_vol"] > 0.6


def test_har_rv__record__comes_back_as_it_was(drawn: Samples) -> None:
    fitted = HarRv.fit(drawn)
    assert HarRv.from_record(json.loads(json.dumps(fitted.to_record()))) == fitted


@pytest.mark.parametrize(
    "change",
    [
        {"minutes": [60, 240, 1440]},
        {"coefficients": [1.0, 2.0]},
        {"coefficients": 3},
        {"intercept": float("nan")},
        {"deviation": 0},
        {"deviation": "wide"},
    ],
)
def test_har_rv__record_out_of_form__is_refused(change: dict[str, object]) -> None:
    record = {"minutes": list(HAR_MINUTES), "intercept": 0.0, "coefficients": [0.5, 0.3, 0.1], "deviation": 0.4}
    HarRv.from_record(record)
    with pytest.raises((ValueError, TypeError)):
        HarRv.from_record(record | change)


def test_har_rv__record_without_a_number__is_refused() -> None:
    with pytest.raises(KeyError):
        HarRv.from_record({"minutes": list(HAR_MINUTES)})


def test_har_rv__perfect_fit__still_has_a_deviation() -> None:
    past = {minutes: np.asarray([0.0004, 0.0005, 0.0007, 0.0002]) for minutes in HAR_MINUTES}
    fitted = HarRv.fit(samples_of(past[240], past))
    assert fitted.deviation > 0
    assert np.isfinite(fitted.forecasts(samples_of(past[240], past)).p_high).all()


def test_baselines__import__needs_no_train_extra() -> None:
    code = (
        "import sys, app.training.baselines, app.judging.scores\n"
        "print(sorted({'torch', 'onnx', 'sklearn', 'lightgbm', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
