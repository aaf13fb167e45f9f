from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.features.variation import INPUTS
from app.inference.network import Network, dequantise, disagreement, forecast_from
from app.inference.release import NETWORK, ReleasedModel
from app.types import FloatArray, IntArray, Regime

INPUT_SCALE, PARAM_SCALE = 7, 10


@pytest.fixture(scope="module")
def network(model: ReleasedModel) -> Network:
    return Network(model)


@pytest.fixture(scope="module")
def observations(model: ReleasedModel) -> IntArray:
    largest = 3 * 2**model.circuit.input_scale
    return np.random.default_rng(4).integers(-largest, largest + 1, (50, INPUTS))


@pytest.fixture(scope="module")
def integer_outputs(model: ReleasedModel, observations: IntArray) -> FloatArray:
    """The network file evaluated in whole numbers, by numpy alone."""
    onnx = pytest.importorskip("onnx", reason="onnx comes with the train extra")
    graph = onnx.load(model.folder / NETWORK).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = [name for node in graph.node if node.op_type == "Gemm" for name in node.input[1:]]
    integers = [np.rint(stored[name].astype(np.float64) * 2**PARAM_SCALE).astype(np.int64) for name in names]
    hidden_weight, hidden_bias, output_weight, output_bias = integers
    hidden = np.maximum(observations @ hidden_weight + hidden_bias * 2**INPUT_SCALE, 0)
    outputs = hidden @ output_weight + output_bias * 2 ** (INPUT_SCALE + PARAM_SCALE)
    return outputs / 2 ** (INPUT_SCALE + 2 * PARAM_SCALE)


def test_outputs__of_onnxruntime__are_the_integer_networks(
    network: Network, observations: IntArray, integer_outputs: FloatArray
) -> None:
    assert np.abs(network.outputs(observations) - integer_outputs).max() < 1e-5


def test_outputs__many_at_once__are_what_each_gives_alone(network: Network, observations: IntArray) -> None:
    alone = [network.outputs(row[None, :])[0].tolist() for row in observations]
    assert network.outputs(observations).tolist() == alone


def test_forecast__of_an_observation__is_made_from_its_outputs(network: Network, observations: IntArray) -> None:
    row = observations[0]
    assert network.forecast(tuple(row.tolist())) == forecast_from(network.outputs(row[None, :])[0])


def test_forecast_from__higher_logit_high__is_high() -> None:
    assert forecast_from((0.0, 1e-9, 0.0)).regime is Regime.HIGH


def test_forecast_from__a_tie__is_low() -> None:
    assert forecast_from((0.25, 0.25, 0.0)).regime is Regime.LOW


def test_forecast_from__p_high__is_the_logistic_of_the_margin() -> None:
    assert forecast_from((-1.0, 0.5, 0.0)).p_high == pytest.approx(1 / (1 + math.exp(-1.5)), rel=1e-15)


def test_forecast_from__volatility__is_the_exponential_of_the_third_output() -> None:
    assert forecast_from((0.0, 0.0, math.log(0.36))).vol_annualised == pytest.approx(0.36, rel=1e-15)


def test_forecast_from__outputs__are_kept_as_they_came() -> None:
    assert forecast_from(np.asarray([-1.5, 0.5, -2.0])).outputs == (-1.5, 0.5, -2.0)


@pytest.mark.parametrize(("outputs", "p_high"), [((-1e308, 1e308, 0.0), 1.0), ((1e308, -1e308, 0.0), 0.0)])
def test_forecast_from__extreme_margin__does_not_overflow(outputs: Sequence[float], p_high: float) -> None:
    assert forecast_from(outputs).p_high == pytest.approx(p_high, abs=1e-300)


@pytest.mark.parametrize("ln_vol", [1e308, -1e308])
def test_forecast_from__extreme_volatility__is_finite_and_positive(ln_vol: float) -> None:
    assert 0 < forecast_from((0.0, 0.0, ln_vol)).vol_annualised < math.inf


def test_dequantise__integers__are_divided_by_the_scale() -> None:
    assert dequantise((0, 1 << 27, -(1 << 26), 1), 27) == (0.0, 1.0, -0.5, 2.0**-27)


def test_disagreement__is_the_largest_in_units_of_its_tolerance() -> None:
    assert disagreement((1.0, 2.0, 3.0), (1.5, 1.0, 3.0), (1.0, 4.0, 0.1)) == 0.5


def test_disagreement__equal_outputs__is_zero() -> None:
    assert disagreement((1.0, 2.0), (1.0, 2.0), (0.1, 0.1)) == 0.0


def test_disagreement__different_number_of_outputs__is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        disagreement((1.0, 2.0), (1.0, 2.0, 3.0), (0.1, 0.1, 0.1))


@pytest.mark.parametrize("place", range(3))
def test_disagreement__nan__is_beyond_any_tolerance(place: int) -> None:
    network = [0.0, 0.0, 0.0]
    network[place] = math.nan
    assert disagreement(network, (0.0, 0.0, 0.0), (0.1, 0.1, 0.1)) > 1


def test_network__loaded__leaves_nothing_in_the_home_of_whoever_runs_it(tmp_path: Path) -> None:
    """onnxruntime would make an id of the device there, and a database of what it tells its makers."""
    look = (
        "from app.inference.network import Network; from app.inference.release import load_models;"
        "from app.settings import asset;"
        "print(len([Network(model) for model in load_models(asset('models')).values()]))"
    )
    outside = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-c", look], env=outside | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) >= 1
    assert [str(found) for found in tmp_path.rglob("*") if found.is_file()] == []
