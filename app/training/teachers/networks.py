"""The networks among the teachers, each from a window's inputs to ``(logit_low, logit_high, ln vol_annualised)``.

Two of them read the last week hour by hour, where the observation has only blocks of four hours, and join what they
make of it with the observation, which has the short windows and the clock.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.features.variation import INPUTS
from app.inference.release import OUTPUTS
from app.training.lessons import HOURS

OUTPUT_COUNT = len(OUTPUTS)
WIDTH = 64
DROPOUT = 0.2
CHANNELS = 16
KERNEL = 3
LEVELS = 7
"""Dilations 1 to 64: the last step sees 255 hours, the first number of levels that covers the week."""
STEP_HOURS = 4
STATE = 16


class Head(nn.Module):
    """``width`` → 64 ReLU with dropout → 3; before training it answers with ``start_ln_vol``."""

    def __init__(self, width: int, start_ln_vol: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(WIDTH, OUTPUT_COUNT)
        with torch.no_grad():
            self.output.bias[2] = start_ln_vol

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, width) to outputs (n, 3)."""
        outputs: Tensor = self.output(self.dropout(functional.relu(self.hidden(inputs))))
        return outputs


class DilatedConvolutions(nn.Module):
    """A temporal convolutional network (Bai, Kolter and Koltun, 2018), read out at its last step.

    Level l is a causal convolution of three steps at dilation 2**l with ReLU, added to what it got; one convolution in
    each block instead of two. The last step depends on every second step of the first level, every fourth of the second
    and so on, and only those are worked out: in the sequence of those kept, a dilated convolution is an ordinary one of
    stride two. The result is the same, at a tenth of the cost.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = (1, *([CHANNELS] * LEVELS))
        self.levels = nn.ModuleList(nn.Linear(KERNEL * before, after) for before, after in pairwise(channels))

    def forward(self, hours: Tensor) -> Tensor:
        """Hours (n, t), oldest first, to the state after the last one (n, `CHANNELS`)."""
        active = hours.unsqueeze(2)
        for level in self.levels:
            earlier, middle, here = self._threes(active)
            active = functional.relu(level(torch.cat([earlier, middle, here], dim=2))) + here
        return active[:, -1]

    @staticmethod
    def _threes(active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The last step and every second one before it, with the two before each; zeros before the beginning."""
        steps = active.shape[1]
        padded = functional.pad(active, (0, 0, 1 + steps % 2, 0))
        return padded[:, :-2:2], padded[:, 1:-1:2], padded[:, 2::2]


class LastState(nn.Module):
    """A gated recurrent unit (Cho et al., 2014) over the hours, `STEP_HOURS` at once: 42 steps are faster than 168."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence = nn.GRU(STEP_HOURS, STATE, batch_first=True)

    def forward(self, hours: Tensor) -> Tensor:
        """Hours (n, t), oldest first, to the state after the last one (n, `STATE`)."""
        _, last = self.recurrence(hours.reshape(len(hours), -1, STEP_HOURS))
        state: Tensor = last[0]
        return state


class HourlyNetwork(nn.Module):
    """Something that makes a state of the hours, and a head on that state and the observation."""

    def __init__(self, memory: nn.Module, size: int, start_ln_vol: float) -> None:
        super().__init__()
        self.memory = memory
        self.head = Head(INPUTS + size, start_ln_vol)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, `INPUTS` + `HOURS`) to outputs (n, 3)."""
        observation, hours = inputs[:, :INPUTS], inputs[:, -HOURS:]
        outputs: Tensor = self.head(torch.cat([observation, self.memory(hours)], dim=1))
        return outputs
