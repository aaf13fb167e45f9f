"""One loop for both networks: pass after pass over the training windows until validation gets no better.

Everything that the next pass depends on is kept after each one, so an interrupted training goes on where it was and
ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.features.classic import INDICATORS, INPUTS, WINDOW_MINUTES, Float32Array
from app.training.classic.data import Part
from app.training.kept import KeptWork

JUDGED_AT_ONCE = 1024
DIGITS = 6

History = list[dict[str, float | int]]
Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (n, 2) and the numbers (n,) of their training windows to what is made small."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. The original states the distillation and the 25 epochs; the rest is ours."""

    epochs: int = 25
    patience: int = 3
    """Epochs without a better validation loss after which training ends."""
    batch: int = 512
    learning_rate: float = 3e-4
    decay: float = 0.7
    """Of the learning rate from one epoch to the next: neighbouring windows are nearly the same, so one pass over all
    of them is already many over the market behind them."""
    weight_decay: float = 0.01


class Windows:
    """The windows of one part as tensors: cut out of the minutes when they are needed."""

    def __init__(self, minutes: Float32Array, part: Part) -> None:
        table = torch.from_numpy(minutes)
        count = len(minutes) - WINDOW_MINUTES + 1
        # Row i is minutes i … i+239 in one piece: rows overlap in memory and take none of their own.
        self._every = table.as_strided((count, INPUTS), (len(INDICATORS), 1))
        self._starts = torch.from_numpy(part.ends - WINDOW_MINUTES)
        self.high = torch.from_numpy(part.high.astype("int64"))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """float32 (n, 240, 7) of the windows with these numbers."""
        flat = self._every.index_select(0, self._starts[rows])
        return flat.view(len(rows), WINDOW_MINUTES, len(INDICATORS))


@dataclass(frozen=True, slots=True)
class Trained:
    """A network with the weights of its best epoch, and what every epoch was like."""

    network: nn.Module
    best_epoch: int
    history: History


def train_network(
    name: str,
    make: Callable[[], nn.Module],
    recipe: Recipe,
    data: tuple[Windows, Windows],
    loss: Loss,
    *,
    kept: KeptWork,
    seed: int,
    on_epoch: Callable[[dict[str, float | int]], None],
) -> Trained:
    """Train on the first of ``data`` until the loss on the second has been best for `Recipe.patience` epochs.

    Goes on from what ``kept`` holds under this name. ``on_epoch`` is told every epoch after it has been kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()

    def run() -> dict[str, Any]:
        return _Run(network, recipe, kept, f"{name}-epochs", seed).until_no_better(data, loss, on_epoch)

    found = kept.stage(name, run)
    kept.drop(f"{name}-epochs")
    network.load_state_dict(found["network"])
    network.eval()
    return Trained(network, int(found["best_epoch"]), found["history"])


def predict(network: nn.Module, windows: Windows) -> Tensor:
    """Logits float32 (n, 2) of all windows of a part."""
    network.eval()
    with torch.no_grad():
        parts = [network(windows[rows]) for rows in torch.split(torch.arange(len(windows)), JUDGED_AT_ONCE)]
        return torch.cat(parts)


class _Run:
    """A training under way: network, optimiser, schedule, order of the windows, best epoch so far."""

    def __init__(self, network: nn.Module, recipe: Recipe, kept: KeptWork, name: str, seed: int) -> None:
        self._network, self._recipe, self._kept, self._name = network, recipe, kept, name
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.ExponentialLR(self._optimiser, recipe.decay)
        self._generator = torch.Generator().manual_seed(seed)
        self._history: History = []
        self._best: dict[str, Tensor] = {}
        found = kept.load(name)
        if found is not None:
            self._restore(found)

    def until_no_better(
        self, data: tuple[Windows, Windows], loss: Loss, on_epoch: Callable[[dict[str, float | int]], None]
    ) -> dict[str, Any]:
        train, validation = data
        while not self._ended():
            mean_loss = self._one_pass(train, loss)
            self._note(mean_loss, validation)
            self._kept.save(self._name, self._state())
            on_epoch(self._history[-1])
        return {"network": self._best, "best_epoch": self._best_epoch(), "history": self._history}

    def _one_pass(self, train: Windows, loss: Loss) -> float:
        """Every training window once, in a new order, but for the few that do not fill a batch; gives the mean loss."""
        self._network.train()
        batches = max(1, len(train) // self._recipe.batch)
        order = torch.randperm(len(train), generator=self._generator)[: batches * self._recipe.batch]
        total = 0.0
        for rows in order.chunk(batches):
            value = loss(self._network(train[rows]), rows)
            self._optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            total += value.item()
        self._schedule.step()
        return total / batches

    def _note(self, mean_loss: float, validation: Windows) -> None:
        logits = predict(self._network, validation)
        self._history.append(
            {
                "epoch": len(self._history) + 1,
                "train_loss": round(mean_loss, DIGITS),
                "validation_loss": functional.cross_entropy(logits, validation.high).item(),
                "validation_accuracy": round((logits.argmax(dim=1) == validation.high).double().mean().item(), DIGITS),
            }
        )
        if self._best_epoch() == len(self._history):
            self._best = {key: value.detach().clone() for key, value in self._network.state_dict().items()}

    def _best_epoch(self) -> int:
        return int(min(self._history, key=lambda epoch: epoch["validation_loss"])["epoch"])

    def _ended(self) -> bool:
        done = len(self._history)
        return done >= self._recipe.epochs or (done > 0 and done - self._best_epoch() >= self._recipe.patience)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "history": self._history,
            "best": self._best,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        self._history, self._best = state["history"], state["best"]
