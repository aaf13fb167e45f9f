"""Distillation: a student learns from the teacher's doubts as well as from what happened."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def distillation_loss(
    student: Tensor, teacher: Tensor, high: Tensor, *, temperature: float, teacher_weight: float
) -> Tensor:
    """α·T²·KL(teacher ‖ student) at temperature T plus (1 − α)·cross entropy, after Hinton, Vinyals and Dean (2015).

    ``student`` and ``teacher`` are logits (n, 2), ``high`` the class int64 (n,); gives the loss of each window, (n,).
    T² keeps the gradient of the soft part at the same size whatever the temperature; ``teacher_weight`` is α.
    """
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)
    hard = functional.cross_entropy(student, high, reduction="none")
    return teacher_weight * temperature**2 * soft + (1 - teacher_weight) * hard
