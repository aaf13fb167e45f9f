from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.features.realised import HORIZON_MINUTES
from app.features.variation import INPUTS
from app.judging.scores import forecasts_of, metrics
from app.training.circuit import Weights
from app.training.datasets import Samples
from app.types import MINUTE_MS, FloatArray

pytest.importorskip("torch", reason="torch comes with the train extra")
import torch

from app.training import student
from app.training.choices import Material
from app.training.lessons import Lesson

N = 4_000
RECIPE = student.Recipe(hidden=8, epochs=4, batch=100, learning_rate=0.02, weight_decay=0.0)


def lesson_of(
    seed: int, *, column: int = 0, sign: float = 1.0, noise: float = 0.0, start_ms: int = 0, level: float = 0.0
) -> Lesson:
    """One input says how volatile it will be; the others say nothing. Windows are ten minutes apart."""
    rng = np.random.default_rng(seed)
    observations = rng.integers(-256, 257, (N, INPUTS)).astype(np.int16)
    ln_ratio = sign * observations[:, column] / 256 + noise * rng.normal(size=N) + level + 0.001
    volatility = 0.0005 * np.exp(ln_ratio)
    end_ms = start_ms + np.arange(N, dtype=np.int64) * 10 * MINUTE_MS
    samples = Samples(end_ms, observations, volatility, {60: volatility, 240: volatility}, 0)
    return Lesson(samples, np.ones(N), np.empty((N, 0), dtype=np.float32), N)


def accuracy(weights: Weights, lesson: Lesson) -> float:
    outputs = weights.outputs(lesson.samples.observations)
    return float(((outputs[:, 1] > outputs[:, 0]) == lesson.samples.high).mean())


def arrays(weights: Weights) -> list[FloatArray]:
    return [weights.hidden, weights.hidden_bias, weights.output, weights.output_bias]


