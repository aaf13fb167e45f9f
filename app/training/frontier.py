"""Accuracy against proving cost: students of every size on validation, and their circuits compiled and proved.

What a proof costs goes in steps: ezkl pads a circuit to 2^k rows, so within one k a larger student is free, and the
next k doubles the time. The released size is found on that staircase.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ProofRejected, ProvingFailed
from app.features.variation import INPUTS
from app.inference.release import COMPILED, NETWORK, SETTINGS
from app.proving import engine
from app.training.choices import Judge, Score
from app.training.circuit import LOGROWS, Weights, compile_once
from app.training.export import circuit_in, trial_keys, write_network
from app.training.student import Recipe

SIZES = (4, 8, 12, 16, 18, 24, 32, 64)
LARGEST_LOGROWS = 16
DIGITS = 6
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cost:
    """What proving a student of one size takes here; ``seconds`` is a median, the rest is exact."""

    rows: int
    logrows: int
    proof_bytes: int
    seconds: float


def scores_by_size(recipe: Recipe, judge: Judge, sizes: Sequence[int], say: Callable[[str], None]) -> dict[int, Score]:
    """The recipe at every hidden size, on validation."""
    found = {}
    for hidden in sizes:
        found[hidden] = judge.score(replace(recipe, hidden=hidden))
        say(f"frontier: {hidden} hidden units, validation loss {found[hidden].loss:.4f}")
    return found


def cost_of(hidden: int, proofs: int) -> Cost:
    """Compile a student of this size, whose weights do not matter to the cost, and prove it so many times."""
    rng = np.random.default_rng(hidden)
    # No zero among the biases: ezkl leaves out what is zero, and the rows would be too few.
    shapes = ((INPUTS, hidden), (hidden,), (hidden, 3), (3,))
    weights = Weights(*(rng.uniform(0.05, 0.3, shape) for shape in shapes)).rounded()
    with tempfile.TemporaryDirectory(prefix="veriregime-frontier-") as scratch:
        folder = Path(scratch)
        write_network(weights, folder / NETWORK)
        for logrows in range(LOGROWS, LARGEST_LOGROWS + 1):
            rows = compile_once(folder / NETWORK, folder / SETTINGS, folder / COMPILED, logrows=logrows)["num_rows"]
            if rows >= 2**logrows:
                continue
            try:
                return _prove(folder, rows, logrows, proofs)
            except ProofRejected:
                # The last rows of a circuit are taken by the protocol; a student that reaches into them needs more.
                continue
    raise ProvingFailed(f"a student of {hidden} hidden units does not fit into 2^{LARGEST_LOGROWS} rows")


def knee(scores: dict[int, Score], costs: dict[int, Cost]) -> int:
    """The smallest size, among those that prove at the lowest k, that no larger one of that k beats."""
    lowest = min(cost.logrows for cost in costs.values())
    sizes = sorted(size for size in scores if costs[size].logrows == lowest)
    return next(
        size for size in sizes if not any(scores[larger].beats(scores[size]) for larger in sizes if larger > size)
    )


def points(scores: dict[int, Score], costs: dict[int, Cost], released: int) -> list[Json]:
    """A row for each size, without the seconds, which differ from run to run."""
    return [
        {
            "hidden": size,
            "inputs": INPUTS,
            "parameters": size * (INPUTS + 1) + 3 * (size + 1),
            "rows": costs[size].rows,
            "logrows": costs[size].logrows,
            "proof_bytes": costs[size].proof_bytes,
            "validation_loss": round(score.loss, DIGITS),
            **dict(
                zip(
                    ("gain", "gain_error"),
                    (round(value, DIGITS) for value in score.advantage(scores[released])),
                    strict=True,
                )
            ),
            "accuracy": round(score.means["accuracy"], DIGITS),
            "auc": round(score.means["auc"], DIGITS),
            "r2_log_vol": round(score.means["r2_log_vol"], DIGITS),
            "released": size == released,
        }
        for size, score in scores.items()
    ]


def _prove(folder: Path, rows: int, logrows: int, proofs: int) -> Cost:
    circuit = circuit_in(folder, logrows)
    keys = trial_keys(circuit, folder)
    proof = engine.prove(keys, [1] * INPUTS)
    seconds = []
    for _ in range(proofs):
        started = time.perf_counter()
        engine.prove(keys, [1] * INPUTS)
        seconds.append(time.perf_counter() - started)
    return Cost(rows, logrows, len(proof.proof), statistics.median(seconds))
