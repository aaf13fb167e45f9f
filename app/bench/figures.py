"""The figures of one row, whichever system it was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from app.bench.circuits import CircuitFigures
from app.bench.groth16 import Groth16Figures
from app.types import FloatArray

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Agreement:
    """A circuit's outputs beside the float network's."""

    windows: int
    same_class: float
    """Share of the windows."""
    largest_difference: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One row: seconds, bytes and gas as they were measured."""

    parameters: int
    rows: int | None
    constraints: int | None
    logrows: int | None
    setup_s: float
    witness_s: float
    prove_s: float
    prove_spread_s: tuple[float, float]
    repeats: int
    verify_ms: float
    peak_mib: float
    setup_peak_mib: float | None
    proof_bytes: int
    calldata_bytes: int
    verify_gas: int | None
    windows: int
    agreement: Agreement | None
    run_args: Mapping[str, Any] | None
    note: str | None


def agreement_of(measured: CircuitFigures, expected: FloatArray) -> Agreement:
    """The circuit's outputs beside ``expected`` (n, outputs), of which the first two are the logits of low and high."""
    said = np.asarray(measured.outputs, dtype=np.float64) / 2.0**measured.output_scale
    same = (said[:, 1] > said[:, 0]) == (expected[:, 1] > expected[:, 0])
    return Agreement(len(said), float(same.mean()), float(np.abs(said - expected).max()))


def of_circuit(
    measured: CircuitFigures,
    parameters: int,
    *,
    windows: int = 1,
    agreement: Agreement | None = None,
    note: str | None = None,
) -> Figures:
    remarks = [remark for remark in (note, measured.chain.remark) if remark]
    return Figures(
        parameters=parameters,
        rows=measured.rows,
        constraints=None,
        logrows=measured.logrows,
        setup_s=measured.setup_seconds,
        witness_s=median(measured.witness_seconds),
        **_proofs(measured.prove_seconds),
        verify_ms=1e3 * median(measured.verify_seconds),
        peak_mib=measured.peak_bytes / MIB,
        setup_peak_mib=measured.setup_peak_bytes / MIB,
        proof_bytes=measured.proof_bytes,
        calldata_bytes=measured.chain.calldata_bytes,
        verify_gas=measured.chain.verify_gas,
        windows=windows,
        agreement=agreement,
        run_args=measured.run_args,
        note="; ".join(remarks) or None,
    )


def of_groth16(measured: Groth16Figures) -> Figures:
    return Figures(
        parameters=measured.parameters,
        rows=None,
        constraints=measured.constraints,
        logrows=None,
        setup_s=measured.setup_seconds,
        witness_s=measured.witness_seconds,
        **_proofs(measured.prove_seconds),
        verify_ms=1e3 * measured.verify_seconds,
        peak_mib=measured.peak_bytes / MIB,
        setup_peak_mib=None,
        proof_bytes=measured.proof_bytes,
        calldata_bytes=measured.calldata_bytes,
        verify_gas=measured.verify_gas,
        windows=1,
        agreement=None,
        run_args=None,
        note="set-up without the powers of tau",
    )


def _proofs(seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "prove_s": median(seconds),
        "prove_spread_s": (min(seconds), max(seconds)),
        "repeats": len(seconds),
    }


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile by nearest rank: at most one in twenty took longer."""
    return sorted(seconds)[-(-95 * len(seconds) // 100) - 1]