def same(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


def fit(lesson: Lesson, seed: int = 0, teacher: FloatArray | None = None, **changes: Any) -> Weights:
    weights: Weights = student.fit_student(lesson, teacher, replace(RECIPE, **changes), seed)
    return weights


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return lesson_of(4)


@pytest.fixture(scope="module")
def unseen() -> Lesson:
    return lesson_of(5)


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_fit_student__one_telling_input__is_learnt(lesson: Lesson, unseen: Lesson) -> None:
    seen: list[int] = []
    weights = student.fit_student(lesson, None, RECIPE, 0, seen.append)
    assert accuracy(weights, unseen) > 0.95
    assert metrics(forecasts_of(weights.outputs(unseen.samples.observations)), unseen.samples)["r2_log_vol"] > 0.9
    assert seen == [1, 2, 3, 4]


EVERYTHING = {
    "noise": 0.1,
    "dropout": 0.1,
    "batch_norm": True,
    "early_stopping": True,
    "pruned": 0.3,
    "quantisation_aware": True,
    "calibrated": True,
}


@pytest.mark.usefixtures("four_threads")
def test_fit_student__another_number_of_threads_outside__gives_the_same_weights(lesson: Lesson) -> None:
    torch.set_num_threads(1)
    alone = fit(lesson, 7, **EVERYTHING)
    torch.set_num_threads(4)
    torch.rand(5)
    assert same(fit(lesson, 7, **EVERYTHING), alone)
    assert not same(fit(lesson, 8, **EVERYTHING), alone)


def test_fit_student__leaves_torch_as_it_was(lesson: Lesson) -> None:
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    fit(lesson, 1, **EVERYTHING)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_fit_student__with_noise__leaves_the_lesson_as_it_was(lesson: Lesson) -> None:
    before = lesson.inputs.copy()
    fit(lesson, noise=0.5)
    assert np.array_equal(lesson.inputs, before)


@pytest.mark.parametrize("rows", [60, 150])
def test_fit_student__fewer_windows_than_two_batches__still_trains(lesson: Lesson, rows: int) -> None:
    few = lesson.where(np.arange(N) < rows)
    assert all(np.isfinite(part).all() for part in arrays(fit(few)))


def test_fit_student__weight__decides_what_is_learnt(unseen: Lesson) -> None:
    right, wrong = lesson_of(1), lesson_of(2, sign=-1.0)
    both = Samples(
        *(np.concatenate([getattr(p.samples, name) for p in (right, wrong)]) for name in ("end_ms", "observations")),
        volatility=np.concatenate([right.samples.volatility, wrong.samples.volatility]),
        past={},
        left_out=0,
    )
    first = np.arange(2 * N) < N
    for weight, least, most in ((np.where(first, 2.0, 0.0), 0.95, 1.0), (np.where(first, 0.0, 2.0), 0.0, 0.05)):
        weights = fit(Lesson(both, weight, np.empty((2 * N, 0), dtype=np.float32), 2 * N))
        assert least <= accuracy(weights, unseen) <= most


def test_fit_student__teacher_weight_one__learns_the_teacher_and_not_what_happened(
    lesson: Lesson, unseen: Lesson
) -> None:
    wrong = -3.0 * lesson.samples.observations[:, 0] / 128
    teacher = np.column_stack([np.zeros(N), wrong, np.full(N, 0.25)])
    weights = fit(lesson, teacher=teacher, teacher_weight=1.0, teacher_weight_vol=1.0, epochs=8)
    assert accuracy(weights, unseen) < 0.1
    assert (
        abs(float(np.corrcoef(weights.outputs(unseen.samples.observations)[:, 2], unseen.samples.ln_vol)[0, 1])) < 0.5
    )
    assert float(weights.outputs(unseen.samples.observations)[:, 2].mean()) == pytest.approx(0.25, abs=0.1)


def test_fit_student__teacher_for_the_regime_only__leaves_the_volatility_to_what_happened(
    lesson: Lesson, unseen: Lesson
) -> None:
    teacher = np.column_stack([np.zeros(N), -3.0 * lesson.samples.observations[:, 0] / 128, np.full(N, 9.0)])
    weights = fit(lesson, teacher=teacher, teacher_weight=1.0, epochs=8)
    assert accuracy(weights, unseen) < 0.1
    outputs = weights.outputs(unseen.samples.observations)
    assert np.corrcoef(outputs[:, 2], unseen.samples.ln_vol)[0, 1] > 0.9


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_of__after_training__give_what_torch_gives_in_eval_mode(lesson: Lesson, batch_norm: bool) -> None:
    recipe = replace(RECIPE, batch_norm=batch_norm, dropout=0.3)
    torch.manual_seed(3)
    network = student.Student(recipe, start_ln_vol=-0.7)
    for _ in student._passes(network, student._batches(lesson, None), recipe, 3):
        pass
    some = lesson.samples.observations[:200]
    with torch.no_grad():
        direct = network(torch.from_numpy(some).float() / 128).numpy()
    if batch_norm:
        assert float(network.norm.running_mean.abs().max()) > 0.1, "there is something to fold"
    assert np.allclose(student.weights_of(network).outputs(some), direct, atol=1e-5)


def test_student__before_training__answers_with_the_average_volatility(lesson: Lesson) -> None:
    torch.manual_seed(0)
    network = student.Student(RECIPE, start_ln_vol=-5.0).eval()
    with torch.no_grad():
        outputs = network(torch.from_numpy(lesson.inputs[:100]))
    assert float((outputs[:, 2] + 5.0).abs().max()) < 2.0


@pytest.mark.parametrize("batch_norm", [False, True])
def test_fit_student__pruned__leaves_the_stated_share_of_hidden_weights_at_zero(
    lesson: Lesson, unseen: Lesson, batch_norm: bool
) -> None:
    weights = fit(lesson, pruned=0.3, batch_norm=batch_norm)
    assert (weights.hidden == 0).mean() == pytest.approx(0.3, abs=0.005)
    assert accuracy(weights, unseen) > 0.95


def test_fit_student__pruned_and_stopped_early__is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.1, 0.2, 0.3, 0.4])
    monkeypatch.setattr(student, "loss_of", lambda *_: next(losses))
    weights = fit(lesson_of(4, noise=0.5), pruned=0.3, early_stopping=True)
    assert (weights.hidden == 0).mean() == pytest.approx(0.3, abs=0.005)


