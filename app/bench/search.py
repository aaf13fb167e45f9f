"""``veriregime bench circuit``: every candidate compiled, proved, sent to its contract, and compared with the network.

Each is measured with a few proofs. Those that come near the fastest are then measured again, several times in turn, and
all their proofs count together: a busy moment of the machine then falls on one round and not on one candidate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from app.bench.candidates import RELEASED, Candidate
from app.bench.choosing import MOST_GAS, MOST_GAS_PER_WINDOW, Measured, choose, choose_joint, near_fastest, objections
from app.bench.circuits import CircuitFigures, Effort, Inputs, Plan, Workshop, measure_circuit
from app.bench.figures import MIB
from app.bench.gas import own_chain
from app.bench.inputs import Windows, in_groups, market_windows
from app.bench.proving import machine
from app.errors import OracleError, ToolMissing
from app.features.variation import CLOCK_INPUTS, VARIATION_INPUTS, VariationSpec
from app.inference.release import NETWORK, ReleasedModel
from app.progress import watched
from app.training.circuit import Weights
from app.types import FloatArray

EFFORT = Effort(repeats=5, warm_ups=1)
"""Of one candidate in one round."""
ROUNDS = 3
CONTENDERS_WITHIN = 1.3
"""Times the fastest median of the first round."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is proved: ``windows`` of a model with ``weights``, ``joint`` of them in each proof."""

    weights: Weights
    windows: Windows
    joint: int
    network: Path
    """Of the released weights, for ``joint`` windows."""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate with its figures, or with the reason why there are none."""

    candidate: Candidate
    figures: CircuitFigures | None
    same_class: float = 0.0
    largest_difference: float = 0.0
    holds_every_input: bool = False
    failure: str | None = None


def search_circuits(
    model: ReleasedModel,
    candidates: Sequence[Candidate],
    *,
    joint: int,
    windows: int,
    candles: Path | None,
    contracts_dir: Path,
    cache_dir: Path,
) -> dict[str, Any]:
    """The JSON document: ``candidates`` with their figures, the ``choice`` and the ``machine``.

    Raises `ToolMissing` without the train extra, which writes the networks, and `CandleFileInvalid` for ``candles``
    that cannot be used.
    """
    observed = market_windows(VariationSpec.from_manifest(model.manifest["observation"]), windows, candles)
    with own_chain(contracts_dir) as chain, watched("circuit search") as say, _network(model, joint) as (weights, file):
        search = Search(weights, observed, joint, file)
        shop = Workshop(cache_dir / "srs", chain, say)
        found: dict[str, Found] = {}
        for number, candidate in enumerate(candidates, start=1):
            label = f"{number} of {len(candidates)}, {candidate.name}"
            found[candidate.name] = _measured(search, candidate, _told(shop, label))
        contenders = _contenders(found, joint)
        for number in range(2, ROUNDS + 1):
            for name in contenders:
                again = _measured(search, found[name].candidate, _told(shop, f"round {number}, {name}"))
                found[name] = _together(found[name], again)
    choice = (choose if joint == 1 else choose_joint)(_comparable(found, joint), RELEASED)
    return {
        "joint_windows": joint,
        "windows": len(observed),
        "market": candles.name if candles else "simulated",
        "candidates": [as_json(entry, joint) for entry in found.values()],
        "choice": asdict(choice) if choice else None,
        "machine": machine(),
    }


def as_json(found: Found, joint: int) -> dict[str, Any]:
    """One candidate of the document; without figures everything but the failure is null."""
    figures = found.figures
    told: dict[str, Any] = {"name": found.candidate.name, "changes": dict(found.candidate.changes)}
    told |= {"failure": found.failure, "objections": []}
    if figures is None:
        return told | dict.fromkeys(_FIGURES)
    values = (
        figures.rows,
        figures.logrows,
        figures.setup_seconds,
        median(figures.witness_seconds),
        median(figures.prove_seconds),
        (min(figures.prove_seconds), max(figures.prove_seconds)),
        len(figures.prove_seconds),
        1e3 * median(figures.verify_seconds),
        figures.peak_bytes / MIB,
        figures.proof_bytes,
        figures.chain.calldata_bytes,
        figures.chain.verify_gas,
        found.same_class,
        found.largest_difference,
    )
    return (
        told | {"objections": objections(_rule_sees(found, figures, joint))} | dict(zip(_FIGURES, values, strict=True))
    )


_FIGURES = (
    "rows",
    "logrows",
    "setup_s",
    "witness_s",
    "prove_s",
    "prove_spread_s",
    "repeats",
    "verify_ms",
    "peak_mib",
    "proof_bytes",
    "calldata_bytes",
    "verify_gas",
    "same_class",
    "largest_difference",
)


def _measured(search: Search, candidate: Candidate, shop: Workshop) -> Found:
    plan = Plan(network=search.network, run_args=candidate.settings)
    try:
        figures = measure_circuit(plan, lambda scale: _inputs(search, scale), shop, EFFORT)
    except OracleError as error:
        return Found(candidate, None, failure=str(error))
    said = np.asarray(figures.outputs, dtype=np.float64).reshape(-1, 3) / 2.0**figures.output_scale
    expected = _float_outputs(search.weights, search.windows.exact()[: len(said)])
    same = (said[:, 1] > said[:, 0]) == (expected[:, 1] > expected[:, 0])
    return Found(
        candidate,
        figures,
        same_class=float(same.mean()),
        largest_difference=float(np.abs(said - expected).max()),
        holds_every_input=candidate.holds(search.weights, _reach(search.windows.spec)),
    )


def _together(earlier: Found, later: Found) -> Found:
    """Both rounds' seconds; a round that failed changes nothing."""
    if earlier.figures is None or later.figures is None:
        return earlier
    names = ("witness_seconds", "prove_seconds", "verify_seconds")
    joined = {name: getattr(earlier.figures, name) + getattr(later.figures, name) for name in names}
    return replace(earlier, figures=replace(earlier.figures, **joined))


