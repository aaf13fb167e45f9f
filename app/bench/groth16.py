"""The outside peer of the proving benchmark: the same student as a circom circuit, proved by snarkjs with Groth16.

Like for like: the very integers of the released student, inputs private, bound to the outside by one public value (a
Poseidon hash of the packed inputs here, a KZG commitment in our circuit), the three outputs public, the proof checked
by a contract on a chain. snarkjs and circom come from npm with the Solidity compiler.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from string import Template
from typing import Any

import numpy as np

from app.chain.anvil import KEY, running_anvil
from app.chain.calldata import groth16_calldata
from app.chain.compiler import compile_contract, node_tool
from app.chain.gas import VERIFY_GAS, deploy_contract, require_true, transaction_gas
from app.errors import OutputsDisagree, ProvingFailed, ToolMissing
from app.training.circuit import INPUT_SCALE, LARGEST_ACTIVATION, PARAM_SCALE, IntegerWeights, circuit_outputs
from app.types import SCALAR_FIELD, IntArray

PROOF_BYTES = 256
"""Two points of G1 and one of G2, uncompressed, as the contract takes them."""
INPUT_BITS = 11
"""Of one signed input: ±512, the released clip of 4 at `INPUT_SCALE`, is one value too many for ten."""
INPUTS_PER_WORD = 22
"""Packed into one field element, which holds 253 bits; the release's 85 inputs fill four."""
RELU_BITS = (2 * LARGEST_ACTIVATION).bit_length()
_DRIVER = Path(__file__).with_name("groth16_driver.mjs")
_COMPILE_LIMIT_S = 120
_POWERS_LIMIT_S = 1_200
_SETUP_LIMIT_S = 300
_WARM_UPS = 4
"""As many as the driver makes."""
_PROOF_LIMIT_S = 30
"""Of one proof with its witness and its check."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Groth16Figures:
    """What the peer costs. ``setup_seconds`` is the circuit's own phase, without the powers of tau of every circuit."""

    parameters: int
    constraints: int
    setup_seconds: float
    witness_seconds: float
    """Median, as `verify_seconds` is."""
    prove_seconds: tuple[float, ...]
    verify_seconds: float
    peak_bytes: int
    """Peak resident memory of the proving process, all its threads."""
    proof_bytes: int
    calldata_bytes: int
    verify_gas: int
    """Of one whole transaction."""


@dataclass(frozen=True, slots=True)
class Groth16Proof:
    """A proof that snarkjs verified. ``points`` is A‖B‖C in the contract's order, 256 bytes."""

    points: bytes
    binding: int
    outputs: tuple[int, ...]
    """Signed, at the circuit's output scale."""
    witness_seconds: float
    prove_seconds: float
    verify_seconds: float

    @property
    def signals(self) -> tuple[int, ...]:
        return (self.binding, *self.outputs)


@dataclass(frozen=True, slots=True)
class Groth16Circuit:
    """What is left on disk of a circuit that is ready to prove."""

    wasm: Path
    zkey: Path
    verifier_sol: Path
    constraints: int
    setup_seconds: float


def measure_groth16(
    weights: IntegerWeights,
    observations: Sequence[Sequence[int]],
    contracts_dir: Path,
    cache_dir: Path,
    *,
    repeats: int,
    say: Callable[[str], None],
) -> Groth16Figures:
    """The peer's figures over ``repeats`` proofs, taking turns among ``observations`` (integers at `INPUT_SCALE`).

    Powers of tau are kept in ``cache_dir``. Raises `ToolMissing` when node or a package is absent, `ProvingFailed`
    in the tool's own words when a step fails, `OutputsDisagree` when the circuit's outputs are not the student's,
    and a `ChainError` when the contract does not accept the proof.
    """
    if repeats < 1 or not observations:
        raise ProvingFailed("nothing to prove: give at least one observation and one repeat")
    with tempfile.TemporaryDirectory(prefix="veriregime-groth16-") as folder:
        circuit = build_circuit(weights, contracts_dir, cache_dir, Path(folder), say=say)
        say(f"Groth16: {repeats} proofs")
        proofs, peak_bytes = prove(weights, circuit, list(islice(cycle(observations), repeats)), contracts_dir)
        say("Groth16: one proof to the contract")
        calldata = groth16_calldata(proofs[-1].points, proofs[-1].signals)
        gas = verify_gas(circuit.verifier_sol, calldata, contracts_dir)
    return Groth16Figures(
        parameters=weights.as_floats().count,
        constraints=circuit.constraints,
        setup_seconds=circuit.setup_seconds,
        witness_seconds=median(proof.witness_seconds for proof in proofs),
        prove_seconds=tuple(proof.prove_seconds for proof in proofs),
        verify_seconds=median(proof.verify_seconds for proof in proofs),
        peak_bytes=peak_bytes,
        proof_bytes=PROOF_BYTES,
        calldata_bytes=len(calldata),
        verify_gas=gas,
    )


