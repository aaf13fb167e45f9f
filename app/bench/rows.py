"""What ``veriregime bench proving`` compares, one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from app.bench.apparatus import Bench
from app.bench.circuits import Inputs, Plan, measure_circuit
from app.bench.classic import CLASSIC_DEFAULTS, CLASSIC_TUNED, CNN_TEACHER
from app.bench.figures import Figures, of_circuit, of_groth16
from app.bench.groth16 import measure_groth16
from app.bench.inputs import in_groups
from app.errors import ToolMissing
from app.inference.release import NETWORK, ReleasedModel

TEN = 10


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
    return of_circuit(measured, _parameters(bench.model))


def ten_feeds(bench: Bench) -> Figures:
    """The released circuit for ten windows in one proof; the weights are the same for all of them."""
    circuit = bench.model.batch
    if circuit is None:
        raise ToolMissing(f"{bench.model.name} was released without a circuit for ten windows")
    observed = Inputs(in_groups(bench.windows.at_scale(circuit.input_scale).tolist(), circuit.windows))
    measured = measure_circuit(Plan(circuit=circuit), lambda _: observed, bench.workshop, bench.effort(5, 1))
    return of_circuit(measured, _parameters(bench.model), windows=circuit.windows)


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
    return of_groth16(measured)


def _parameters(model: ReleasedModel) -> int:
    return int(model.manifest["circuit"]["parameters"])


def as_json(row: Row, figures: Figures | None, failure: str | None) -> dict[str, Any]:
    """The row as it stands in the JSON document; without figures everything but the reason is null."""
    values: dict[str, Any] = dict.fromkeys(Figures.__dataclass_fields__)
    if figures is not None:
        values = asdict(figures)
    return {"name": row.name, "title": row.title, **values, **({"note": failure} if failure else {})}


ROWS: tuple[Row, ...] = (
    Row("classic-defaults", "the original student, ezkl's defaults", CLASSIC_DEFAULTS.measure),
    Row("classic-tuned", "the original student, settings searched by hand", CLASSIC_TUNED.measure),
    Row("cnn-teacher", "the original CNN teacher", CNN_TEACHER.measure),
    Row("production", "the released student", production),
    Row("ten-feeds", "ten windows in one proof", ten_feeds),
    Row("groth16-peer", "the released student in circom, Groth16", groth16_peer),
)
