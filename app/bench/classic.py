"""The original experiment's networks as circuits, and the settings of each with the reasons.

What was learnt on the way, all at ezkl 23.0.5:

* The student's 471,618 products need as many cells. Freivalds cannot help: a vector times a matrix is already as short
  as its check. Two inner columns make k = 18; four make k = 17, but gates of a higher degree, and take a third longer.
* A rescaling takes every number apart and costs some thirty rows each, more than the products before it. The CNN has
  20,000 such numbers, so it goes without: the scale grows from layer to layer, to 44 bits at the end.
* The CNN's 1.16 million products are a fiftieth of that under Freivalds, once they are written as products of matrices.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from app.bench.apparatus import Bench
from app.bench.circuits import Inputs, Plan, measure_circuit
from app.bench.figures import MIB, Figures, agreement_of, of_circuit
from app.bench.inputs import classic_windows, integers
from app.errors import ProverOutOfMemory, ToolMissing
from app.inference.network import BatchSession
from app.training.classic.baseline import STUDENT, TEACHER
from app.types import FloatArray

STUDENT_PARAMETERS = 471_618
TEACHER_PARAMETERS = 35_778
AGREEMENT_WINDOWS = 20
"""Windows whose outputs are compared with the float network's, a fraction of a second each."""
KEYS_LIMIT_S = 600
PROOF_LIMIT_S = 240
"""Of one proof of the slowest row, many times what it takes on a quiet machine."""


@dataclass(frozen=True, slots=True)
class Classic:
    """A network of the original experiment under some settings of ezkl."""

    file: str
    parameters: int
    run_args: Mapping[str, Any]
    calibrated: bool
    repeats: int
    needs_mib: int
    """The most that any of its processes held here, and a third more."""
    note: str

    def measure(self, bench: Bench) -> Figures:
        _require_memory(self.needs_mib)
        inputs = classic_windows(bench.classic_folder, AGREEMENT_WINDOWS)
        with tempfile.TemporaryDirectory(prefix="veriregime-classic-") as scratch:
            network = self._network(bench.classic_folder, Path(scratch))
            example = inputs[0].ravel().tolist() if self.calibrated else ()
            plan = Plan(network=network, run_args=self.run_args, example=example)
            proofs = bench.repeats or self.repeats
            effort = bench.effort(proofs, 0, keys_limit_s=KEYS_LIMIT_S, proofs_limit_s=PROOF_LIMIT_S * (proofs + 1))
            measured = measure_circuit(plan, lambda scale: _proved_and_witnessed(inputs, scale), bench.workshop, effort)
        session = BatchSession(bench.classic_folder / self.file)
        agreement = agreement_of(measured, session.run(inputs.astype(np.float32)).astype(np.float64))
        return of_circuit(measured, self.parameters, agreement=agreement, note=self.note)

    def _network(self, classic_folder: Path, scratch: Path) -> Path:
        """What is compiled: the student as it stands, the teacher rewritten."""
        if self.file == STUDENT:
            return classic_folder / STUDENT
        try:
            from app.training.classic.provable import write_provable_teacher
        except ModuleNotFoundError as error:
            raise ToolMissing(f"{error.name} is not installed: pip install 'veriregime[train]'") from error
        write_provable_teacher(classic_folder / TEACHER, scratch / TEACHER)
        return scratch / TEACHER


_BOUND: Mapping[str, Any] = {
    "variables": [("batch", 1)],
    "param_visibility": "fixed",
    "output_visibility": "public",
    # As in the released circuit: a commitment binds the inputs, 64 bytes instead of 1,680 public numbers.
    "input_visibility": "polycommit",
    "ignore_range_check_inputs_outputs": True,
    "num_inner_cols": 2,
}
CLASSIC_DEFAULTS = Classic(
    file=STUDENT,
    parameters=STUDENT_PARAMETERS,
    # ezkl's documented way: its default arguments, inputs public, scales and rows by its own calibration.
    run_args={"variables": [("batch", 1)], "input_visibility": "public", "param_visibility": "fixed"},
    calibrated=True,
    repeats=2,
    needs_mib=3_600,
    note="ezkl's defaults, calibrated by ezkl, inputs public",
)
CLASSIC_TUNED = Classic(
    file=STUDENT,
    parameters=STUDENT_PARAMETERS,
    # With these scales all of 100 windows had the float network's class.
    run_args={**_BOUND, "input_scale": 8, "param_scale": 8},
    calibrated=False,
    repeats=3,
    needs_mib=3_600,
    note="inputs committed, no range checks, 8-bit scales; its products alone need 2^18 rows",
)
CNN_TEACHER = Classic(
    file=TEACHER,
    parameters=TEACHER_PARAMETERS,
    run_args={
        **_BOUND,
        "disable_freivalds": False,
        "scale_rebase_multiplier": 10,
        # 42 bits for the argument of the last ReLU; the table of 2^14 is small beside 2^18 rows.
        "decomp_base": 16_384,
        "decomp_legs": 3,
        # With 7 and 8 bits 96 of 100 windows had the float network's class, with these all of them.
        "input_scale": 8,
        "param_scale": 9,
    },
    calibrated=False,
    repeats=3,
    needs_mib=6_000,
    note="convolutions as products of matrices, Freivalds, nothing rescaled; ezkl's defaults need 2.4 M rows, k = 22",
)


def _proved_and_witnessed(inputs: FloatArray, scale: int) -> Inputs:
    rows = integers(inputs, scale)
    return Inputs(proved=rows, witnessed=rows)


def _require_memory(needs_mib: int) -> None:
    available = psutil.virtual_memory().available // MIB
    if available < needs_mib:
        raise ProverOutOfMemory(f"skipped: it needs {needs_mib:,} MiB of memory, {available:,} MiB are available")
