"""From a circuit to its figures: keys in one process, proofs in the next, the last proof to a contract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.bench.children import Say, run_step
from app.bench.gas import OnChain, OwnChain
from app.errors import ProofRejected, ProvingFailed
from app.types import Circuit, Proof

COMMITTED = ("polycommit", "KZGCommit")
"""How ezkl's arguments and its settings call inputs that the proof commits to."""
TRIES = 3
"""Numbers of rows to try, each twice the one before, until the proof verifies."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: a released ``circuit``, or a ``network`` under ``run_args`` of ezkl.

    With an ``example`` of the inputs ezkl chooses its scales and rows itself. Without ``logrows`` in ``run_args`` the
    least number of rows is found that makes a proof which verifies.
    """

    circuit: Circuit | None = None
    network: Path | None = None
    run_args: Mapping[str, Any] = field(default_factory=dict)
    example: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Effort:
    """How many proofs are made, first some that do not count, and how long a process may take."""

    repeats: int
    warm_ups: int
    keys_limit_s: int = 120
    proofs_limit_s: int = 120


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every measurement needs: a place for large files, a chain, somebody to tell."""

    srs_folder: Path
    chain: OwnChain
    say: Say


@dataclass(frozen=True, slots=True)
class Inputs:
    """Rows of integers, each for one proof or witness."""

    proved: Sequence[Sequence[int]]
    witnessed: Sequence[Sequence[int]] = ()
    """Only computed, to see what the circuit says."""


@dataclass(frozen=True, slots=True)
class CircuitFigures:
    """What a circuit costs; seconds of single proofs in the order they were made."""

    rows: int
    logrows: int
    run_args: Mapping[str, Any]
    input_scale: int
    output_scale: int
    setup_seconds: float
    setup_peak_bytes: int
    witness_seconds: tuple[float, ...]
    prove_seconds: tuple[float, ...]
    verify_seconds: tuple[float, ...]
    peak_bytes: int
    proof_bytes: int
    chain: OnChain
    outputs: tuple[tuple[int, ...], ...]
    """Of the inputs that were only witnessed, at `output_scale`."""


def measure_circuit(
    plan: Plan, inputs_at: Callable[[int], Inputs], workshop: Workshop, effort: Effort
) -> CircuitFigures:
    """Figures of a circuit on what ``inputs_at`` gives for its input scale.

    Raises `ProvingFailed` with the reason when a step fails, takes too long or too much memory, and a `ChainError` when
    the contract does not accept the proof.
    """
    may_grow = plan.network is not None and not plan.example and "logrows" not in plan.run_args
    least, tries = 0, TRIES if may_grow else 1
    while True:
        tries -= 1
        with tempfile.TemporaryDirectory(prefix="veriregime-bench-") as scratch:
            made = run_step(
                "keys",
                _keys_request(plan, Path(scratch), workshop.srs_folder, least),
                limit_s=effort.keys_limit_s,
                say=workshop.say,
            )
            try:
                return _figures(plan, made, Path(scratch), inputs_at(made["input_scale"]), workshop, effort)
            except ProofRejected:
                if not tries:
                    raise
        least = made["logrows"] + 1


def _figures(
    plan: Plan, made: Mapping[str, Any], scratch: Path, inputs: Inputs, workshop: Workshop, effort: Effort
) -> CircuitFigures:
    request = _proofs_request(plan, made, scratch, inputs, effort)
    proved = run_step("proofs", request, limit_s=effort.proofs_limit_s, say=workshop.say)
    workshop.say("sending a proof to the contract")
    proof = _proof(proved)
    return CircuitFigures(
        rows=made["rows"],
        logrows=made["logrows"],
        run_args=made["run_args"],
        input_scale=made["input_scale"],
        output_scale=made["output_scale"],
        setup_seconds=made["setup_seconds"],
        setup_peak_bytes=made["peak_bytes"],
        witness_seconds=tuple(proved["witness_seconds"]),
        prove_seconds=tuple(proved["prove_seconds"]),
        verify_seconds=tuple(proved["verify_seconds"]),
        peak_bytes=proved["peak_bytes"],
        proof_bytes=len(proof.proof),
        chain=workshop.chain.verify(scratch / "Verifier.sol", proof),
        outputs=tuple(tuple(row) for row in proved["outputs"]),
    )


def _keys_request(plan: Plan, scratch: Path, srs_folder: Path, least_logrows: int) -> dict[str, Any]:
    compiled, settings = _files(plan, scratch)
    return {
        "folder": str(scratch),
        "compiled": str(compiled),
        "settings": str(settings),
        "srs_folder": str(srs_folder),
        "network": str(plan.network) if plan.network else None,
        "run_args": dict(plan.run_args),
        "example": list(plan.example),
        "least_logrows": least_logrows,
    }


def _proofs_request(
    plan: Plan, made: Mapping[str, Any], scratch: Path, inputs: Inputs, effort: Effort
) -> dict[str, Any]:
    if not inputs.proved:
        raise ProvingFailed("there is no window to prove")
    compiled, settings = _files(plan, scratch)
    keys = {
        "compiled": str(compiled),
        "settings": str(settings),
        "folder": str(scratch),
        "srs": made["srs"],
        "logrows": made["logrows"],
        "input_scale": made["input_scale"],
        "proof_bytes": plan.circuit.proof_bytes if plan.circuit else 0,
    }
    return {
        "keys": keys,
        "observations": inputs.proved[: effort.warm_ups + effort.repeats],
        "witnesses": inputs.witnessed,
        "committed": made["run_args"]["input_visibility"] in COMMITTED,
        "warm_ups": effort.warm_ups,
        "repeats": effort.repeats,
    }


def _files(plan: Plan, scratch: Path) -> tuple[Path, Path]:
    """Compiled circuit and settings: the released ones, or where they will be written."""
    if plan.circuit is not None:
        return plan.circuit.compiled, plan.circuit.settings
    return scratch / "circuit.ezkl", scratch / "circuit.json"


def _proof(proved: Mapping[str, Any]) -> Proof:
    proof = bytes.fromhex(proved["proof"])
    return Proof(
        proof=proof,
        instances=tuple(proved["instances"]),
        commitment=b"",
        vk_hash="",
        srs_hash="",
        witness_seconds=0.0,
        prove_seconds=0.0,
        verify_seconds=0.0,
    )