def circom_source(weights: IntegerWeights) -> str:
    """The student as circom 2, weights as constants. Public signals in this order: binding, then the three outputs.

    The binding is circomlib's Poseidon over words of `INPUTS_PER_WORD` inputs, the first in the lowest `INPUT_BITS`,
    each raised by half of its range. An input out of that range has no witness.
    """
    inputs, units = weights.hidden.shape
    return _SOURCE.substitute(
        inputs=inputs,
        units=units,
        outputs=weights.output.shape[1],
        input_bits=INPUT_BITS,
        per_word=INPUTS_PER_WORD,
        relu_bits=RELU_BITS,
        hidden=_literal(weights.hidden.T),
        hidden_bias=_literal(weights.hidden_bias << INPUT_SCALE),
        output=_literal(weights.output.T),
        output_bias=_literal(weights.output_bias << (INPUT_SCALE + PARAM_SCALE)),
    )


def compile_circuit(source: str, contracts_dir: Path, folder: Path) -> tuple[Path, Path]:
    """The constraints of a circom text (``.r1cs``) and its witness calculator (``.wasm``), in ``folder``."""
    program = folder / "circuit.circom"
    program.write_text(source)
    compiler = node_tool(contracts_dir, "circom2").resolve() / "cli.js"
    # The compiler runs as WebAssembly and finds what a program includes only below its own working folder.
    shutil.copytree(node_tool(contracts_dir, "circomlib") / "circuits", folder / "circomlib")
    # O2 folds every linear constraint into another one: the peer at its smallest.
    options = ("--r1cs", "--wasm", "--O2", "-l", "circomlib")
    _node("circom", compiler, program.name, *options, cwd=folder, limit_s=_COMPILE_LIMIT_S)
    return folder / "circuit.r1cs", folder / "circuit_js" / "circuit.wasm"


def build_circuit(
    weights: IntegerWeights, contracts_dir: Path, cache_dir: Path, folder: Path, *, say: Callable[[str], None]
) -> Groth16Circuit:
    """Compile the student in ``folder``, which is empty, and make its keys there with one contribution of our own."""
    say("Groth16: circom compiles the student")
    r1cs, wasm = compile_circuit(circom_source(weights), contracts_dir, folder)
    size = _driven(contracts_dir, "size", r1cs, limit_s=_COMPILE_LIMIT_S)
    powers = _powers_of_tau(contracts_dir, cache_dir, size["power"], say)
    say(f"Groth16: keys for {size['constraints']} constraints")
    zkey, contract = folder / "circuit.zkey", folder / "Groth16Verifier.sol"
    made = _driven(contracts_dir, "setup", r1cs, powers, zkey, contract, limit_s=_SETUP_LIMIT_S)
    return Groth16Circuit(wasm, zkey, contract, size["constraints"], made["seconds"])


def prove(
    weights: IntegerWeights, circuit: Groth16Circuit, observations: Sequence[Sequence[int]], contracts_dir: Path
) -> tuple[list[Groth16Proof], int]:
    """A verified proof of every observation, made in one warm process, and that process's peak resident bytes."""
    request = circuit.zkey.with_name("observations.json")
    request.write_text(json.dumps([[str(value % SCALAR_FIELD) for value in row] for row in observations]))
    limit_s = _PROOF_LIMIT_S * (_WARM_UPS + len(observations))
    answer = _driven(contracts_dir, "prove", circuit.wasm, circuit.zkey, request, limit_s=limit_s)
    proofs = [_proof(made) for made in answer["proofs"]]
    expected = circuit_outputs(weights, np.asarray(observations, dtype=np.int64)).tolist()
    if [list(proof.outputs) for proof in proofs] != expected:
        raise OutputsDisagree("the circom circuit computes other integers than the student")
    return proofs, int(answer["peak_bytes"])


def verify_gas(verifier_sol: Path, calldata: bytes, contracts_dir: Path) -> int:
    """Gas of one transaction to snarkjs's verifier on a fresh anvil, once the contract has said that it accepts."""
    contract = compile_contract(contracts_dir, verifier_sol, "Groth16Verifier")
    with running_anvil(contracts_dir) as url:
        address = deploy_contract(url, KEY, contract)
        require_true(url, address, calldata, VERIFY_GAS)
        return transaction_gas(url, KEY, address, calldata, VERIFY_GAS)


