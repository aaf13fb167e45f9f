"""The peer for real: circom, snarkjs, its Solidity verifier on anvil."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from app.bench.groth16 import (
    Groth16Circuit,
    Groth16Proof,
    build_circuit,
    compile_circuit,
    measure_groth16,
    prove,
    verify_gas,
)
from app.chain.anvil import KEY, running_anvil
from app.chain.calldata import groth16_calldata
from app.chain.compiler import compile_contract, node_tool
from app.chain.gas import require_true, transaction_gas
from app.chain.verifier import Chain
from app.errors import (
    ChainUnavailable,
    OutputsDisagree,
    ProvingFailed,
    SimulationReverted,
    ToolMissing,
    TransactionFailed,
)
from app.features.variation import INPUTS
from app.training.circuit import IntegerWeights, circuit_outputs
from app.types import SCALAR_FIELD

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "contracts"
FEW = 17
"""The fewest inputs that need a second hash."""
Witness = Callable[[list[int]], list[int]]


def student(inputs: int, units: int, seed: int = 3) -> IntegerWeights:
    rng = np.random.default_rng(seed)
    parts = (rng.integers(-700, 700, size) for size in ((inputs, units), units, (units, 3), 3))
    return IntegerWeights(*parts)


def signed(value: int) -> int:
    return value - SCALAR_FIELD if value > SCALAR_FIELD // 2 else value


@pytest.fixture(scope="module")
def witness_maker(tmp_path_factory: pytest.TempPathFactory) -> Callable[[IntegerWeights], Witness]:
    """Compiles a student; gives a function from inputs to public signals, every constraint checked by snarkjs."""

    def make(weights: IntegerWeights) -> Witness:
        folder = tmp_path_factory.mktemp("circom")
        r1cs, wasm = compile_circuit(weights, CONTRACTS, folder)

        def snarkjs(*arguments: str | Path) -> None:
            tool = node_tool(CONTRACTS, ".bin/snarkjs").resolve()
            done = subprocess.run(["node", tool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr

        def witness(observation: list[int]) -> list[int]:
            values = [str(value % SCALAR_FIELD) for value in observation]
            (folder / "input.json").write_text(json.dumps({"observation": values}))
            snarkjs("wtns", "calculate", wasm, "input.json", "witness.wtns")
            snarkjs("wtns", "check", r1cs, "witness.wtns")
            snarkjs("wtns", "export", "json", "witness.wtns", "witness.json")
            return [signed(int(value)) for value in json.loads((folder / "witness.json").read_text())[1:5]]

        return witness

    return make


@pytest.fixture(scope="module")
def weights() -> IntegerWeights:
    return student(FEW, 2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("powers")


@pytest.fixture(scope="module")
def circuit(weights: IntegerWeights, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Groth16Circuit:
    return build_circuit(weights, CONTRACTS, cache, tmp_path_factory.mktemp("circuit"), say=print)


@pytest.fixture(scope="module")
def proof(weights: IntegerWeights, circuit: Groth16Circuit) -> Groth16Proof:
    return prove(weights, circuit, [list(range(-8, 9))], CONTRACTS)[0][0]


@pytest.fixture(scope="module")
def chain_url() -> Iterator[str]:
    with running_anvil(CONTRACTS) as url:
        yield url


@pytest.fixture(scope="module")
def verifier(chain_url: str, circuit: Groth16Circuit) -> str:
    contract = compile_contract(CONTRACTS, circuit.verifier_sol, "Groth16Verifier")
    return Chain(chain_url, KEY).deploy(contract)


def test_circuit__at_the_size_of_the_release__computes_what_the_student_does(
    witness_maker: Callable[[IntegerWeights], Witness],
) -> None:
    weights = student(INPUTS, 16)
    extremes = np.sign(weights.hidden[:, 0]) * 512
    mixed = np.random.default_rng(5).integers(-512, 513, (2, INPUTS))
    observations = [
        np.zeros(INPUTS, np.int64),
        extremes,
        -extremes,
        np.full(INPUTS, 512),
        np.full(INPUTS, -512),
        *mixed,
    ]
    witness = witness_maker(weights)
    found = [witness(observation.tolist())[1:] for observation in observations]
    assert found == circuit_outputs(weights, np.stack(observations)).tolist()


def test_binding__of_few_inputs__is_their_poseidon_hash(witness_maker: Callable[[IntegerWeights], Witness]) -> None:
    binding = witness_maker(student(2, 1))([1, 2])[0] % SCALAR_FIELD
    # The published test value of circomlib's Poseidon on (1, 2).
    assert binding == 7853200120776062878684798364095072458815029376092732009249414926327459813530


def test_binding__any_input_changed__is_another(witness_maker: Callable[[IntegerWeights], Witness]) -> None:
    witness = witness_maker(student(FEW, 1))
    observations = [[0] * FEW, *([int(i == place) for i in range(FEW)] for place in (0, 15, 16))]
    assert len({witness(observation)[0] for observation in observations}) == len(observations)


def test_hidden_sum_beyond_the_bits_of_the_relu__has_no_proof(weights: IntegerWeights, circuit: Groth16Circuit) -> None:
    with pytest.raises(ProvingFailed, match="Assert Failed"):
        prove(weights, circuit, [[2**28] * FEW], CONTRACTS)


def test_keys_of_another_student__are_found_out(circuit: Groth16Circuit) -> None:
    with pytest.raises(OutputsDisagree):
        prove(student(FEW, 2, seed=4), circuit, [[9] * FEW], CONTRACTS)


def test_source_that_does_not_compile__gives_the_compilers_reason(tmp_path: Path) -> None:
    broken = dataclasses.replace(student(2, 1), output_bias=np.zeros((0,), np.int64))
    with pytest.raises(ProvingFailed, match="circom failed: error"):
        compile_circuit(broken, CONTRACTS, tmp_path)


def test_no_node__is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="node"):
        compile_circuit(student(2, 1), CONTRACTS, tmp_path)


def test_measure_groth16__small_student__gives_every_figure(weights: IntegerWeights, cache: Path) -> None:
    said: list[str] = []
    observations = [[0] * FEW, [100] * FEW]
    figures = measure_groth16(weights, observations, CONTRACTS, cache, repeats=3, say=said.append)
    assert figures.parameters == FEW * 2 + 2 + 2 * 3 + 3
    assert 900 < figures.constraints < 1_000
    assert len(figures.prove_seconds) == 3
    assert min(*figures.prove_seconds, figures.setup_seconds, figures.witness_seconds, figures.verify_seconds) > 0
    assert 2**26 < figures.peak_bytes < 2**31
    assert (figures.proof_bytes, figures.calldata_bytes) == (256, 4 + 256 + 4 * 32)
    assert 200_000 < figures.verify_gas < 260_000
    assert said


def test_powers_of_tau__made_once__are_kept(weights: IntegerWeights, circuit: Groth16Circuit, cache: Path) -> None:
    assert circuit.constraints < 2**10
    assert [path.name for path in cache.iterdir()] == ["powers-10.ptau"]


def test_contract__real_proof__is_accepted(circuit: Groth16Circuit, proof: Groth16Proof) -> None:
    assert verify_gas(circuit.verifier_sol, groth16_calldata(proof.points, proof.signals), CONTRACTS) > 200_000


@pytest.mark.parametrize("place", range(4))
def test_contract__any_changed_signal__is_rejected(
    chain_url: str, verifier: str, proof: Groth16Proof, place: int
) -> None:
    signals = [value + (index == place) for index, value in enumerate(proof.signals)]
    with pytest.raises(SimulationReverted, match="instead of true"):
        require_true(chain_url, verifier, groth16_calldata(proof.points, signals), 900_000)


def test_contract__changed_proof__is_rejected(chain_url: str, verifier: str, proof: Groth16Proof) -> None:
    changed = proof.points[192:] + proof.points[64:192] + proof.points[:64]
    with pytest.raises(SimulationReverted):
        require_true(chain_url, verifier, groth16_calldata(changed, proof.signals), 900_000)


def test_require_true__address_without_a_contract__is_no_consent(chain_url: str) -> None:
    with pytest.raises(SimulationReverted, match="instead of true"):
        require_true(chain_url, "0x000000000000000000000000000000000000dEaD", b"", 900_000)


def test_transaction_gas__call_that_reverts__is_a_failed_transaction(chain_url: str, verifier: str) -> None:
    with pytest.raises(TransactionFailed, match="reverted"):
        transaction_gas(chain_url, KEY, verifier, bytes(4), 900_000)


def test_transaction_gas__endpoint_that_is_away__is_unavailable() -> None:
    with pytest.raises(ChainUnavailable, match="does not answer"):
        transaction_gas("http://127.0.0.1:9", KEY, "0x000000000000000000000000000000000000dEaD", b"", 900_000)
