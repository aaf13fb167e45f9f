from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.features.variation import INPUTS
from app.judging.scores import forecasts_of, metrics
from app.training.datasets import Samples
from app.types import FloatArray

pytest.importorskip("app.training.teachers.candidates", reason="its libraries come with the train extra")
import torch

from app.training.lessons import CONTEXT, HOURS, Lesson
from app.training.teachers import candidates as teachers
from app.training.teachers.candidates import CANDIDATES, Mean, Teacher
from app.training.teachers.fitting import Reader, Recipe
from app.training.teachers.networks import KERNEL, LEVELS, DilatedConvolutions

N = 2_500
NAMES = tuple(CANDIDATES)
WITH_CONTEXT = tuple(name for name in NAMES if name != "wide_ensemble")


def drawn(seed: int, *, observation: float = 0.0, hours: float = 0.0) -> Lesson:
    """Volatility that the first input and the last four hours decide, as strongly as said."""
    rng = np.random.default_rng(seed)
    observations = rng.integers(-256, 257, (N, INPUTS)).astype(np.int16)
    context = rng.normal(700, 200, (N, CONTEXT)).astype(np.float32)
    recent = (context[:, -HOURS : -HOURS + 4].mean(axis=1) - 700) / 100
    ln_vol = observation * observations[:, 0] / 128 + hours * recent + rng.normal(0, 0.1, N)
    samples = Samples(
        end_ms=np.arange(N, dtype=np.int64) * 60_000,
        observations=observations,
        volatility=0.0005 * np.exp(ln_vol),
        past={},
        left_out=0,
    )
    return Lesson(samples, np.ones(N), context, N)


def both(first: Lesson, second: Lesson, *, share: float) -> Lesson:
    """Two lessons as one, of whose weight the second has this share."""
    weight = np.concatenate([np.full(len(first), 2 * (1 - share)), np.full(len(second), 2 * share)])
    samples = Samples(
        end_ms=np.concatenate([first.samples.end_ms, second.samples.end_ms]),
        observations=np.concatenate([first.samples.observations, second.samples.observations]),
        volatility=np.concatenate([first.samples.volatility, second.samples.volatility]),
        past={},
        left_out=0,
    )
    context = np.concatenate([first.context, second.context])
    return Lesson(samples, weight, context, len(samples))