def _powers_of_tau(contracts_dir: Path, cache_dir: Path, power: int, say: Callable[[str], None]) -> Path:
    """Phase 1 for 2**power constraints. Its secret was known to this machine: good for a benchmark only."""
    kept = cache_dir / f"powers-{power}.ptau"
    if not kept.is_file():
        say(f"Groth16: powers of tau up to 2^{power}, about a minute, kept for the next time")
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".making-") as scratch:
            made = Path(scratch) / kept.name
            _driven(contracts_dir, "powers", power, made, limit_s=_POWERS_LIMIT_S)
            os.replace(made, kept)
    return kept


def _proof(made: dict[str, Any]) -> Groth16Proof:
    binding, *outputs = (int(signal) for signal in made["signals"])
    return Groth16Proof(
        points=b"".join(int(coordinate).to_bytes(32, "big") for coordinate in made["points"]),
        binding=binding,
        outputs=tuple(value - SCALAR_FIELD if value > SCALAR_FIELD // 2 else value for value in outputs),
        witness_seconds=made["witness_seconds"],
        prove_seconds=made["prove_seconds"],
        verify_seconds=made["verify_seconds"],
    )


def _driven(contracts_dir: Path, command: str, *arguments: object, limit_s: float) -> dict[str, Any]:
    node_tool(contracts_dir, "snarkjs")
    said = _node(f"snarkjs ({command})", _DRIVER, contracts_dir.resolve(), command, *arguments, limit_s=limit_s)
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def _node(name: str, program: Path, *arguments: object, limit_s: float, cwd: Path | None = None) -> str:
    """What a node program prints. Raises `ProvingFailed` with its own words when it fails or takes too long."""
    node = shutil.which("node")
    if node is None:
        raise ToolMissing("node is not on the PATH: install Node 20 or newer, then run `make setup`")
    command = [node, str(program), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise ProvingFailed(f"{name} was not done within {limit_s:.0f} s and was ended") from error
    if done.returncode:
        raise ProvingFailed(f"{name} failed: {_complaint(done)}")
    return done.stdout


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The line that names the error; circom's last one only says that there was one."""
    lines = [_COLOUR.sub("", line).strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    named = [line for line in lines if line.lower().startswith("error")]
    return (named or lines[-1:] or [f"exit code {done.returncode}"])[0][:300]


def _literal(table: IntArray) -> str:
    return json.dumps(table.tolist(), separators=(",", ":"))


_SOURCE = Template("""\
pragma circom 2.1.0;

include "bitify.circom";
include "poseidon.circom";

// max(x, 0) for x in [-2^(bits-1), 2^(bits-1)); any other x has no witness. After the shift to unsigned, the highest
// bit says whether x was at least zero.
template Relu(bits) {
    signal input x;
    signal output y;
    component digits = Num2Bits(bits);
    digits.in <== x + (1 << (bits - 1));
    y <== x * digits.out[bits - 1];
}

// A field element costs Poseidon the same however few bits it holds, so values share words: each is shifted to unsigned
// and takes `bits` digits of one. A value out of [-2^(bits-1), 2^(bits-1)) has no witness and a word stays below the
// field's order, so no other values make the same words.
template Binding(n, bits, per_word) {
    signal input values[n];
    signal output hash;
    var words = (n + per_word - 1) \\ per_word;
    var offset = 1 << (bits - 1);
    component digits[n];
    component poseidon = Poseidon(words);
    for (var word = 0; word < words; word++) {
        var packed = 0;
        for (var i = word * per_word; i < n && i < (word + 1) * per_word; i++) {
            digits[i] = Num2Bits(bits);
            digits[i].in <== values[i] + offset;
            packed += (values[i] + offset) * (1 << (bits * (i - word * per_word)));
        }
        poseidon.inputs[word] <== packed;
    }
    hash <== poseidon.out;
}

template Student() {
    signal input observation[$inputs];
    signal output binding;
    signal output outputs[$outputs];

    var hidden[$units][$inputs] = $hidden;
    var hidden_bias[$units] = $hidden_bias;
    var output_weights[$outputs][$units] = $output;
    var output_bias[$outputs] = $output_bias;

    component bound = Binding($inputs, $input_bits, $per_word);
    bound.values <== observation;
    binding <== bound.hash;

    component relu[$units];
    for (var unit = 0; unit < $units; unit++) {
        var sum = hidden_bias[unit];
        for (var i = 0; i < $inputs; i++) {
            sum += hidden[unit][i] * observation[i];
        }
        relu[unit] = Relu($relu_bits);
        relu[unit].x <== sum;
    }
    for (var k = 0; k < $outputs; k++) {
        var sum = output_bias[k];
        for (var unit = 0; unit < $units; unit++) {
            sum += output_weights[k][unit] * relu[unit].y;
        }
        outputs[k] <== sum;
    }
}

component main = Student();
""")
