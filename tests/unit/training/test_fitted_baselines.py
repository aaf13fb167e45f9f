from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from app.errors import ToolMissing
from app.features.variation import INPUTS
from app.judging.scores import Forecasts, metrics
from app.training.datasets import Samples

pytest.importorskip("app.training.fitted_baselines", reason="its libraries come with the train extra")
from app.training import fitted_baselines
from app.training.fitted_baselines import FittedForecaster, fit_lightgbm, fit_logistic, inputs_of

N = 6_000


def drawn(seed: int) -> Samples:
    """Volatility that two inputs decide, one of them by its size only, which no line can follow."""
    rng = np.random.default_rng(seed)
    observations = rng.integers(-384, 385, (N, INPUTS)).astype(np.int16)
    inputs = observations / 128
    ln_vol = 0.3 * inputs[:, 0] + 0.3 * (np.abs(inputs[:, 1]) - 1.5) + rng.normal(0, 0.2, N)
    return Samples(
        end_ms=np.zeros(N, dtype=np.int64),
        observations=observations,
        volatility=0.0005 * np.exp(ln_vol),
        past={},
        left_out=0,
    )


@pytest.fixture(scope="module", autouse=True)
def _few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitted_baselines, "LIGHTGBM_ROUNDS", 80)
        yield


@pytest.fixture(scope="module")
def train() -> Samples:
    return drawn(1)


@pytest.fixture(scope="module")
def validation() -> Samples:
    return drawn(2)


@pytest.fixture(scope="module")
def unseen() -> Samples:
    return drawn(3)


@pytest.fixture(scope="module")
def boosted(train: Samples, validation: Samples) -> FittedForecaster:
    return fit_lightgbm(train, validation, seed=5, threads=1)


@pytest.fixture(scope="module")
def regressed(train: Samples, validation: Samples) -> FittedForecaster:
    return fit_logistic(train, validation)


def both_named(forecasts: Forecasts) -> bool:
    return forecasts.ln_vol is not None and len(forecasts) == N == len(forecasts.ln_vol)


def test_inputs_of__observations__are_exact() -> None:
    found = inputs_of(np.asarray([[-384, 1, 384]], dtype=np.int16))
    assert found.dtype == np.float32
    assert found.tolist() == [[-3.0, 1 / 128, 3.0]]


def test_fit_logistic__unseen_windows__are_told_apart(regressed: FittedForecaster, unseen: Samples) -> None:
    forecasts = regressed.forecasts(unseen)
    assert both_named(forecasts)
    found = metrics(forecasts, unseen)
    assert found["auc"] is not None
    assert found["auc"] > 0.8
    assert found["r2_log_vol"] is not None
    assert found["r2_log_vol"] > 0.5


def test_fit_lightgbm__unseen_windows__are_told_apart_better(
    boosted: FittedForecaster, regressed: FittedForecaster, unseen: Samples
) -> None:
    forecasts = boosted.forecasts(unseen)
    assert both_named(forecasts)
    found, linear = metrics(forecasts, unseen), metrics(regressed.forecasts(unseen), unseen)
    assert found["auc"] is not None
    assert linear["auc"] is not None
    assert found["auc"] > linear["auc"]
    assert found["r2_log_vol"] is not None
    assert found["r2_log_vol"] > 0.5


def test_fit_lightgbm__same_seed__says_the_same_on_any_number_of_threads(
    train: Samples, validation: Samples, unseen: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted_baselines, "LIGHTGBM_ROUNDS", 8)
    one, two = (fit_lightgbm(train, validation, seed=5, threads=count).forecasts(unseen) for count in (1, 2))
    assert np.array_equal(one.p_high, two.p_high)
    assert one.ln_vol is not None
    assert two.ln_vol is not None
    assert np.array_equal(one.ln_vol, two.ln_vol)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many windows each fit of a regression, and each growing of trees, was shown."""
    counts: list[int] = []
    grow, logistic = fitted_baselines.lightgbm.train, fitted_baselines.LogisticRegression.fit

    def counted_trees(parameters: Any, data: Any, **options: Any) -> Any:
        booster = grow(parameters, data, **options)
        counts.append(data.num_data())
        return booster

    def counted_regression(self: Any, inputs: Any, target: Any) -> Any:
        counts.append(len(inputs))
        return logistic(self, inputs, target)

    monkeypatch.setattr(fitted_baselines.lightgbm, "train", counted_trees)
    monkeypatch.setattr(fitted_baselines.LogisticRegression, "fit", counted_regression)
    return counts


def test_fit_lightgbm__once_the_rounds_are_known__sees_validation_too(
    train: Samples, validation: Samples, shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted_baselines, "LIGHTGBM_ROUNDS", 3)
    fit_lightgbm(train, validation, seed=5, threads=1)
    assert shown == [N, N, 2 * N, 2 * N]


def test_fit_logistic__once_the_penalty_is_known__sees_validation_too(
    train: Samples, validation: Samples, shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted_baselines, "INVERSE_PENALTIES", (1e-4, 1.0))
    fit_logistic(train, validation)
    assert shown == [N, N, 2 * N]


def test_forecasts__chunks__leave_no_seam(
    regressed: FittedForecaster, unseen: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = regressed.forecasts(unseen).p_high
    monkeypatch.setattr(fitted_baselines, "CHUNK", 1_000)
    assert regressed.forecasts(unseen).p_high == pytest.approx(whole, rel=1e-6)


@pytest.fixture
def no_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import lightgbm` as it is where libgomp is not installed."""

    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "lightgbm":
                raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.delitem(sys.modules, "lightgbm")
    monkeypatch.delitem(sys.modules, "app.training.boosting")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])


def test_import__openmp_missing__says_what_to_install(no_openmp: None) -> None:
    with pytest.raises(ToolMissing, match="libgomp1"):
        import app.training.boosting  # noqa: F401