def quality(outputs: FloatArray, lesson: Lesson) -> tuple[float, float]:
    """AUC and R² of ln volatility."""
    found = metrics(forecasts_of(outputs), lesson.samples)
    assert found["auc"] is not None
    assert found["r2_log_vol"] is not None
    return found["auc"], found["r2_log_vol"]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """As much training as three thousand windows need, where the real recipes expect hundreds of thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teachers, "ROUNDS", 60)
        patch.setattr(teachers, "PARAMETERS", {**teachers.PARAMETERS, "learning_rate": 0.1, "min_data_in_leaf": 20})
        recipe = Recipe(epochs=8, learning_rate=0.02, weight_decay=0.01, noise=0.1, batch=100)
        patch.setattr(teachers, "WIDE", recipe)
        patch.setattr(teachers, "HOURLY", recipe)
        yield


@pytest.fixture(scope="module")
def train() -> Lesson:
    return drawn(1, observation=0.4, hours=0.3)


@pytest.fixture(scope="module")
def unseen() -> Lesson:
    return drawn(2, observation=0.4, hours=0.3)


@pytest.fixture(scope="module")
def fitted(train: Lesson) -> dict[str, Teacher]:
    return {name: candidate.fit(train, 0) for name, candidate in CANDIDATES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_outputs__any_candidate__are_three_finite_numbers_a_window(
    name: str, fitted: dict[str, Teacher], unseen: Lesson
) -> None:
    outputs = fitted[name].outputs(unseen)
    assert outputs.shape == (N, 3)
    assert outputs.dtype == np.float64
    assert np.isfinite(outputs).all()


def test_fit_wide__what_the_observation_says__is_learnt(fitted: dict[str, Teacher], unseen: Lesson) -> None:
    auc, r2 = quality(fitted["wide_ensemble"].outputs(unseen), unseen)
    assert auc > 0.8
    assert r2 > 0.5


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_fit__what_the_hours_say__is_learnt_too(name: str, fitted: dict[str, Teacher], unseen: Lesson) -> None:
    auc, r2 = quality(fitted[name].outputs(unseen), unseen)
    assert auc > 0.9
    assert r2 > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_fit__windows_of_little_weight__do_not_count(name: str) -> None:
    right, wrong = drawn(3, observation=0.4), drawn(4, observation=-0.4)
    teacher = CANDIDATES[name].fit(both(right, wrong, share=0.001), 0)
    assert quality(teacher.outputs(right), right)[0] > 0.9


@pytest.fixture(scope="module")
def few(train: Lesson) -> Lesson:
    return train.where(np.arange(N) < 600)


@pytest.mark.parametrize("name", NAMES)
def test_fit__same_lesson_and_seed__says_the_same(name: str, few: Lesson, unseen: Lesson) -> None:
    first = CANDIDATES[name].fit(few, 0).outputs(unseen)
    torch.rand(3)  # whatever was drawn before does not matter
    assert np.array_equal(CANDIDATES[name].fit(few, 0).outputs(unseen), first)
    assert not np.array_equal(CANDIDATES[name].fit(few, 1).outputs(unseen), first)


def test_fit__torch__is_left_as_it_was(few: Lesson) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    CANDIDATES["temporal_network"].fit(few, 0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_mean__several__is_their_mean(fitted: dict[str, Teacher], unseen: Lesson) -> None:
    outputs = [teacher.outputs(unseen) for teacher in fitted.values()]
    assert Mean(tuple(fitted.values())).outputs(unseen) == pytest.approx(sum(outputs) / len(outputs))


def test_reader__hours__come_oldest_first_standardised_and_clipped(train: Lesson) -> None:
    context = train.context.copy()
    context[0, -HOURS:] = 700 + np.arange(HOURS)
    context[0, -1] = 1e6
    lesson = replace(train, context=context)
    read = Reader(mean=700.0, deviation=100.0).read(lesson)
    assert read.shape == (N, INPUTS + HOURS)
    assert np.array_equal(read[:, :INPUTS], lesson.inputs)
    assert read[0, INPUTS] == 4.0
    assert read[0, -3:] == pytest.approx([0.02, 0.01, 0.0])


def test_reader__windows_without_weight__leave_mean_and_deviation_alone(train: Lesson) -> None:
    context = np.concatenate([train.context, 10 * train.context])
    weight = np.concatenate([2 * train.weight, 0 * train.weight])
    alone, among = Reader.of_hours(train), Reader.of_hours(Lesson(train.samples, weight, context, len(train)))
    assert among.mean == pytest.approx(alone.mean)
    assert among.deviation == pytest.approx(alone.deviation)


def dilated(network: Any, hours: Any) -> Any:
    """The same network in the form in which it was published: every step of every level."""
    active = hours.unsqueeze(1)
    for number, level in enumerate(network.levels):
        kernel = level.weight.reshape(len(level.weight), KERNEL, -1).transpose(1, 2)
        padded = torch.nn.functional.pad(active, ((KERNEL - 1) * 2**number, 0))
        active = torch.relu(torch.nn.functional.conv1d(padded, kernel, level.bias, dilation=2**number)) + active
    return active[:, :, -1]


@pytest.mark.parametrize("steps", [HOURS, HOURS - 1, 5])
def test_dilated_convolutions__steps_left_out__change_nothing(steps: int) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        network, hours = DilatedConvolutions(), torch.randn(6, steps)
        assert network(hours).numpy() == pytest.approx(dilated(network, hours).numpy(), abs=1e-5)


def test_dilated_convolutions__levels__cover_the_week() -> None:
    reach = 1 + (KERNEL - 1) * (2**LEVELS - 1)
    assert reach >= HOURS > 1 + (KERNEL - 1) * (2 ** (LEVELS - 1) - 1)
