from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.judging.scores import Forecasts, auc, forecasts_of, monthly
from app.training.baselines import HarRv, Persistence
from app.training.datasets import Samples
from app.types import parse_time

pytest.importorskip("matplotlib", reason="matplotlib comes with the train extra")
from app.training.reporting import plots

N = 20_000
LARGEST_FILE = 80_000

POINTS = [
    {
        "hidden": hidden,
        "inputs": 192,
        "parameters": 196 * hidden + 3,
        "rows": 240 * hidden,
        "logrows": logrows,
        "proof_seconds": seconds,
        "accuracy": 0.842 - 0.02 / hidden,
        "auc": 0.9 - 0.02 / hidden,
        "released": hidden == 8,
    }
    for hidden, logrows, seconds in ((2, 9, 0.05), (4, 10, 0.1), (8, 11, 0.2), (16, 12, 0.41), (24, 13, 0.8))
]


@pytest.fixture(scope="module")
def samples() -> Samples:
    rng = np.random.default_rng(4)
    volatility = 0.0005 * np.exp(rng.normal(-0.2, 0.5, N))
    return Samples(
        end_ms=parse_time("2025-01-01T00:00:00Z") + 15 * 60_000 * np.arange(N, dtype=np.int64),
        observations=np.zeros((N, 0), dtype=np.int16),
        volatility=volatility,
        past={minutes: volatility * np.exp(rng.normal(0, 0.4, N)) for minutes in (60, 240, 1440, 10080)},
        left_out=0,
    )


@pytest.fixture(scope="module")
def forecasts(samples: Samples) -> dict[str, Forecasts]:
    rng = np.random.default_rng(5)
    ln_vol = samples.ln_vol + rng.normal(0, 0.25, N)
    margin = 4 * (ln_vol - np.log(0.0005 * np.sqrt(525_600)))
    baselines = {past.name: past.forecasts(samples) for past in (Persistence(60), Persistence(240))}
    model = forecasts_of(np.column_stack([np.zeros(N), margin, ln_vol]))
    return {"model": model, **baselines, "har_rv": HarRv.fit(samples).forecasts(samples)}


@pytest.fixture(scope="module")
def figures(samples: Samples, forecasts: dict[str, Forecasts]) -> dict[str, Callable[[Path], None]]:
    rows = monthly(forecasts, samples)
    return {
        "roc": lambda path: plots.roc(forecasts, samples, path),
        "reliability": lambda path: plots.reliability(forecasts, samples, path),
        "months": lambda path: plots.per_month_accuracy(rows, path),
        "density": lambda path: plots.forecast_against_realised(forecasts["model"], samples, path),
        "frontier": lambda path: plots.frontier(POINTS, path),
    }


NAMES = ["roc", "reliability", "months", "density", "frontier"]


@pytest.mark.parametrize("name", NAMES)
def test_figure__same_numbers__give_the_same_bytes(
    figures: dict[str, Callable[[Path], None]], name: str, tmp_path: Path
) -> None:
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        figures[name](path)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert b"matplotlib" not in first, "no version of the software"
    assert len(first) < LARGEST_FILE
    width, height = struct.unpack(">II", first[16:24])
    assert 500 <= width <= 1_000
    assert 400 <= height <= 700


def test_figure__drawn__changes_no_setting_of_matplotlib(
    figures: dict[str, Callable[[Path], None]], tmp_path: Path
) -> None:
    import matplotlib as mpl

    mpl.rcParams["font.size"] = 23.0
    try:
        figures["roc"](tmp_path / "changed.png")
        assert mpl.rcParams["font.size"] == 23.0
    finally:
        mpl.rcParams["font.size"] = mpl.rcParamsDefault["font.size"]
    figures["roc"](tmp_path / "default.png")
    assert (tmp_path / "changed.png").read_bytes() == (tmp_path / "default.png").read_bytes()


def test_roc_curve__by_hand__has_a_corner_at_every_score() -> None:
    score, high = np.asarray([0.9, 0.5, 0.5, 0.1]), np.asarray([True, True, False, False])
    false_high, true_high = plots.roc_curve(score, high)
    assert false_high.tolist() == [0, 0, 0.5, 1]
    assert true_high.tolist() == [0, 0.5, 1, 1]


def test_roc_curve__many_windows__has_the_area_that_is_stated(
    samples: Samples, forecasts: dict[str, Forecasts]
) -> None:
    score = forecasts["model"].score
    false_high, true_high = plots.roc_curve(score, samples.high)
    assert len(false_high) <= plots.CURVE_POINTS + 1
    assert np.trapezoid(true_high, false_high) == pytest.approx(auc(score, samples.high), abs=1e-4)


def test_reliability_bins__empty_bins__are_left_out() -> None:
    stated, observed, share = plots.reliability_bins(np.asarray([0.0, 1.0, 1.0]), np.asarray([False, True, False]))
    assert stated.tolist() == [0, 1]
    assert observed.tolist() == [0, 0.5]
    assert share.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_roc__one_class__is_refused(forecasts: dict[str, Forecasts], samples: Samples, tmp_path: Path) -> None:
    low = Samples(samples.end_ms, samples.observations, np.full(N, 0.0001), samples.past, 0)
    with pytest.raises(ValueError, match="one class"):
        plots.roc(forecasts, low, tmp_path / "roc.png")
    assert not (tmp_path / "roc.png").exists()


def test_forecast_against_realised__no_volatility__is_refused(samples: Samples, tmp_path: Path) -> None:
    nothing: Any = np.zeros(N)
    with pytest.raises(ValueError, match="names no volatility"):
        plots.forecast_against_realised(Forecasts(nothing, nothing > 0, nothing, None), samples, tmp_path / "x.png")


def test_frontier__inputs_differ__are_named_as_well(tmp_path: Path) -> None:
    plots.frontier([*POINTS, POINTS[0] | {"inputs": 96, "rows": 300}], tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").stat().st_size > 0
