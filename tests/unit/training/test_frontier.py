from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ProofRejected, ProvingFailed
from app.features.variation import INPUTS

pytest.importorskip("torch", reason="torch comes with the train extra")
from app.proving import engine
from app.training import frontier
from app.training.choices import Score
from app.training.circuit import Weights, compile_once
from app.training.export import write_network
from app.training.frontier import Cost, cost_of, knee, points, scores_by_size
from app.training.student import Recipe

MEANS = {"accuracy": 0.8125, "auc": 0.9, "brier": 0.1, "ece": 0.02, "r2_log_vol": 0.6}


def scored(loss: float, error: float = 0.0) -> Score:
    return Score((loss - error, loss + error), MEANS)


def cost(logrows: int = 11, rows: int = 1000) -> Cost:
    return Cost(rows, logrows, 2080, 0.2)


def kneed(losses: Mapping[int, float], logrows: Mapping[int, int]) -> int:
    return knee({s: scored(loss) for s, loss in losses.items()}, {s: cost(k) for s, k in logrows.items()})


@pytest.mark.parametrize(
    ("losses", "logrows", "expected"),
    [
        # Larger is better, but only until k grows.
        ({4: 0.5, 8: 0.4, 16: 0.3, 32: 0.2}, {4: 11, 8: 11, 16: 11, 32: 12}, 16),
        # Nothing larger helps.
        ({4: 0.3, 8: 0.3, 16: 0.35}, {4: 11, 8: 11, 16: 11}, 4),
        # The middle one is the best.
        ({4: 0.5, 8: 0.3, 16: 0.35}, {4: 11, 8: 11, 16: 11}, 8),
        # The next is no better than the smallest, the one after is.
        ({4: 0.5, 8: 0.5, 16: 0.3}, {4: 11, 8: 11, 16: 11}, 16),
        # In any order.
        ({16: 0.3, 4: 0.5, 8: 0.4}, {4: 11, 8: 11, 16: 11}, 16),
        # Lowest k of those measured.
        ({32: 0.3, 64: 0.1}, {32: 12, 64: 13}, 32),
        ({16: 0.3}, {16: 11}, 16),
    ],
)
def test_knee__losses_and_costs__is_the_smallest_that_no_larger_one_beats(
    losses: Mapping[int, float], logrows: Mapping[int, int], expected: int
) -> None:
    assert kneed(losses, logrows) == expected


def test_knee__better_by_less_than_the_error__stays_small() -> None:
    costs = {4: cost(), 16: cost()}
    assert knee({4: scored(0.50), 16: scored(0.48, error=0.05)}, costs) == 4
    assert knee({4: scored(0.50), 16: scored(0.48, error=0.01)}, costs) == 16


def test_points__each_size__shows_cost_and_score_without_seconds() -> None:
    rows = points({4: scored(0.5), 16: scored(0.3)}, {4: cost(rows=500), 16: cost(rows=1700)}, 16)
    assert [row["hidden"] for row in rows] == [4, 16]
    assert [row["released"] for row in rows] == [False, True]
    assert [row["rows"] for row in rows] == [500, 1700]
    rng = np.random.default_rng(0)
    weights = Weights(rng.normal(size=(INPUTS, 16)), np.zeros(16), rng.normal(size=(16, 3)), np.zeros(3))
    assert rows[1]["parameters"] == weights.count
    assert not any("seconds" in name for row in rows for name in row)


def test_scores_by_size__a_recipe__is_asked_about_at_every_size_and_otherwise_the_same() -> None:
    asked: list[Recipe] = []

    class Stub:
        def score(self, recipe: Recipe) -> Score:
            asked.append(recipe)
            return scored(1 / recipe.hidden)

    judge: Any = Stub()
    found = scores_by_size(Recipe(noise=0.3), judge, (4, 8), lambda _: None)
    assert asked == [Recipe(noise=0.3, hidden=4), Recipe(noise=0.3, hidden=8)]
    assert {size: score.loss for size, score in found.items()} == {4: 0.25, 8: 0.125}


def rows_of(output_bias: np.ndarray, folder: Path) -> int:
    """Of the circuit of another student with four hidden units."""
    rng = np.random.default_rng(9)
    weights = Weights(rng.normal(0, 0.2, (INPUTS, 4)), rng.normal(0, 0.1, 4), rng.normal(0, 0.3, (4, 3)), output_bias)
    write_network(weights.rounded(), folder / "n.onnx")
    rows: int = compile_once(folder / "n.onnx", folder / "s.json", folder / "c.ezkl", logrows=11)["num_rows"]
    return rows


@pytest.fixture(scope="module")
def small() -> Cost:
    """`engine.prove` gives no proof that it has not verified."""
    return cost_of(4, proofs=1)


def test_cost_of__a_small_student__is_measured_on_a_proof(small: Cost) -> None:
    assert small.logrows == 11
    assert small.proof_bytes == 2080
    assert small.seconds > 0


def test_cost_of__rows__are_those_of_a_trained_student(small: Cost, tmp_path: Path) -> None:
    assert small.rows == rows_of(np.asarray([0.1, -0.2, 0.3]), tmp_path)


def test_cost_of__proof_that_does_not_verify__is_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "LARGEST_LOGROWS", 11)
    monkeypatch.setattr(engine, "verify", lambda *_: False)
    with pytest.raises(ProvingFailed):
        cost_of(4, proofs=1)


def test_cost_of__circuit_that_reaches_into_the_last_rows__takes_the_next_k(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def prove(_: Path, rows: int, logrows: int, proofs: int) -> Cost:
        tried.append(logrows)
        if logrows < 13:
            raise ProofRejected
        return cost(logrows, rows)

    monkeypatch.setattr(frontier, "_prove", prove)
    assert cost_of(4, proofs=1).logrows == 13
    assert tried == [11, 12, 13]


def test_cost_of__more_rows_than_k_holds__is_not_even_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "_prove", lambda _, rows, logrows, proofs: cost(logrows, rows))
    found = cost_of(32, proofs=1)
    assert found.logrows == 12
    assert 2**11 <= found.rows < 2**12


def test_cost_of__fits_nowhere__is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "LARGEST_LOGROWS", 11)
    with pytest.raises(ProvingFailed, match="32 hidden units does not fit"):
        cost_of(32, proofs=1)
