"""The peer for real: circom, snarkjs, its Solidity verifier on anvil."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.bench.groth16 import (
    INPUTS_PER_WORD,
    Groth16Circuit,
    Groth16Proof,
    build_circuit,
    circom_source,
    compile_circuit,
    measure_groth16,
    prove,
)
from app.chain.anvil import KEY, running_anvil
from app.chain.calldata import groth16_calldata
from app.chain.compiler import compile_contract
from app.chain.gas import deploy_contract, require_true, transaction_gas
from app.errors import (
    ChainUnavailable,
    OutputsDisagree,
    ProvingFailed,
    SimulationReverted,
    ToolMissing,
    TransactionFailed,
)
from app.inference.release import NETWORK, ReleasedModel
from app.training.circuit import IntegerWeights, circuit_outputs
from app.types import SCALAR_FIELD

pytestmark = pytest.mark.slow  # a peer that only the benchmark knows

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "contracts"
FEW = 6
CLIP = 512
"""The largest input of the release."""
LEAST, MOST = -1024, 1023
"""Of the inputs that the circuit takes."""
PLACES = [0, 21, 22, 84]
"""The first and last of all inputs, the last of a word and the first of the next."""
Row = Sequence[int]
PublicSignals = Callable[[Sequence[Row]], list[list[int] | None]]
_WITNESSES = """
const { wtns } = require("snarkjs");
const [r1cs, wasm, request] = process.argv.slice(1);
(async () => {
  const found = [];
  for (const observation of JSON.parse(require("fs").readFileSync(request))) {
    const witness = { type: "mem" };
    try {
      await wtns.calculate({ observation }, wasm, witness);
    } catch (error) {
      if (!String(error).includes("Assert Failed")) throw error;
      found.push(null);
      continue;
    }
    if (!(await wtns.check(r1cs, witness))) throw new Error("a constraint does not hold");
    found.push((await wtns.exportJson(witness)).slice(1, 5).map(String));
  }
  console.log(JSON.stringify(found));
  process.exit(0);
})();
"""
_HASH = """
pragma circom 2.1.0;
include "poseidon.circom";
template Hash() {
    signal input observation[4];
    signal output hash;
    component poseidon = Poseidon(4);
    poseidon.inputs <== observation;
    hash <== poseidon.out;
}
component main = Hash();
"""


def student(inputs: int, units: int, seed: int = 3) -> IntegerWeights:
    rng = np.random.default_rng(seed)
    parts = (rng.integers(-700, 700, size) for size in ((inputs, units), units, (units, 3), 3))
    return IntegerWeights(*parts)


def signed(value: int) -> int:
    return value - SCALAR_FIELD if value > SCALAR_FIELD // 2 else value


@pytest.fixture(scope="module")
def witnesses_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PublicSignals]:
    """Compiles a circom text; gives a function from inputs to the first four signals, or None without a witness.

    snarkjs checks every witness against every constraint.
    """

    def compiled(source: str) -> PublicSignals:
        folder = tmp_path_factory.mktemp("circom")
        files = compile_circuit(source, CONTRACTS, folder)

        def signals(rows: Sequence[Row]) -> list[list[int] | None]:
            request = folder / "rows.json"
            request.write_text(json.dumps([[str(int(value) % SCALAR_FIELD) for value in row] for row in rows]))
            command = ["node", "-e", _WITNESSES, *files, request]
            done = subprocess.run(command, cwd=CONTRACTS, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
            return [row and [signed(int(value)) for value in row] for row in json.loads(done.stdout)]

        return signals

    return compiled


@pytest.fixture(scope="module")
def released_weights(model: ReleasedModel) -> IntegerWeights:
    export = pytest.importorskip("app.training.export", reason="onnx comes with the train extra")
    read: IntegerWeights = export.read_weights(model.folder / NETWORK)
    return read


@pytest.fixture(scope="module")
def released(witnesses_of: Callable[[str], PublicSignals], released_weights: IntegerWeights) -> PublicSignals:
    return witnesses_of(circom_source(released_weights))


@pytest.fixture(scope="module")
def weights() -> IntegerWeights:
    return student(FEW, 3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("powers")


@pytest.fixture(scope="module")
def circuit(weights: IntegerWeights, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Groth16Circuit:
    return build_circuit(weights, CONTRACTS, cache, tmp_path_factory.mktemp("circuit"), say=print)


@pytest.fixture(scope="module")
def proof(weights: IntegerWeights, circuit: Groth16Circuit) -> Groth16Proof:
    return prove(weights, circuit, [[-CLIP, -1, 0, 1, 2, CLIP]], CONTRACTS)[0][0]


@pytest.fixture(scope="module")
def chain_url() -> Iterator[str]:
    with running_anvil(CONTRACTS) as url:
        yield url


@pytest.fixture(scope="module")
def verifier(chain_url: str, circuit: Groth16Circuit) -> str:
    contract = compile_contract(CONTRACTS, circuit.verifier_sol, "Groth16Verifier")
    return deploy_contract(chain_url, KEY, contract)


def test_outputs__of_the_release__are_the_students_to_the_last_bit(
    released: PublicSignals, released_weights: IntegerWeights
) -> None:
    inputs = len(released_weights.hidden)
    furthest = CLIP * np.sign(released_weights.hidden.T)  # each drives one hidden sum as high as it goes
    rows = [
        np.zeros(inputs, np.int64),
        np.full(inputs, CLIP),
        np.full(inputs, -CLIP),
        *furthest,
        -furthest[0],
        *np.random.default_rng(5).integers(-CLIP, CLIP + 1, (2, inputs)),
    ]
    found = [row and row[1:] for row in released([row.tolist() for row in rows])]
    assert found == circuit_outputs(released_weights, np.stack(rows)).tolist()


def test_binding__of_the_release__is_the_hash_of_its_packed_words(
    released: PublicSignals, witnesses_of: Callable[[str], PublicSignals], released_weights: IntegerWeights
) -> None:
    inputs = len(released_weights.hidden)
    rows = np.random.default_rng(6).integers(LEAST, MOST + 1, (3, inputs)).tolist()
    words = [
        [
            sum((value - LEAST) * 2048**place for place, value in enumerate(row[first : first + INPUTS_PER_WORD]))
            for first in range(0, inputs, INPUTS_PER_WORD)
        ]
        for row in rows
    ]
    hashes = witnesses_of(_HASH)(words)
    assert [row and row[:1] for row in released(rows)] == [row and row[:1] for row in hashes]


def test_binding__of_the_words_1_to_4__is_the_published_hash(
    released: PublicSignals, released_weights: IntegerWeights
) -> None:
    row = [LEAST] * len(released_weights.hidden)
    row[::INPUTS_PER_WORD] = [LEAST + word for word in (1, 2, 3, 4)]
    [found] = released([row])
    # The test vector poseidonperm_x5_254_5 of Poseidon's reference implementation.
    assert found
    assert found[0] % SCALAR_FIELD == 0x299C867DB6C1FDD79DCEFA40E4510B9837E60EBB1CE0663DBAA525DF65250465


def test_binding__one_input_changed__is_another(released: PublicSignals, released_weights: IntegerWeights) -> None:
    changed = np.eye(len(released_weights.hidden), dtype=np.int64)[PLACES]
    bindings = {row[0] for row in released([[0] * len(released_weights.hidden), *changed.tolist()]) if row}
    assert len(bindings) == 1 + len(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_input_out_of_range__has_no_witness(
    released: PublicSignals, released_weights: IntegerWeights, place: int
) -> None:
    row = [0] * len(released_weights.hidden)
    values = (LEAST, MOST, LEAST - 1, MOST + 1, 2**22, SCALAR_FIELD // 2)
    found = released([[*row[:place], value, *row[place + 1 :]] for value in values])
    assert [witness is not None for witness in found] == [True, True, False, False, False, False]


def test_hidden_sum_beyond_the_bits_of_the_relu__has_no_witness(
    witnesses_of: Callable[[str], PublicSignals],
) -> None:
    steep = IntegerWeights(
        np.asarray([[2**18]]), np.zeros(1, np.int64), np.ones((1, 3), np.int64), np.zeros(3, np.int64)
    )
    found = witnesses_of(circom_source(steep))([[511], [512], [-512], [-513]])
    assert [witness is not None for witness in found] == [True, False, True, False]


def test_prove__input_out_of_range__is_refused(weights: IntegerWeights, circuit: Groth16Circuit) -> None:
    with pytest.raises(ProvingFailed, match="Assert Failed"):
        prove(weights, circuit, [[MOST + 1] * FEW], CONTRACTS)


def test_keys_of_another_student__are_found_out(circuit: Groth16Circuit) -> None:
    with pytest.raises(OutputsDisagree):
        prove(student(FEW, 3, seed=4), circuit, [[9] * FEW], CONTRACTS)


def test_source_that_does_not_compile__gives_the_compilers_reason(tmp_path: Path) -> None:
    with pytest.raises(ProvingFailed, match="circom failed: error"):
        compile_circuit("component main = Missing();", CONTRACTS, tmp_path)


def test_no_node__is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="node"):
        compile_circuit(_HASH, CONTRACTS, tmp_path)


def test_measure_groth16__small_student__gives_every_figure(weights: IntegerWeights, cache: Path) -> None:
    said: list[str] = []
    observations = [[0] * FEW, [100] * FEW]
    figures = measure_groth16(weights, observations, CONTRACTS, cache, repeats=3, say=said.append)
    assert figures.parameters == FEW * 3 + 3 + 3 * 3 + 3
    assert 300 < figures.constraints < 400
    assert len(figures.prove_seconds) == 3
    assert min(*figures.prove_seconds, figures.setup_seconds, figures.witness_seconds, figures.verify_seconds) > 0
    assert 2**26 < figures.peak_bytes < 2**31
    assert (figures.proof_bytes, figures.calldata_bytes) == (256, 4 + 256 + 4 * 32)
    assert 200_000 < figures.verify_gas < 260_000
    assert said


def test_powers_of_tau__made_once__are_kept(weights: IntegerWeights, circuit: Groth16Circuit, cache: Path) -> None:
    assert circuit.constraints < 2**9
    assert [path.name for path in cache.iterdir()] == ["powers-9.ptau"]


def test_measure_groth16__of_the_release__ends_with_the_contracts_consent(
    released_weights: IntegerWeights, tmp_path: Path
) -> None:
    observations = np.random.default_rng(7).integers(-CLIP, CLIP + 1, (2, len(released_weights.hidden))).tolist()
    figures = measure_groth16(released_weights, observations, CONTRACTS, tmp_path, repeats=2, say=print)
    assert figures.constraints == 1_696


def test_contract__real_proof__is_accepted(chain_url: str, verifier: str, proof: Groth16Proof) -> None:
    require_true(chain_url, verifier, groth16_calldata(proof.points, proof.signals), 900_000)


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
