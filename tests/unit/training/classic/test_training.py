from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
import torch

from app.training.classic.data import Part
from app.training.classic.networks import make_student, make_teacher
from app.training.classic.training import Recipe, Trained, Windows, predict, train_network
from app.training.kept import KeptWork
from app.training.threads import using_threads

RECIPE = Recipe(epochs=4, patience=4, batch=64, learning_rate=1e-3)
WAVE = 2 * np.sin(2 * np.pi * np.arange(2_000) / 500)
Epoch = dict[str, float | int]


@pytest.fixture(scope="module")
def minutes() -> np.ndarray:
    """Noise, but for a slow wave in the second indicator."""
    table = np.random.default_rng(6).normal(size=(2_000, 7))
    table[:, 1] += WAVE
    return table.astype(np.float32)


@pytest.fixture(scope="module")
def data(minutes: np.ndarray) -> tuple[Windows, Windows]:
    """Hard to learn: half an hour of noise decides."""
    return parts(minutes, minutes[:, 0], 30)


def parts(minutes: np.ndarray, decides: np.ndarray, last: int) -> tuple[Windows, Windows]:
    """High is when the mean of the ``last`` minutes of what decides is positive."""
    made = []
    for ends in (np.arange(240, 1_200, dtype=np.int64), np.arange(1_440, 2_000, dtype=np.int64)):
        high = np.asarray([decides[end - last : end].mean() > 0 for end in ends])
        made.append(Windows(minutes, Part(ends, high, {})))
    return made[0], made[1]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(
    data: tuple[Windows, Windows],
    kept: Path,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    make: Any = make_student,
    recipe: Recipe = RECIPE,
) -> Trained:
    def loss(logits: Any, rows: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits, data[0].high[rows])

    work = KeptWork(kept, "test", {})
    return train_network("network", make, recipe, data, loss, kept=work, seed=1, on_epoch=on_epoch)


def bits(trained: Trained) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in trained.network.state_dict().items()}


def test_windows__are_cut_out_of_the_minutes(minutes: np.ndarray, data: tuple[Windows, Windows]) -> None:
    found = data[1][torch.tensor([0, 559])].numpy()
    assert found.tobytes() == np.stack([minutes[1_200:1_440], minutes[1_759:1_999]]).tobytes()


@pytest.mark.parametrize("make", [make_teacher, make_student])
def test_train_network__learns_what_is_there(minutes: np.ndarray, tmp_path: Path, make: Any) -> None:
    history = train(parts(minutes, WAVE, 240), tmp_path, make=make).history
    assert max(epoch["validation_accuracy"] for epoch in history) > 0.9
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.parametrize("make", [make_teacher, make_student])
@pytest.mark.parametrize("after", [1, 3, 4])
def test_train_network__interrupted_after_an_epoch__ends_with_the_same_bits(
    data: tuple[Windows, Windows], tmp_path: Path, make: Any, after: int
) -> None:
    def interrupt(epoch: Epoch) -> None:
        if epoch["epoch"] == after:
            raise KeyboardInterrupt

    numbers: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "one", interrupt, make)
    # Whatever random numbers are drawn meanwhile must not matter.
    torch.rand(17)
    resumed = train(data, tmp_path / "one", lambda epoch: numbers.append(epoch["epoch"]), make)
    whole = train(data, tmp_path / "other", make=make)
    assert numbers == list(range(after + 1, 5)), "finished epochs are not trained again"
    assert bits(resumed) == bits(whole)
    assert (resumed.history, resumed.best_epoch) == (whole.history, whole.best_epoch)


def test_train_network__finished_before__is_read_and_not_trained(data: tuple[Windows, Windows], tmp_path: Path) -> None:
    first = train(data, tmp_path)

    def fail(_: Epoch) -> None:
        raise AssertionError("trained again")

    assert bits(train(data, tmp_path, fail)) == bits(first)
    assert [path.name for path in KeptWork(tmp_path, "test", {}).folder.iterdir()] == ["network.pt"]


def test_train_network__no_better_validation__ends_early_with_the_best_epoch(
    data: tuple[Windows, Windows], tmp_path: Path
) -> None:
    wild = Recipe(epochs=25, patience=2, batch=64, learning_rate=3e-3, decay=1.0)
    trained = train(data, tmp_path, recipe=wild)
    losses = [epoch["validation_loss"] for epoch in trained.history]
    assert len(losses) < 25
    assert trained.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 2
    again = torch.nn.functional.cross_entropy(predict(trained.network, data[1]), data[1].high).item()
    assert again == min(losses)


def test_train_network__leaves_torchs_own_random_numbers_alone(data: tuple[Windows, Windows], tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    train(data, tmp_path)
    assert torch.rand(3).tolist() == expected


def test_using_threads__afterwards__there_are_as_many_as_before() -> None:
    with using_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


def test_classic__by_the_time_torch_is_loaded__its_threads_are_told_to_sleep() -> None:
    program = (
        "import os, sys\n"
        "os.environ.pop('OMP_WAIT_POLICY', None)\n"
        "sys.modules['torch'] = None\n"
        "try:\n"
        "    import app.training.classic.experiment\n"
        "except ModuleNotFoundError:\n"
        "    print(os.environ['OMP_WAIT_POLICY'])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "passive"
