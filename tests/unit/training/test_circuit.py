from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from app.errors import ProvingFailed
from app.features.variation import INPUTS, VARIATION_INPUTS
from app.training.circuit import (
    INPUT_SCALE,
    LARGEST_ACTIVATION,
    IntegerWeights,
    Weights,
    check_range,
    circuit_floats,
    circuit_outputs,
    compile_reproducibly,
    integer_weights,
    largest_activation,
)

pytest.importorskip("onnx", reason="onnx comes with the train extra")


@pytest.fixture
def weights() -> Weights:
    rng = np.random.default_rng(1)
    return Weights(
        rng.normal(0, 0.1, (INPUTS, 8)), rng.normal(0, 0.5, 8), rng.normal(0, 0.5, (8, 3)), rng.normal(0, 0.5, 3)
    )


@pytest.fixture
def observations() -> np.ndarray:
    return np.random.default_rng(2).integers(-384, 385, (500, INPUTS)).astype(np.int16)


def test_circuit_outputs__by_hand__are_exact() -> None:
    weights = IntegerWeights(
        hidden=np.asarray([[2, -2], *([[0, 0]] * (INPUTS - 1))]),
        hidden_bias=np.asarray([1, 1]),
        output=np.asarray([[1, 0, 3], [0, 5, 0]]),
        output_bias=np.asarray([0, 1, -1]),
    )
    observation = np.zeros((1, INPUTS), dtype=np.int16)
    observation[0, 0] = 100
    # Hidden: 2·100 + 1·2⁷ = 328 and −200 + 128 < 0.
    assert circuit_outputs(weights, observation).tolist() == [[328, 1 << 17, 3 * 328 - (1 << 17)]]


def test_circuit_floats__against_rounded_weights__are_the_same_numbers(
    weights: Weights, observations: np.ndarray
) -> None:
    found = circuit_floats(integer_weights(weights), observations)
    assert np.allclose(found, weights.rounded().outputs(observations), rtol=0, atol=1e-12)


def test_circuit_floats__against_onnxruntime__agree_to_float32(
    weights: Weights, observations: np.ndarray, tmp_path: Path
) -> None:
    export = pytest.importorskip("app.training.export", reason="the train extra is not installed")
    export.write_network(weights.rounded(), tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    rows = (observations / 2**INPUT_SCALE).astype(np.float32)
    found = np.concatenate([session.run(None, {"observation": row[None]})[0] for row in rows])
    assert np.abs(found - circuit_floats(integer_weights(weights), observations)).max() < 1e-5


def test_write_network__twice__gives_the_same_bytes(weights: Weights, tmp_path: Path) -> None:
    export = pytest.importorskip("app.training.export", reason="the train extra is not installed")
    for name in ("a.onnx", "b.onnx"):
        export.write_network(weights.rounded(), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_compile_reproducibly__twice__gives_the_same_bytes(weights: Weights, tmp_path: Path) -> None:
    export = pytest.importorskip("app.training.export", reason="the train extra is not installed")
    export.write_network(weights.rounded(), tmp_path / "network.onnx")
    for name in ("a", "b"):
        compile_reproducibly(tmp_path / "network.onnx", tmp_path / f"{name}.json", tmp_path / f"{name}.ezkl")
    assert (tmp_path / "a.ezkl").read_bytes() == (tmp_path / "b.ezkl").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_largest_activation__no_observation__goes_beyond_it(weights: Weights, observations: np.ndarray) -> None:
    integers = integer_weights(weights)
    bound = largest_activation(integers, clip=3.0, variation_inputs=INPUTS)
    hidden = observations.astype(np.int64) @ integers.hidden + (integers.hidden_bias << INPUT_SCALE)
    assert np.abs(hidden).max() <= bound < LARGEST_ACTIVATION


def test_check_range__weights_too_large__are_refused(weights: Weights) -> None:
    huge = Weights(weights.hidden * 1_000, weights.hidden_bias, weights.output, weights.output_bias)
    with pytest.raises(ProvingFailed, match="hidden sum"):
        check_range(integer_weights(huge), clip=3.0, variation_inputs=VARIATION_INPUTS)