def _inputs(search: Search, scale: int) -> Inputs:
    rows = in_groups(search.windows.at_scale(scale).tolist(), search.joint)
    return Inputs(proved=rows, witnessed=rows)


def _float_outputs(weights: Weights, inputs: FloatArray) -> FloatArray:
    """The network as it was released, on inputs that nobody rounded: (n, inputs) to (n, 3)."""
    hidden = np.maximum(inputs @ weights.hidden + weights.hidden_bias, 0.0)
    result: FloatArray = hidden @ weights.output + weights.output_bias
    return result


def _reach(spec: VariationSpec) -> FloatArray:
    """The largest size of every input, (inputs,): levels are clipped, waves and weekdays lie within one."""
    return np.concatenate([np.full(VARIATION_INPUTS, spec.clip), np.ones(CLOCK_INPUTS)])


def _contenders(found: Mapping[str, Found], joint: int) -> list[str]:
    """Worth a second look: those near the fastest, and always the released one."""
    comparable = _comparable(found, joint)
    near = {candidate.name for candidate in near_fastest(comparable, CONTENDERS_WITHIN)} | {RELEASED}
    return [candidate.name for candidate in comparable if candidate.name in near]


def _comparable(found: Mapping[str, Found], joint: int) -> list[Measured]:
    return [_rule_sees(entry, entry.figures, joint) for entry in found.values() if entry.figures]


def _rule_sees(found: Found, figures: CircuitFigures, joint: int) -> Measured:
    return Measured(
        name=found.candidate.name,
        least_prove_s=min(figures.prove_seconds),
        median_prove_s=median(figures.prove_seconds),
        verify_gas=figures.chain.verify_gas,
        agreement=found.same_class,
        binds_inputs=found.candidate.binds_inputs,
        holds_every_input=found.holds_every_input,
        deployable=figures.chain.deployable,
        gas_limit=MOST_GAS if joint == 1 else joint * MOST_GAS_PER_WINDOW,
    )


def _told(shop: Workshop, label: str) -> Workshop:
    return Workshop(shop.srs_folder, shop.chain, lambda step: shop.say(f"{label}: {step}"))


@contextmanager
def _network(model: ReleasedModel, joint: int) -> Iterator[tuple[Weights, Path]]:
    """The released weights and a network file of them for ``joint`` windows.

    ezkl rounds weights to a candidate's scale itself; they come here already rounded to the released one.
    """
    try:
        from app.training.export import read_weights, write_network
    except ModuleNotFoundError as error:
        raise ToolMissing(f"{error.name} is not installed: pip install 'veriregime[train]'") from error
    weights = read_weights(model.folder / NETWORK).as_floats()
    with tempfile.TemporaryDirectory(prefix="veriregime-search-") as scratch:
        target = Path(scratch) / NETWORK
        write_network(weights, target, joint)
        yield weights, target
