from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from eth_abi.abi import decode

from app.bench.groth16 import INPUT_BITS, INPUTS_PER_WORD, RELU_BITS, circom_source, measure_groth16
from app.chain.calldata import groth16_calldata
from app.errors import ProvingFailed, ToolMissing
from app.inference.release import ReleasedModel
from app.training.circuit import INPUT_SCALE, LARGEST_ACTIVATION, IntegerWeights
from app.types import SCALAR_FIELD


@pytest.fixture
def weights() -> IntegerWeights:
    return IntegerWeights(
        hidden=np.asarray([[2, -3], [5, 7], [11, 13]]),
        hidden_bias=np.asarray([1, -1]),
        output=np.asarray([[1, 0, 3], [0, -5, 0]]),
        output_bias=np.asarray([0, 1, -1]),
    )


def test_circom_source__same_weights__is_the_same_text(weights: IntegerWeights) -> None:
    assert circom_source(weights) == circom_source(weights)


def test_circom_source__weights__stand_there_as_constants_by_unit(weights: IntegerWeights) -> None:
    source = circom_source(weights)
    assert "var hidden[2][3] = [[2,5,11],[-3,7,13]];" in source
    assert "var output_weights[3][2] = [[1,0],[0,-5],[3,0]];" in source


def test_circom_source__biases__are_shifted_to_the_scale_of_the_sums_they_join(weights: IntegerWeights) -> None:
    source = circom_source(weights)
    assert f"var hidden_bias[2] = [{1 << 7},{-(1 << 7)}];" in source
    assert f"var output_bias[3] = [0,{1 << 17},{-(1 << 17)}];" in source


def test_circom_source__nothing__is_left_to_fill_in(weights: IntegerWeights) -> None:
    assert "$" not in circom_source(weights)


def test_circom_source__only_binding_and_outputs__are_public(weights: IntegerWeights) -> None:
    student = circom_source(weights).split("template Student()")[1]
    assert re.findall(r"signal output (\w+)", student) == ["binding", "outputs"]
    assert "component main = Student();" in student  # names no public input


def test_circom_source__no_value__is_assigned_without_a_constraint(weights: IntegerWeights) -> None:
    assert "<--" not in circom_source(weights)


def test_input_bits__either_end_of_the_releases_clip__fits(model: ReleasedModel) -> None:
    assert model.manifest["observation"]["clip"] * 2**INPUT_SCALE <= 2 ** (INPUT_BITS - 1) - 1


def test_word__of_the_largest_inputs__is_below_the_order_of_the_field() -> None:
    assert 2 ** (INPUT_BITS * INPUTS_PER_WORD) < SCALAR_FIELD


def test_relu_bits__every_activation_of_a_release__fits() -> None:
    assert 2 ** (RELU_BITS - 1) >= LARGEST_ACTIVATION


def test_groth16_calldata__begins_with_the_selector_of_four_signals() -> None:
    # keccak256("verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[4])")
    assert groth16_calldata(bytes(256), (0, 0, 0, 0))[:4].hex() == "5fe8c13b"


def test_groth16_calldata__decoded__gives_points_and_field_elements_back() -> None:
    proof = bytes(index % 251 for index in range(256))
    calldata = groth16_calldata(proof, (7, -1, 2**40))
    a, b, c, signals = decode(["uint256[2]", "uint256[2][2]", "uint256[2]", "uint256[3]"], calldata[4:])
    assert b"".join(value.to_bytes(32, "big") for value in (*a, *b[0], *b[1], *c)) == proof
    assert signals == (7, SCALAR_FIELD - 1, 2**40)


def test_measure_groth16__packages_absent__says_what_to_run(weights: IntegerWeights, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        measure_groth16(weights, [[0, 0, 0]], tmp_path, tmp_path, repeats=1, say=print)


def test_measure_groth16__nothing_to_prove__is_refused(weights: IntegerWeights, tmp_path: Path) -> None:
    with pytest.raises(ProvingFailed, match="at least one"):
        measure_groth16(weights, [], tmp_path, tmp_path, repeats=1, say=print)
