"""The training loop of the teachers that are networks: a fixed number of epochs, noise on the inputs, one thread.

Windows a few minutes apart are nearly the same window, so what holds a large network back from learning the past by
heart is noise on its inputs and weight decay, not the number of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from app.training.threads import using_threads

# isort: split
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.features.variation import INPUTS, VARIATION_INPUTS
from app.training.lessons import HOURS, Inputs, Lesson
from app.types import FloatArray

CLIP = 4.0
"""Deviations beyond which an hour counts no more, as in the observation."""
LEAST_VARIANCE = 1e-6
"""Of the hours, for a lesson in which they are all alike."""
CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained; ``noise`` is in deviations of the input."""

    epochs: int
    learning_rate: float
    weight_decay: float
    noise: float
    batch: int = 1024


@dataclass(frozen=True, slots=True)
class Reader:
    """A lesson as a network sees it: the observation's `INPUTS`, then the last `HOURS`, oldest first.

    Hours are standardised with one mean and one deviation for all of them: a convolution or a recurrence treats every
    hour alike. Without them (None) a network sees the observation only.
    """

    mean: float | None = None
    deviation: float = 1.0

    @classmethod
    def of_hours(cls, lesson: Lesson) -> Reader:
        """With the mean and the deviation of the lesson's hours."""
        hours = lesson.context[:, -HOURS:]
        mean, square = (
            float(np.average(part.mean(axis=1, dtype=np.float64), weights=lesson.weight)) for part in (hours, hours**2)
        )
        return cls(mean, max(square - mean**2, LEAST_VARIANCE) ** 0.5)

    def read(self, lesson: Lesson) -> Inputs:
        """float32 (n, `INPUTS`) or (n, `INPUTS` + `HOURS`)."""
        if self.mean is None:
            return lesson.inputs
        hours = (lesson.context[:, : -HOURS - 1 : -1] - np.float32(self.mean)) / np.float32(self.deviation)
        return np.concatenate([lesson.inputs, np.clip(hours, -CLIP, CLIP)], axis=1)


@dataclass(frozen=True, slots=True)
class NetworkTeacher:
    """A trained network and what it has to be shown."""

    network: nn.Module
    reader: Reader

    def outputs(self, lesson: Lesson) -> FloatArray:
        inputs = torch.from_numpy(self.reader.read(lesson))
        with using_threads(1), torch.no_grad():
            parts = [self.network(part) for part in torch.split(inputs, CHUNK)]
        return torch.cat(parts).numpy().astype(np.float64)


def fit_network(
    build: Callable[[], nn.Module], reader: Reader, lesson: Lesson, recipe: Recipe, seed: int
) -> NetworkTeacher:
    """The network that ``build`` makes, trained on the lesson by the recipe.

    It makes weighted cross entropy of the regime plus weighted squared error of ln volatility small. The same lesson
    and seed give the same network on the same machine: one thread adds up in one order.
    """
    with _reproducible(seed):
        network = build()
        _train(network, reader.read(lesson), lesson, recipe, seed)
    return NetworkTeacher(network.eval(), reader)


def _train(network: nn.Module, inputs: Inputs, lesson: Lesson, recipe: Recipe, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    data, targets = torch.from_numpy(inputs), _Targets.of(lesson)
    noise = _noise(data.shape[1], recipe.noise)
    batches = max(1, len(data) // recipe.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.epochs * batches, pct_start=0.1
    )
    network.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(data), generator=generator)
        for rows in order[: batches * recipe.batch].chunk(batches):
            seen = data[rows]
            seen += noise * torch.randn(seen.shape, generator=generator)
            loss = targets.loss(network(seen), rows)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()


@dataclass(frozen=True, slots=True)
class _Targets:
    high: Tensor
    ln_vol: Tensor
    weight: Tensor

    @classmethod
    def of(cls, lesson: Lesson) -> _Targets:
        return cls(
            high=torch.from_numpy(lesson.samples.high.astype(np.int64)),
            ln_vol=torch.from_numpy(lesson.samples.ln_vol.astype(np.float32)),
            weight=torch.from_numpy(lesson.weight.astype(np.float32)),
        )

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        entropy = functional.cross_entropy(outputs[:, :2], self.high[rows], reduction="none")
        return (self.weight[rows] * (entropy + (outputs[:, 2] - self.ln_vol[rows]) ** 2)).mean()


def _noise(columns: int, size: float) -> Tensor:
    """Deviation of each column's noise: the clock is exact."""
    noise = torch.full((columns,), size)
    noise[VARIATION_INPUTS:INPUTS] = 0.0
    return noise


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    with using_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
