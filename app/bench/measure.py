"""One step of a measurement, alone in its process, so that the peak of its memory is that of this step.

Run as ``python -m app.bench.measure``: the request is one line of JSON on standard input; on standard output stand one
line of JSON for every step begun and a last one with the result or the error.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.errors import OracleError, ProofRejected
from app.proving import engine
from app.types import Circuit, Keys, Proof

Request = Mapping[str, Any]
Say = Callable[[str], None]
BLINDING_ROWS = 6
"""Rows that halo2 keeps for itself; a circuit that uses more than the others has a proof that does not verify."""


def make_keys(request: Request, say: Say) -> dict[str, Any]:
    """Compile the network, where the request has one instead of a circuit, and make its keys and verifier.

    Everything lands in the request's ``folder``. The time is that of the keys alone: the structured reference string is
    of the machine, not of the circuit.
    """
    folder = Path(request["folder"])
    found = _compile(request, folder, say) if request["network"] else _settings(Path(request["settings"]))
    logrows = int(found["run_args"]["logrows"])
    circuit = Circuit(
        compiled=Path(request["compiled"]),
        settings=Path(request["settings"]),
        compiled_sha256="",
        logrows=logrows,
        input_scale=found["run_args"]["input_scale"],
        proof_bytes=0,
    )
    srs = _srs(Path(request["srs_folder"]), logrows, say)
    say("making keys")
    started = time.perf_counter()
    engine.make_keys(circuit, srs, folder / "vk.key", folder / "pk.key")
    setup_seconds = time.perf_counter() - started
    say("writing the Solidity verifier")
    engine.write_solidity_verifier(circuit, srs, folder / "vk.key", folder / "Verifier.sol")
    return {
        "srs": str(srs),
        "logrows": logrows,
        "rows": found["num_rows"],
        "input_scale": found["run_args"]["input_scale"],
        "output_scale": found["model_output_scales"][0],
        "run_args": found["run_args"],
        "setup_seconds": setup_seconds,
        "peak_bytes": peak_bytes(),
    }


def make_proofs(request: Request, say: Say) -> dict[str, Any]:
    """Proofs of the observations in turn, each verified; then plain witnesses of some more.

    The memory's peak is read before those witnesses.
    """
    keys, observations, warm_ups = _keys(request["keys"]), request["observations"], request["warm_ups"]
    made = []
    for number in range(warm_ups + request["repeats"]):
        counted = number - warm_ups + 1
        say(f"proof {counted} of {request['repeats']}" if counted > 0 else "warm-up proof")
        made.append(_proof(keys, observations[number % len(observations)], committed=request["committed"]))
    peak = peak_bytes()
    if request["witnesses"]:
        say(f"{len(request['witnesses'])} witnesses")
    last, counted_proofs = made[-1], made[warm_ups:]
    return {
        "proof": last.proof.hex(),
        "instances": list(last.instances),
        "witness_seconds": [proof.witness_seconds for proof in counted_proofs],
        "prove_seconds": [proof.prove_seconds for proof in counted_proofs],
        "verify_seconds": [proof.verify_seconds for proof in counted_proofs],
        "peak_bytes": peak,
        "outputs": list(_witnesses(keys, request["witnesses"])),
    }


TASKS: Mapping[str, Callable[[Request, Say], dict[str, Any]]] = {"keys": make_keys, "proofs": make_proofs}


def peak_bytes() -> int:
    """The most memory that this program held at once.

    Linux counts into ``ru_maxrss`` what the parent held before it became this program; ``VmHWM`` starts anew.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    request = json.loads(sys.stdin.readline())
    # Not a thread: ezkl would not let it run. The kernel ends us even when whoever asked is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(request["limit_s"])
    try:
        _tell(result=TASKS[request["task"]](request, lambda step: _tell(step=step)))
    except OracleError as error:
        _tell(error=str(error), rejected=isinstance(error, ProofRejected))


def _tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def _compile(request: Request, folder: Path, say: Say) -> dict[str, Any]:
    """Under ezkl's own choice of scales and rows where there is an example, otherwise with the fewest rows that do."""
    network, settings, run_args = Path(request["network"]), folder / "settings.json", dict(request["run_args"])
    # Lists of pairs became lists of lists on the way here.
    run_args["variables"] = [(name, size) for name, size in run_args.get("variables", ())] or [("batch_size", 1)]
    say("settling the circuit")
    found = engine.write_settings(network, settings, run_args)
    if request["example"]:
        say("ezkl calibrates")
        found = engine.calibrate(network, settings, request["example"])
    elif "logrows" not in run_args:
        least = max(request["least_logrows"], (found["num_rows"] + BLINDING_ROWS - 1).bit_length())
        found = engine.write_settings(network, settings, run_args | {"logrows": least})
    say("compiling the circuit")
    engine.compile_circuit(network, settings, Path(request["compiled"]))
    settings.replace(request["settings"])
    return found


def _settings(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _srs(folder: Path, logrows: int, say: Say) -> Path:
    """A string whose secret this machine knew, good enough to measure with. Kept: a large one takes half a minute."""
    path = folder / f"trial-k{logrows}.srs"
    if not path.is_file():
        say(f"making a trial SRS for 2^{logrows} rows")
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        engine.make_development_srs(unfinished, logrows)
        unfinished.replace(path)
    return path


def _keys(request: Request) -> Keys:
    circuit = Circuit(
        compiled=Path(request["compiled"]),
        settings=Path(request["settings"]),
        compiled_sha256="",
        logrows=request["logrows"],
        input_scale=request["input_scale"],
        proof_bytes=request["proof_bytes"],
    )
    folder = Path(request["folder"])
    return Keys(
        circuit=circuit,
        srs=Path(request["srs"]),
        srs_hash="",
        srs_is_development=True,
        vk=folder / "vk.key",
        vk_hash="",
        pk=folder / "pk.key",
        verifier_sol=folder / "Verifier.sol",
    )


def _proof(keys: Keys, observation: Sequence[int], *, committed: bool) -> Proof:
    """A verified proof. Its length is the circuit's, known beforehand for released circuits only."""
    made = engine.make_proof(keys, observation)
    stated = keys.circuit.proof_bytes or len(made.proof)
    started = time.perf_counter()
    if not engine.verify(replace(keys, circuit=replace(keys.circuit, proof_bytes=stated)), made.proof, made.instances):
        raise ProofRejected()
    verified = time.perf_counter()
    commitment = made.proof[: engine.COMMITMENT_BYTES] if committed else b""
    if committed and commitment != engine.commit(keys, observation):
        raise ProofRejected("the proof commits to other inputs than the observation")
    return Proof(
        proof=made.proof,
        instances=made.instances,
        commitment=commitment,
        vk_hash="",
        srs_hash="",
        witness_seconds=made.witness_seconds,
        prove_seconds=made.prove_seconds,
        verify_seconds=verified - started,
    )


def _witnesses(keys: Keys, observations: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    target = keys.vk.with_name("witness.json")
    for observation in observations:
        yield engine.make_witness(keys, observation, target)


if __name__ == "__main__":
    main()
