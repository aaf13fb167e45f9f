from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.features.variation import INPUTS, VARIATION_INPUTS, VariationSpec
from app.training.circuit import Weights

pytest.importorskip("lightgbm", reason="lightgbm comes with the train extra")
from app.features.realised import series_of
from app.judging.scores import MODEL
from app.training.datasets import Samples, samples, share_split
from app.training.examination import TEACHER, examine, examine_other, persistences, proved
from app.training.material import Market, Recording
from app.types import MINUTE_MS, Candles, parse_time

START_MS = parse_time("2024-03-04T00:00:00Z")
N = 200
LOW, HIGH = 0.0001, 0.001


def says_high_where_the_first_input_is_positive() -> Weights:
    hidden = np.zeros((INPUTS, 2))
    hidden[0] = [1.0, -1.0]
    return Weights(hidden, np.zeros(2), np.asarray([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), np.zeros(3))


def judged_right(share: float) -> np.ndarray:
    """Whether each of the windows is one that is judged rightly."""
    return np.arange(N) < share * N


@pytest.fixture
def test() -> Samples:
    """The student is right in 90 % of the windows, the last hour in 60 % and the last four hours in 70 %."""
    high = np.arange(N) % 2 == 0
    observations = np.zeros((N, INPUTS), dtype=np.int16)
    observations[:, 0] = np.where(high == judged_right(0.9), 128, -128)
    past = {
        minutes: np.where(high == judged_right(share), HIGH, LOW)
        for minutes, share in ((60, 0.6), (240, 0.7), (1440, 0.5), (10_080, 0.5))
    }
    end_ms = START_MS + np.arange(N, dtype=np.int64) * 60 * MINUTE_MS
    return Samples(end_ms, observations, np.where(high, HIGH, LOW), past, 0)


def teacher_right(test: Samples, share: float) -> np.ndarray:
    margin = np.where(test.high == judged_right(share), 1.0, -1.0)
    return np.column_stack([np.zeros(N), margin, test.ln_vol])


def drawn(seed: int, days: int = 40) -> Candles:
    rng = np.random.default_rng(seed)
    size = 0.0005 * (1 + 0.8 * np.sin(np.arange(days * 1440) / 500))
    closes = 100 * np.exp(np.cumsum(rng.normal(0, size)))
    times = START_MS + MINUTE_MS * np.arange(days * 1440)
    return Candles(times, closes, closes, closes, closes, np.ones(days * 1440))


def recorded(candles: Candles, name: str) -> Recording:
    return Recording(Path("recordings") / name, "", candles, series_of(candles))


@pytest.fixture(scope="module")
def market() -> Market:
    ours = recorded(drawn(1), "ours.parquet")
    return Market(ours, recorded(drawn(2), "theirs.parquet"), share_split(ours.series), 30)


@pytest.fixture(scope="module")
def spec() -> VariationSpec:
    return VariationSpec(
        mean=np.full(VARIATION_INPUTS, 600.0), deviation=np.full(VARIATION_INPUTS, 150.0), clip=4.0, input_scale=7
    )


def test_examine__student_and_baselines__gives_points_above_the_better_persistence(test: Samples) -> None:
    others = {past.name: past.forecasts(test) for past in persistences()}
    found = examine(says_high_where_the_first_input_is_positive(), teacher_right(test, 0.96), others, test).record
    accuracy = {name: score["accuracy"] for name, score in found["scores"].items()}
    assert accuracy == {MODEL: 0.9, TEACHER: 0.96, "persistence_60": 0.6, "persistence_240": 0.7}
    assert found["points_above_better_persistence"] == pytest.approx(20.0)
    assert found["retention"] == pytest.approx(0.9 / 0.96, abs=1e-6)
    assert found["samples"] == N
    assert found["high_share"] == 0.5


def test_examine__worse_than_persistence__says_so(test: Samples) -> None:
    others = {past.name: past.forecasts(test) for past in persistences()}
    weights = says_high_where_the_first_input_is_positive()
    upside_down = Weights(-weights.hidden, weights.hidden_bias, weights.output, weights.output_bias)
    found = examine(upside_down, teacher_right(test, 0.5), others, test).record
    assert found["points_above_better_persistence"] == pytest.approx(-60.0)
    assert found["retention"] == pytest.approx(0.2)


def test_examine__everyone__is_judged_month_by_month_too(test: Samples) -> None:
    others = {past.name: past.forecasts(test) for past in persistences()}
    examined = examine(says_high_where_the_first_input_is_positive(), teacher_right(test, 1.0), others, test)
    assert set(examined.forecasts) == {MODEL, TEACHER, "persistence_60", "persistence_240"}
    assert sum(row["samples"] for row in examined.record["per_month"]) == N
    assert all(row["teacher"] == 1.0 for row in examined.record["per_month"])


def test_proved__weights__are_judged_as_the_circuit_rounds_them(test: Samples) -> None:
    weights = says_high_where_the_first_input_is_positive()
    nudged = Weights(weights.hidden, weights.hidden_bias, weights.output, np.asarray([0.0, 0.0, 0.4 / 1024]))
    assert proved(nudged, test).ln_vol is not None
    assert set(proved(nudged, test).ln_vol.tolist()) == {0.0}


def test_examine_other__no_other_asset__is_none(market: Market, spec: VariationSpec) -> None:
    alone = Market(market.ours, None, market.split, market.every)
    assert examine_other(alone, spec, {}, every=30) is None


def test_examine_other__months_of_the_test__with_our_constants(market: Market, spec: VariationSpec) -> None:
    weights = says_high_where_the_first_input_is_positive()
    found = examine_other(market, spec, {"never trained on it": weights}, every=30)
    assert found is not None
    assert market.other is not None
    part = samples(market.other.series, market.split.test, spec, every=30, to_train=False)
    assert found["file"] == "theirs.parquet"
    assert found["samples"] == len(part)
    assert set(found["scores"]) == {"persistence_60", "persistence_240", "never trained on it"}
    accuracy = float((proved(weights, part).high_said == part.high).mean())
    assert found["scores"]["never trained on it"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
