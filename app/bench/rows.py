"""The networks that ``veriregime bench proving`` compares, and the settings of each with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from app.bench.circuits import CircuitFigures, Effort, Inputs, Plan, Workshop, measure_circuit
from app.bench.groth16 import Groth16Figures, measure_groth16
from app.bench.inputs import Windows, classic_windows, in_groups, integers
from app.errors import ProverOutOfMemory, ToolMissing
from app.inference.network import BatchSession
from app.inference.release import NETWORK, ReleasedModel
from app.training.classic.baseline import STUDENT
from app.types import FloatArray

MIB = 2**20
TEN = 10
CLASSIC_STUDENT_PARAMETERS = 471_618
CLASSIC_TEACHER_PARAMETERS = 35_778
AGREEMENT_WINDOWS = 20
"""Windows of the classic networks whose outputs are compared with the float network's, a fraction of a second each."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rows are measured with. ``repeats`` takes the place of each row's own number of proofs."""

    model: ReleasedModel
    classic_folder: Path
    contracts_dir: Path
    cache_dir: Path
    windows: Windows
    workshop: Workshop
    repeats: int | None

    def effort(self, repeats: int, warm_ups: int, **limits: int) -> Effort:
        return Effort(self.repeats or repeats, warm_ups, **limits)


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
    verify_gas: int
    windows: int
    agreement: Agreement | None
    run_args: Mapping[str, Any] | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    title: str
    measure: Callable[[Bench], Figures]


def production(bench: Bench) -> Figures:
    """The released circuit, as it serves."""
    observed = Inputs(bench.windows.at_scale(bench.model.circuit.input_scale).tolist())
    plan = Plan(circuit=bench.model.circuit)
    measured = measure_circuit(plan, lambda _: observed, bench.workshop, bench.effort(20, 1))
    return _of_circuit(measured, _parameters(bench.model))


def ten_feeds(bench: Bench) -> Figures:
    """The released circuit for ten windows in one proof; the weights are the same for all of them."""
    circuit = bench.model.batch
    if circuit is None:
        raise ToolMissing(f"{bench.model.name} was released without a circuit for ten windows")
    observed = Inputs(in_groups(bench.windows.at_scale(circuit.input_scale).tolist(), circuit.windows))
    measured = measure_circuit(Plan(circuit=circuit), lambda _: observed, bench.workshop, bench.effort(5, 1))
    return _of_circuit(measured, _parameters(bench.model), windows=circuit.windows)


@dataclass(frozen=True, slots=True)
class Classic:
    """A network of the original experiment under some settings of ezkl."""

    file: str
    parameters: int
    run_args: Mapping[str, Any]
    calibrated: bool
    repeats: int
    warm_ups: int
    needs_mib: int
    """The most that any of its processes held here, and a third more."""
    note: str

    def measure(self, bench: Bench) -> Figures:
        _require_memory(self.needs_mib)
        network = bench.classic_folder / self.file
        inputs = classic_windows(bench.classic_folder, AGREEMENT_WINDOWS)
        example = inputs[0].ravel().tolist() if self.calibrated else ()
        plan = Plan(network=network, run_args=self.run_args, example=example)
        limits = self.repeats if bench.repeats is None else bench.repeats
        effort = bench.effort(self.repeats, self.warm_ups, keys_limit_s=600, proofs_limit_s=200 + 120 * limits)
        measured = measure_circuit(plan, lambda scale: _proved_and_witnessed(inputs, scale), bench.workshop, effort)
        agreement = agreement_of(measured, BatchSession(network).run(inputs.astype(np.float32)).astype(np.float64))
        return _of_circuit(measured, self.parameters, agreement=agreement, note=self.note)


CLASSIC_DEFAULTS = Classic(
    file=STUDENT,
    parameters=CLASSIC_STUDENT_PARAMETERS,
    # ezkl's documented way: its default arguments, inputs public, scales and rows by its own calibration.
    run_args={"variables": [("batch", 1)], "input_visibility": "public", "param_visibility": "fixed"},
    calibrated=True,
    repeats=2,
    warm_ups=0,
    needs_mib=3_600,
    note="ezkl's defaults, calibrated by ezkl, inputs public",
)


def groth16_peer(bench: Bench) -> Figures:
    """The same student in circom, proved by snarkjs."""
    try:
        from app.training.export import read_weights
    except ModuleNotFoundError as error:
        raise ToolMissing(f"{error.name} is not installed: pip install 'veriregime[train]'") from error
    measured = measure_groth16(
        read_weights(bench.model.folder / NETWORK),
        bench.windows.at_scale(bench.model.circuit.input_scale).tolist(),
        bench.contracts_dir,
        bench.cache_dir / "groth16",
        repeats=bench.repeats or 10,
        say=bench.workshop.say,
    )
    return _of_groth16(measured)


def agreement_of(measured: CircuitFigures, expected: FloatArray) -> Agreement:
    """The circuit's outputs beside ``expected`` (n, outputs), of which the first two are the logits of low and high."""
    said = np.asarray(measured.outputs, dtype=np.float64) / 2.0**measured.output_scale
    same = (said[:, 1] > said[:, 0]) == (expected[:, 1] > expected[:, 0])
    return Agreement(len(said), float(same.mean()), float(np.abs(said - expected).max()))


def _of_circuit(
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


def _of_groth16(measured: Groth16Figures) -> Figures:
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


def _proved_and_witnessed(inputs: FloatArray, scale: int) -> Inputs:
    rows = integers(inputs, scale)
    return Inputs(proved=rows, witnessed=rows)


def _parameters(model: ReleasedModel) -> int:
    return int(model.manifest["circuit"]["parameters"])


def _require_memory(needs_mib: int) -> None:
    available = psutil.virtual_memory().available // MIB
    if available < needs_mib:
        raise ProverOutOfMemory(f"skipped: it needs {needs_mib:,} MiB of memory, {available:,} MiB are available")


def as_json(row: Row, figures: Figures | None, failure: str | None) -> dict[str, Any]:
    """The row as it stands in the JSON document; without figures everything but the reason is null."""
    values: dict[str, Any] = dict.fromkeys(Figures.__dataclass_fields__)
    if figures is not None:
        values = asdict(figures)
    return {"name": row.name, "title": row.title, **values, **({"note": failure} if failure else {})}


ROWS: tuple[Row, ...] = (
    Row("classic-defaults", "the original student, ezkl's defaults", CLASSIC_DEFAULTS.measure),
    Row("production", "the released student", production),
    Row("ten-feeds", "ten windows in one proof", ten_feeds),
    Row("groth16-peer", "the released student in circom, Groth16", groth16_peer),
)
