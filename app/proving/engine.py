"""The only door to ezkl. Every call here is synchronous and holds the GIL, so serving calls it in worker processes.

Field elements stay inside: callers see signed integers and bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ezkl

from app.errors import Misconfigured, ProofRejected, ProvingFailed
from app.types import SCALAR_FIELD, Circuit, Keys, Proof

EZKL_VERSION = version("ezkl")
COMMITMENT_BYTES = 64

RUN_ARGS: Mapping[str, Any] = {
    "input_visibility": "polycommit",
    "output_visibility": "public",
    "param_visibility": "fixed",
    "num_inner_cols": 1,
    "decomp_base": 512,
    "decomp_legs": 3,
    "disable_freivalds": True,
    "ignore_range_check_inputs_outputs": True,
    # No rescaling between layers: the circuit is then plain integer arithmetic, and k falls to 11.
    "scale_rebase_multiplier": 10,
}
"""The settings that prove in a fifth of a second; docs/decisions/0003 says why each is safe."""


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class UncheckedProof:
    """What ezkl made, before anybody verified it. ``instances`` are all public values, signed, inputs first."""

    proof: bytes
    instances: tuple[int, ...]
    witness_seconds: float
    prove_seconds: float


def compile_network(
    network: Path, settings: Path, compiled: Path, *, input_scale: int, param_scale: int, logrows: int, columns: int = 1
) -> dict[str, Any]:
    """Circuit settings and compiled circuit of an ONNX network; gives the settings.

    The time stamp that ezkl writes is set to zero. Some maps still come out in random order, so two compilations of
    one network may differ: whoever needs the same bytes repeats (see `app.training.circuit`).
    """
    shape = {"input_scale": input_scale, "param_scale": param_scale, "logrows": logrows, "num_inner_cols": columns}
    content = write_settings(network, settings, {**RUN_ARGS, **shape})
    compile_circuit(network, settings, compiled)
    return content


def write_settings(network: Path, settings: Path, run_args: Mapping[str, Any]) -> dict[str, Any]:
    """The circuit settings of an ONNX network under ``run_args``; what they do not name keeps ezkl's default."""
    args = ezkl.PyRunArgs()
    for name, value in run_args.items():
        setattr(args, name, value)
    with _translated("settle the circuit"):
        ezkl.gen_settings(str(network), str(settings), py_run_args=args)
    content: dict[str, Any] = json.loads(settings.read_text())
    content["timestamp"] = 0
    settings.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return content


def calibrate(network: Path, settings: Path, inputs: Sequence[float]) -> dict[str, Any]:
    """Let ezkl choose scales and rows itself, by one example of the inputs; gives the settings it wrote."""
    with tempfile.TemporaryDirectory(prefix="veriregime-calibrate-") as folder:
        example = Path(folder) / "input.json"
        example.write_text(json.dumps({"input_data": [list(inputs)]}))
        with _translated("calibrate the circuit"):
            ezkl.calibrate_settings(str(example), str(network), str(settings), "resources")
    chosen: dict[str, Any] = json.loads(settings.read_text())
    return chosen


def compile_circuit(network: Path, settings: Path, compiled: Path) -> None:
    """The compiled circuit of an ONNX network under settings that `write_settings` wrote."""
    with _translated("compile the circuit"):
        ezkl.compile_circuit(str(network), str(compiled), str(settings))


def make_development_srs(path: Path, logrows: int) -> None:
    """A structured reference string whose secret this very process knew: for development only."""
    with _translated("make a development SRS"):
        ezkl.gen_srs(str(path), logrows)


def make_keys(circuit: Circuit, srs: Path, vk: Path, pk: Path) -> None:
    """Verifying and proving key; the same circuit and SRS always give the same bytes."""
    with _translated("make the keys"):
        ezkl.setup(str(circuit.compiled), str(vk), str(pk), str(srs))


def write_solidity_verifier(circuit: Circuit, srs: Path, vk: Path, target: Path) -> None:
    """The Solidity verifier of a verifying key.

    ezkl writes the source and then tries to download a compiler for the ABI; offline that fails after the part that
    we need, so success is judged by the file.
    """

    async def create(abi: Path) -> None:
        await ezkl.create_evm_verifier(str(vk), str(circuit.settings), str(target), str(abi), str(srs), False)

    failure: Exception | None = None
    with tempfile.TemporaryDirectory() as scratch:
        try:
            asyncio.run(create(Path(scratch) / "abi.json"))
        except RuntimeError as error:
            failure = error
    if not target.is_file() or "function verifyProof" not in target.read_text():
        raise Misconfigured(f"ezkl wrote no Solidity verifier: {failure}")


