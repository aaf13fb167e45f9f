"""What the circuit refuses, and what it does not: the experiments behind docs/decisions/0009."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.errors import ProvingFailed
from app.features.variation import INPUTS
from app.inference.release import ReleasedModel
from app.proving import engine
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.training.circuit import LARGEST_ACTIVATION, circuit_outputs
from app.training.export import read_weights
from app.types import Keys

ORDINARY = [(index * 37) % 257 - 128 for index in range(INPUTS)]


@pytest.fixture(scope="module")
def keys(settings: Settings, model: ReleasedModel) -> Keys:
    with ProverPool(1, Limits()) as pool:
        return pool.serving_keys(settings.var_dir, model.circuit)


@pytest.fixture
def proof_of_witness(keys: Keys, tmp_path: Path) -> object:
    """Proves a witness in which one of the outputs was changed."""

    def prove(change: int) -> bool:
        witness = tmp_path / "witness.json"
        outputs = engine.make_witness(keys, ORDINARY, witness)
        document = json.loads(witness.read_text())
        stated = (outputs[0] + change, *outputs[1:])
        document["outputs"] = [[(value % engine.SCALAR_FIELD).to_bytes(32, "little").hex() for value in stated]]
        witness.write_text(json.dumps(document))
        try:
            made = engine.prove_witness(keys, witness)
        except ProvingFailed:
            return False
        return engine.verify(keys, made[0], stated)

    return prove


def test_witness_as_it_is__proves(proof_of_witness: object) -> None:
    assert proof_of_witness(0)  # type: ignore[operator]


@pytest.mark.parametrize("change", [1, -1, 2**40])
def test_witness_with_another_output__does_not_prove(proof_of_witness: object, change: int) -> None:
    assert not proof_of_witness(change)  # type: ignore[operator]


def test_input_that_no_window_can_have__proves_and_only_its_commitment_tells(keys: Keys, model: ReleasedModel) -> None:
    beyond = [16 * 512, *ORDINARY[1:]]
    proof = engine.prove(keys, beyond)
    weights = read_weights(model.folder / "network.onnx")
    assert proof.instances == tuple(circuit_outputs(weights, np.asarray([beyond]))[0].tolist())
    assert proof.commitment != engine.commit(keys, ORDINARY)
    assert proof.commitment != engine.commit(keys, [512, *ORDINARY[1:]])


def test_hidden_sum_beyond_the_digits_of_the_relu__has_no_witness(keys: Keys, model: ReleasedModel) -> None:
    weights = read_weights(model.folder / "network.onnx")
    column = int(np.abs(weights.hidden).max(axis=1).argmax())
    beyond = list(ORDINARY)
    beyond[column] = 4 * LARGEST_ACTIVATION // int(np.abs(weights.hidden[column]).max())
    with pytest.raises(ProvingFailed):
        engine.prove(keys, beyond)
