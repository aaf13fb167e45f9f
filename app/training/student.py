"""The student: one hidden layer, small enough that its proof takes a fifth of a second.

Trained on two questions at once, the regime of the next four hours and the log of their volatility, from what happened
and from what a teacher thinks of it. Every technique that was tried stands in `Recipe`, so that the comparison in
`choices` and the released training run the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from app.features.realised import HORIZON_MINUTES
from app.features.variation import INPUTS, VARIATION_INPUTS
from app.inference.release import OUTPUTS
from app.judging.scores import forecasts_of
from app.training.circuit import PARAM_SCALE, Weights
from app.training.datasets import Samples
from app.training.distillation import distillation_loss
from app.training.lessons import Lesson
from app.training.threads import using_threads
from app.types import MINUTE_MS, FloatArray

OUTPUT_COUNT = len(OUTPUTS)
OtherAsset = Literal["none", "as it is", "at our level"]
NONE: OtherAsset = "none"
NEWEST_SHARE = 0.1
"""Of the training windows: what early stopping holds back to judge by."""
YEAR_MS = 365 * 1440 * MINUTE_MS
"""Calibration looks at the newest year: a whole round of seasons, and the present level."""
PRUNE_AFTER = 2 / 3
"""Share of the epochs after which the smallest weights are cut; the rest heals."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a student is trained. The defaults are where the search begins, not what it must find.

    ``noise`` is in deviations of a variation input, ``half_life_years`` the age at which a window counts half (None:
    all the same), ``other_asset`` how a second asset's windows are used, ``teacher_weight`` and ``temperature`` are
    those of `distillation_loss`, ``teacher_weight_vol`` is α for the third output, ``pruned`` the share of hidden
    weights cut.
    """

    hidden: int = 16
    epochs: int = 6
    batch: int = 1024
    learning_rate: float = 1.5e-2
    schedule: Literal["one cycle", "constant"] = "one cycle"
    weight_decay: float = 0.01
    noise: float = 0.0
    dropout: float = 0.0
    batch_norm: bool = False
    early_stopping: bool = False
    pruned: float = 0.0
    quantisation_aware: bool = False
    calibrated: bool = False
    teacher_weight: float = 0.0
    temperature: float = 1.0
    teacher_weight_vol: float = 0.0
    half_life_years: float | None = None
    other_asset: OtherAsset = "none"
    other_weight: float = 0.5


class Student(nn.Module):
    """The network in torch; before training it answers with the average volatility."""

    def __init__(self, recipe: Recipe, *, start_ln_vol: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(INPUTS, recipe.hidden)
        self.norm = nn.BatchNorm1d(recipe.hidden) if recipe.batch_norm else nn.Identity()
        self.drop = nn.Dropout(recipe.dropout)
        self.output = nn.Linear(recipe.hidden, OUTPUT_COUNT)
        self.rounded = False
        """Whether to compute with weights rounded as the circuit holds them, gradients passing straight through."""
        with torch.no_grad():
            self.output.bias[2] = start_ln_vol

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardised inputs (n, `INPUTS`) to raw outputs (n, 3)."""
        hidden = functional.relu(self.norm(self._linear(self.hidden, inputs)))
        return self._linear(self.output, self.drop(hidden))

    def _linear(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        if not self.rounded:
            outputs: Tensor = layer(inputs)
            return outputs
        return functional.linear(inputs, _straight_through(layer.weight), _straight_through(layer.bias))


@dataclass(frozen=True, slots=True)
class _Batches:
    inputs: Tensor
    high: Tensor
    ln_vol: Tensor
    weight: Tensor
    teacher: Tensor | None


def fit_student(
    lesson: Lesson,
    teacher: FloatArray | None,
    recipe: Recipe,
    seed: int,
    on_epoch: Callable[[int], None] = lambda _: None,
) -> Weights:
    """The weights of a student after the whole recipe.

    ``teacher`` holds the teacher's raw outputs (n, 3) for the same windows; it may be None when the recipe gives it no
    weight. The same lesson, recipe and seed give the same weights on the same machine, whatever its load: one thread
    adds up in one order.
    """
    held_back = None
    if recipe.early_stopping:
        lesson, teacher, held_back = _hold_back(lesson, teacher)
    with _reproducible(seed):
        network = Student(recipe, start_ln_vol=float(lesson.samples.ln_vol.mean()))
        found: list[tuple[float, Weights]] = []
        for number in _passes(network, _batches(lesson, teacher), recipe, seed):
            on_epoch(number)
            if held_back is not None and number >= _settled(recipe):
                weights = weights_of(network)
                found.append((loss_of(weights.rounded(), held_back), weights))
        weights = min(found, key=lambda entry: entry[0])[1] if found else weights_of(network)
    return calibrated(weights, lesson.of_own()) if recipe.calibrated else weights


def weights_of(network: Student) -> Weights:
    """The parameters as float64 arrays, inputs first as in the circuit; a batch norm is folded into the hidden ones."""
    hidden, output, norm = network.hidden, network.output, network.norm
    weight, bias = _array(hidden.weight).T, _array(hidden.bias)
    if isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None:
        factor = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
        weight, bias = weight * factor, (bias - _array(norm.running_mean)) * factor + _array(norm.bias)
    return Weights(weight, bias, _array(output.weight).T, _array(output.bias))


def calibrated(weights: Weights, samples: Samples) -> Weights:
    """The weights with a calibration on the newest year folded into the last layer: nothing is added to the circuit.

    The margin between the logits is stretched and shifted by a logistic regression on itself (Platt, 1999); ln vol is
    shifted by its mean error.
    """
    recent = samples.where(samples.end_ms > samples.end_ms.max() - YEAR_MS)
    if recent.high.all() or not recent.high.any():
        return weights
    outputs = weights.outputs(recent.observations)
    platt = LogisticRegression(C=1e6).fit(forecasts_of(outputs).score[:, None], recent.high)
    stretch, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    factors = np.asarray([stretch, stretch, 1.0])
    shifts = np.asarray([-shift / 2, shift / 2, float((recent.ln_vol - outputs[:, 2]).mean())])
    return replace(weights, output=weights.output * factors, output_bias=weights.output_bias * factors + shifts)


def loss_of(weights: Weights, samples: Samples) -> float:
    """What training minimises, without the teacher: mean cross entropy plus mean squared error of ln volatility."""
    return sum(losses(weights.outputs(samples.observations), samples))


def losses(outputs: FloatArray, samples: Samples) -> tuple[float, float]:
    """Mean cross entropy of the regime and mean squared error of ln volatility, of raw outputs (n, 3)."""
    margin = np.where(samples.high, 1.0, -1.0) * (outputs[:, 1] - outputs[:, 0])
    cross_entropy = np.logaddexp(0.0, -margin).mean()
    return float(cross_entropy), float(((outputs[:, 2] - samples.ln_vol) ** 2).mean())


def _passes(network: Student, data: _Batches, recipe: Recipe, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    batches = max(1, len(data.inputs) // recipe.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = _schedule(optimiser, recipe, batches)
    kept: Tensor | None = None
    for number in range(1, recipe.epochs + 1):
        network.train()
        network.rounded = recipe.quantisation_aware and number == recipe.epochs
        if recipe.pruned and kept is None and number > PRUNE_AFTER * recipe.epochs:
            kept = _largest(network.hidden.weight, 1 - recipe.pruned)
        order = torch.randperm(len(data.inputs), generator=generator)
        for rows in order[: batches * recipe.batch].chunk(batches):
            loss = _loss(network, data, rows, recipe, generator)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if kept is not None:
                network.hidden.weight.data.mul_(kept)
        network.eval()
        yield number


def _schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, batches: int) -> torch.optim.lr_scheduler.LRScheduler:
    steps = recipe.epochs * batches
    if recipe.schedule == "one cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps, pct_start=0.1)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0, total_iters=steps)


def _loss(network: Student, data: _Batches, rows: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    inputs = data.inputs[rows]
    if recipe.noise:
        inputs[:, :VARIATION_INPUTS] += recipe.noise * torch.randn(len(rows), VARIATION_INPUTS, generator=generator)
    outputs: Tensor = network(inputs)
    error = (outputs[:, 2] - data.ln_vol[rows]) ** 2
    if data.teacher is None:
        regime = functional.cross_entropy(outputs[:, :2], data.high[rows], reduction="none")
    else:
        thought = data.teacher[rows]
        regime = distillation_loss(
            outputs[:, :2],
            thought[:, :2],
            data.high[rows],
            temperature=recipe.temperature,
            teacher_weight=recipe.teacher_weight,
        )
        soft = (outputs[:, 2] - thought[:, 2]) ** 2
        error = recipe.teacher_weight_vol * soft + (1 - recipe.teacher_weight_vol) * error
    return (data.weight[rows] * (regime + error)).mean()


def _settled(recipe: Recipe) -> int:
    """The first epoch at which early stopping may stop: before it, weights to be cut or rounded are not so yet."""
    if recipe.quantisation_aware:
        return recipe.epochs
    return int(PRUNE_AFTER * recipe.epochs) + 1 if recipe.pruned else 1


def _hold_back(lesson: Lesson, teacher: FloatArray | None) -> tuple[Lesson, FloatArray | None, Samples]:
    """The lesson without its newest tenth, with an embargo before it, and our asset's windows of that tenth."""
    end_ms = lesson.samples.end_ms
    border = int(np.quantile(end_ms, 1 - NEWEST_SHARE))
    early = end_ms < border - HORIZON_MINUTES * MINUTE_MS
    return lesson.where(early), None if teacher is None else teacher[early], lesson.where(end_ms >= border).of_own()


def _batches(lesson: Lesson, teacher: FloatArray | None) -> _Batches:
    return _Batches(
        inputs=torch.from_numpy(lesson.inputs),
        high=torch.from_numpy(lesson.samples.high.astype(np.int64)),
        ln_vol=torch.from_numpy(lesson.samples.ln_vol.astype(np.float32)),
        weight=torch.from_numpy(lesson.weight.astype(np.float32)),
        teacher=None if teacher is None else torch.from_numpy(teacher.astype(np.float32)),
    )


def _straight_through(weight: Tensor) -> Tensor:
    """Rounded to the circuit's parameter scale; the gradient passes as if it were not (Bengio et al., 2013)."""
    rounded: Tensor = torch.round(weight.detach() * 2**PARAM_SCALE) / 2**PARAM_SCALE
    passed: Tensor = weight + (rounded - weight).detach()
    return passed


def _largest(weight: Tensor, share: float) -> Tensor:
    """A mask of the ``share`` of weights that are largest in size."""
    sizes = weight.detach().abs()
    return (sizes >= torch.quantile(sizes, 1 - share)).float()


def _array(tensor: Tensor) -> FloatArray:
    return tensor.detach().numpy().astype(np.float64)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    with using_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