def prove(keys: Keys, observation: Sequence[int]) -> Proof:
    """A proof of the network's outputs on ``observation`` (integers at the circuit's input scale), verified.

    Raises `ProofRejected` when the finished proof does not verify and `ProvingFailed` when none can be made.
    """
    made = make_proof(keys, observation)
    started = time.perf_counter()
    if not verify(keys, made.proof, made.instances):
        raise ProofRejected()
    commitment = made.proof[:COMMITMENT_BYTES]
    if commitment != commit(keys, observation):
        raise ProofRejected("the proof commits to other inputs than the observation")
    return Proof(
        proof=made.proof,
        instances=made.instances,
        commitment=commitment,
        vk_hash=keys.vk_hash,
        srs_hash=keys.srs_hash,
        witness_seconds=made.witness_seconds,
        prove_seconds=made.prove_seconds,
        verify_seconds=time.perf_counter() - started,
    )


def make_proof(keys: Keys, observation: Sequence[int]) -> UncheckedProof:
    """What ezkl makes of ``observation``, whatever the circuit's visibility; for serving there is `prove`."""
    with tempfile.TemporaryDirectory(prefix="veriregime-proof-") as folder:
        scratch = Path(folder)
        started = time.perf_counter()
        make_witness(keys, observation, scratch / "witness.json")
        witnessed = time.perf_counter()
        proof, instances = prove_witness(keys, scratch / "witness.json")
    return UncheckedProof(
        proof=proof,
        instances=instances,
        witness_seconds=witnessed - started,
        prove_seconds=time.perf_counter() - witnessed,
    )


def prove_witness(keys: Keys, witness: Path) -> tuple[bytes, tuple[int, ...]]:
    """Proof and instances that ezkl makes of a witness file, which it believes: nothing is verified here."""
    target = witness.with_name("proof.json")
    with _translated("prove"):
        ezkl.prove(str(witness), str(keys.circuit.compiled), str(keys.pk), str(target), str(keys.srs))
    made = json.loads(target.read_text())
    instances = tuple(_signed(felt) for felt in made["instances"][0])
    return bytes.fromhex(made["hex_proof"].removeprefix("0x")), instances


def make_witness(keys: Keys, observation: Sequence[int], target: Path) -> tuple[int, ...]:
    """The circuit's execution trace on ``observation``, written to ``target``; gives its outputs as integers."""
    scale = 2**keys.circuit.input_scale
    request = target.with_name("input.json")
    request.write_text(json.dumps({"input_data": [[value / scale for value in observation]]}))
    with _translated("compute the witness"):
        witness: dict[str, Any] = ezkl.gen_witness(
            str(request), str(keys.circuit.compiled), str(target), str(keys.vk), str(keys.srs)
        )
    if [_signed(felt) for felt in witness["inputs"][0]] != list(observation):
        raise ProvingFailed("ezkl quantised the observation to other integers")
    return tuple(_signed(felt) for felt in witness["outputs"][0])


def verify(keys: Keys, proof: bytes, instances: Sequence[int]) -> bool:
    """Whether ``proof`` shows that the circuit gives ``instances``, by the verifying key."""
    if len(proof) != keys.circuit.proof_bytes or any(abs(i) > SCALAR_FIELD // 2 for i in instances):
        return False
    snark = {
        "protocol": None,
        "instances": [[_felt(value) for value in instances]],
        "proof": list(proof),
        "hex_proof": "0x" + proof.hex(),
        "split": None,
        "pretty_public_inputs": None,
        "timestamp": None,
        "version": None,
    }
    with tempfile.TemporaryDirectory(prefix="veriregime-verify-") as folder:
        path = Path(folder) / "proof.json"
        path.write_text(json.dumps(snark))
        try:
            with _quiet():
                answer = ezkl.verify(str(path), str(keys.circuit.settings), str(keys.vk), str(keys.srs))
        except RuntimeError:  # ezkl raises instead of answering False
            return False
    return bool(answer)


def commit(keys: Keys, observation: Sequence[int]) -> bytes:
    """KZG commitment of the inputs, 64 bytes x‖y big-endian: what the first 64 bytes of an honest proof are."""
    with _translated("commit to the inputs"):
        points = ezkl.kzg_commit(
            [_felt(value) for value in observation],
            str(keys.vk),
            str(keys.circuit.settings),
            str(keys.srs),
        )
    return b"".join(bytes.fromhex(part)[::-1] for part in (points[0].x, points[0].y))


def _felt(value: int) -> str:
    return (value % SCALAR_FIELD).to_bytes(32, "little").hex()


def _signed(felt: str) -> int:
    value = int.from_bytes(bytes.fromhex(felt), "little")
    return value - SCALAR_FIELD if value > SCALAR_FIELD // 2 else value


@contextlib.contextmanager
def _translated(step: str) -> Iterator[None]:
    """ezkl reports with RuntimeError, and with pyo3's PanicException, which is no `Exception`."""
    try:
        with _quiet():
            yield
    except RuntimeError as error:
        raise ProvingFailed(f"ezkl could not {step}: {_reason(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ProvingFailed(f"ezkl panicked while it tried to {step}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send ezkl's own chatter on stdout to stderr: stdout belongs to ``--json``."""
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