def test_fit_student__quantisation_aware__computes_the_last_epoch_with_the_circuits_weights(lesson: Lesson) -> None:
    recipe, seen = replace(RECIPE, quantisation_aware=True), []
    network = student.Student(recipe, start_ln_vol=0.0)
    for _ in student._passes(network, student._batches(lesson, None), recipe, 0):
        seen.append(network.rounded)
    assert seen == [False, False, False, True]
    some = lesson.samples.observations[:100]
    with torch.no_grad():
        rounded = network(torch.from_numpy(lesson.inputs[:100])).numpy()
    assert np.allclose(student.weights_of(network).rounded().outputs(some), rounded, atol=1e-5)


def test_straight_through__a_weight__is_rounded_and_its_gradient_is_not() -> None:
    weight = torch.tensor([0.1234567, -2.0 + 0.4 / 1024, 0.6 / 1024], requires_grad=True)
    rounded = student._straight_through(weight)
    (rounded * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert (rounded.detach() * 1024).tolist() == pytest.approx([126.0, -2048.0, 1.0], abs=1e-3)
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("best", [1, 3, 4])
def test_fit_student__early_stopping__gives_the_epoch_that_did_best_on_what_was_held_back(
    lesson: Lesson, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    told: list[Weights] = []

    def judged(weights: Weights, _: Samples) -> float:
        told.append(weights)
        return 0.1 if len(told) == best else 0.5

    monkeypatch.setattr(student, "loss_of", judged)
    weights = fit(lesson, early_stopping=True)
    assert len(told) == 4
    assert same(weights.rounded(), told[best - 1])


def test_hold_back__newest_tenth__is_apart_from_the_rest_by_an_embargo(lesson: Lesson) -> None:
    teacher = np.column_stack([np.arange(N), np.arange(N), np.arange(N)]).astype(np.float64)
    early, thoughts, late = student._hold_back(lesson, teacher)
    apart = (late.end_ms.min() - early.samples.end_ms.max()) // MINUTE_MS
    assert HORIZON_MINUTES <= apart <= HORIZON_MINUTES + 10
    assert len(late) == pytest.approx(0.1 * N, abs=1)
    assert thoughts[:, 0].tolist() == list(range(len(early)))


def test_hold_back__two_assets__judges_by_ours() -> None:
    one, other = lesson_of(1), lesson_of(2)
    both = Material({"ours": one, "as it is": other}, {}).prepared(replace(RECIPE, other_asset="as it is"))[0]
    early, _, late = student._hold_back(both, None)
    assert late.end_ms.min() - early.samples.end_ms.max() >= HORIZON_MINUTES * MINUTE_MS
    assert len(late) == pytest.approx(0.1 * N, abs=1), "a forecast is judged by our asset"


def biased(lesson: Lesson) -> Weights:
    """Much too sure of itself, leaning towards high, and 0.5 too high in ln volatility."""
    weights = fit(lesson)
    factors = np.asarray([9.0, 9.0, 1.0])
    return replace(
        weights, output=weights.output * factors, output_bias=weights.output_bias * factors + [-3.0, 3.0, 0.5]
    )


def test_calibrated__a_biased_student__is_better_calibrated_where_it_has_not_looked() -> None:
    noisy, unseen = lesson_of(6, noise=0.5), lesson_of(7, noise=0.5)
    before = biased(noisy)
    after = student.calibrated(before, noisy.samples)
    scores = [
        metrics(forecasts_of(weights.outputs(unseen.samples.observations)), unseen.samples)
        for weights in (before, after)
    ]
    assert scores[1]["brier"] < scores[0]["brier"] - 0.02
    assert scores[1]["ece"] < scores[0]["ece"] / 3
    assert scores[1]["r2_log_vol"] > scores[0]["r2_log_vol"] + 0.1
    assert scores[1]["auc"] == pytest.approx(scores[0]["auc"])
    assert after.hidden is before.hidden, "nothing is added to the circuit"


def test_calibrated__older_than_a_year__is_not_looked_at() -> None:
    noisy = lesson_of(6, noise=0.5)
    before = biased(noisy)
    old = Samples(
        end_ms=np.concatenate([noisy.samples.end_ms - 400 * 1440 * MINUTE_MS, noisy.samples.end_ms]),
        observations=np.concatenate([noisy.samples.observations] * 2),
        volatility=np.concatenate([np.full(N, 9.0), noisy.samples.volatility]),
        past={},
        left_out=0,
    )
    assert same(student.calibrated(before, old), student.calibrated(before, noisy.samples))


@pytest.mark.parametrize("volatility", [1e-5, 1e-2])
def test_calibrated__one_class__changes_nothing(lesson: Lesson, volatility: float) -> None:
    weights = fit(lesson)
    assert student.calibrated(weights, replace(lesson.samples, volatility=np.full(N, volatility))) is weights


def test_fit_student__calibrated_with_another_asset__keeps_our_level() -> None:
    """The other asset moves e times as much at the same observations: what it teaches must not shift our forecasts."""
    ours, theirs = lesson_of(1, noise=0.3), lesson_of(2, noise=0.3, level=1.0)
    recipe = replace(RECIPE, other_asset="as it is", other_weight=0.01, calibrated=True)
    both, _ = Material({"ours": ours, "as it is": theirs}, {}).prepared(recipe)
    outputs = student.fit_student(both, None, recipe, 0).outputs(ours.samples.observations)
    assert float((outputs[:, 2] - ours.samples.ln_vol).mean()) == pytest.approx(0, abs=0.1)


def test_prepared__other_asset__picks_its_lesson_and_its_teachers_outputs() -> None:
    names = ("ours", "as it is", "at our level")
    lessons = {name: lesson_of(number).where(np.arange(N) < 5) for number, name in enumerate(names)}
    material = Material(lessons, {name: np.full((5, 3), float(number)) for number, name in enumerate(names)})
    recipe = replace(RECIPE, teacher_weight=0.5, other_weight=0.25)
    for view, numbers in (("none", [0]), ("as it is", [0, 1]), ("at our level", [0, 2])):
        prepared, teacher = material.prepared(replace(recipe, other_asset=view))
        expected = np.concatenate([lessons[names[number]].samples.observations for number in numbers])
        assert np.array_equal(prepared.samples.observations, expected)
        assert teacher is not None
        assert teacher[:, 0].tolist() == [float(number) for number in numbers for _ in range(5)]
        assert prepared.weight[-1] / prepared.weight[0] == pytest.approx(0.25 if len(numbers) > 1 else 1.0)


def test_prepared__no_teacher_weight__needs_no_teacher() -> None:
    assert Material({"ours": lesson_of(1)}, {}).prepared(RECIPE)[1] is None


def test_losses__undecided_outputs__cost_ln_two(lesson: Lesson) -> None:
    outputs = np.column_stack([np.zeros(N), np.zeros(N), lesson.samples.ln_vol + 0.5])
    entropy, error = student.losses(outputs, lesson.samples)
    assert entropy == pytest.approx(math.log(2))
    assert error == pytest.approx(0.25)


def test_loss_of__weights__is_the_sum_of_both(lesson: Lesson) -> None:
    weights = fit(lesson)
    both = student.losses(weights.outputs(lesson.samples.observations), lesson.samples)
    assert student.loss_of(weights, lesson.samples) == pytest.approx(sum(both))
