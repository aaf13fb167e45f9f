from __future__ import annotations

import math

import numpy as np
import pytest

from app.features.variation import INPUTS
from app.training.datasets import Samples

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
student = pytest.importorskip("app.training.student", reason="torch comes with the train extra")


@pytest.fixture(scope="module")
def samples() -> Samples:
    """The first input says how volatile it will be; the others say nothing."""
    rng = np.random.default_rng(4)
    observations = rng.integers(-256, 257, (4_000, INPUTS)).astype(np.int16)
    volatility = 0.0005 * np.exp(observations[:, 0] / 256 + 0.01)
    return Samples(
        end_ms=np.arange(4_000, dtype=np.int64) * 60_000,
        observations=observations,
        volatility=volatility,
        past={60: volatility, 240: volatility},
        left_out=0,
    )


@pytest.fixture(scope="module")
def config() -> object:
    return student.StudentConfig(epochs=3, batch=100, learning_rate=0.01, noise=0.1)


def test_choose_epoch__one_telling_input__is_learnt(samples: Samples, config: object) -> None:
    seen: list[int] = []
    best = student.choose_epoch(samples, samples, config, 0, lambda epoch: seen.append(epoch.number))
    outputs = best.weights.outputs(samples.observations)
    assert ((outputs[:, 1] > outputs[:, 0]) == samples.high).mean() > 0.95
    assert seen == [1, 2, 3]


def test_train_until__same_data_and_seed__gives_the_chosen_weights(samples: Samples, config: object) -> None:
    best = student.choose_epoch(samples, samples, config, 7, lambda _: None)
    again = student.train_until(samples, config, 7, best.number, lambda _: None)
    assert np.array_equal(again.hidden, best.weights.hidden)
    assert np.array_equal(again.output_bias, best.weights.output_bias)


def test_training__leaves_torch_as_it_was(samples: Samples, config: object) -> None:
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    student.train_until(samples, config, 1, 3, lambda _: None)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_of__against_torch__give_the_same_outputs(samples: Samples) -> None:
    network = student.Student(8, start_ln_vol=-0.7)
    some = samples.observations[:50]
    with torch.no_grad():
        direct = network(torch.from_numpy(some).float() / 128).numpy()
    assert np.allclose(student.weights_of(network).outputs(some), direct, atol=1e-5)


def test_losses__undecided_outputs__cost_ln_two(samples: Samples) -> None:
    outputs = np.column_stack([np.zeros(len(samples)), np.zeros(len(samples)), samples.ln_vol + 0.5])
    entropy, error = student.losses(outputs, samples)
    assert entropy == pytest.approx(math.log(2))
    assert error == pytest.approx(0.25)
