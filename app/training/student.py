"""The student: 192 → 8 → 3 with one ReLU, small enough that its proof takes a fifth of a second.

Trained on two questions at once, the regime of the next four hours and the log of their volatility, with noise on its
inputs: neighbouring windows are nearly the same window, so without noise it would learn the past by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.features.variation import INPUTS, VARIATION_INPUTS
from app.inference.release import OUTPUTS
from app.training.circuit import INPUT_SCALE, Weights
from app.training.datasets import Samples
from app.types import FloatArray

OUTPUT_COUNT = len(OUTPUTS)


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """How the student is trained: the best of about forty settings over three half-years before the test period."""

    hidden: int = 8
    epochs: int = 12
    batch: int = 1024
    learning_rate: float = 8e-3
    weight_decay: float = 0.4
    noise: float = 0.4
    """Deviation of the Gaussian noise on the variation inputs, in deviations of the input."""
    ln_vol_weight: float = 1.0
    """Weight of the squared error of ln volatility beside the cross entropy of the regime."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The student after one pass over the training windows, judged on validation with rounded weights."""

    number: int
    weights: Weights
    cross_entropy: float
    squared_error: float
    loss: float


class Student(nn.Module):
    """The network in torch; before training it answers with the average volatility."""

    def __init__(self, hidden: int, *, start_ln_vol: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(INPUTS, hidden)
        self.output = nn.Linear(hidden, OUTPUT_COUNT)
        with torch.no_grad():
            self.output.bias[2] = start_ln_vol

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardised inputs (n, 192) to raw outputs (n, 3)."""
        outputs: Tensor = self.output(functional.relu(self.hidden(inputs)))
        return outputs


@dataclass(frozen=True, slots=True)
class _Batches:
    inputs: Tensor
    high: Tensor
    ln_vol: Tensor


def choose_epoch(
    train: Samples, validation: Samples, config: StudentConfig, seed: int, on_epoch: Callable[[Epoch], None]
) -> Epoch:
    """The epoch with the lowest validation loss of a student trained on ``train``.

    The same samples, configuration and seed give the same epoch on the same machine, whatever its load: one thread
    adds up in one order.
    """
    epochs = []
    for number, weights in _trained(train, config, seed):
        epochs.append(_judge(number, weights, validation, config))
        on_epoch(epochs[-1])
    return min(epochs, key=lambda epoch: epoch.loss)


def train_until(
    train: Samples, config: StudentConfig, seed: int, last: int, on_epoch: Callable[[int], None]
) -> Weights:
    """The weights after epoch ``last``, with nothing held back: for the final training on all but the test."""
    with closing(_trained(train, config, seed)) as epochs:
        for number, weights in epochs:
            on_epoch(number)
            if number == last:
                return weights
    raise ValueError(f"there is no epoch {last} in {config.epochs}")


def weights_of(network: Student) -> Weights:
    """The parameters as float64 arrays, in the circuit's orientation (inputs first)."""
    hidden, output = network.hidden, network.output
    arrays = (hidden.weight.T, hidden.bias, output.weight.T, output.bias)
    return Weights(*(tensor.detach().numpy().astype(np.float64) for tensor in arrays))


def losses(outputs: FloatArray, samples: Samples) -> tuple[float, float]:
    """Mean cross entropy of the regime and mean squared error of ln volatility, of raw outputs (n, 3)."""
    margin = np.where(samples.high, 1.0, -1.0) * (outputs[:, 1] - outputs[:, 0])
    cross_entropy = np.logaddexp(0.0, -margin).mean()
    return float(cross_entropy), float(((outputs[:, 2] - samples.ln_vol) ** 2).mean())


def _judge(number: int, weights: Weights, validation: Samples, config: StudentConfig) -> Epoch:
    rounded = weights.rounded()
    entropy, error = losses(rounded.outputs(validation.observations), validation)
    return Epoch(number, weights, entropy, error, entropy + config.ln_vol_weight * error)


def _trained(train: Samples, config: StudentConfig, seed: int) -> Generator[tuple[int, Weights], None, None]:
    """The weights after every epoch, numbered from 1."""
    with _reproducible(seed):
        network = Student(config.hidden, start_ln_vol=float(train.ln_vol.mean()))
        for number in _passes(network, _batches(train), config, seed):
            yield number, weights_of(network)


def _passes(network: Student, data: _Batches, config: StudentConfig, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    batches = max(1, len(data.inputs) // config.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.epochs * batches, pct_start=0.1
    )
    for number in range(1, config.epochs + 1):
        order = torch.randperm(len(data.inputs), generator=generator)
        for rows in order[: batches * config.batch].chunk(batches):
            loss = _loss(network, data, rows, config, generator)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        yield number


def _loss(network: Student, data: _Batches, rows: Tensor, config: StudentConfig, generator: torch.Generator) -> Tensor:
    inputs = data.inputs[rows].float() / 2**INPUT_SCALE
    inputs[:, :VARIATION_INPUTS] += config.noise * torch.randn(len(rows), VARIATION_INPUTS, generator=generator)
    outputs: Tensor = network(inputs)
    entropy = functional.cross_entropy(outputs[:, :2], data.high[rows])
    return entropy + config.ln_vol_weight * functional.mse_loss(outputs[:, 2], data.ln_vol[rows])


def _batches(samples: Samples) -> _Batches:
    return _Batches(
        inputs=torch.from_numpy(samples.observations),
        high=torch.from_numpy(samples.high.astype(np.int64)),
        ln_vol=torch.from_numpy(samples.ln_vol.astype(np.float32)),
    )


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
