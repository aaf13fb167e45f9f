from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
import torch

from app.training.distillation import distillation_loss

STUDENT, TEACHER = [[0.3, -0.9], [2.0, 1.0]], [[-0.4, 1.2], [0.5, 0.1]]
HIGH = [1, 0]


def softmax(logits: list[float], temperature: float) -> list[float]:
    sizes = [math.exp(value / temperature) for value in logits]
    return [size / sum(sizes) for size in sizes]


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.7), (2.0, 0.7), (4.0, 1.0), (3.0, 0.0)])
def test_distillation_loss__by_hand__is_soft_and_hard_part(temperature: float, alpha: float) -> None:
    expected = []
    for said, thought, high in zip(STUDENT, TEACHER, HIGH, strict=True):
        p, q = softmax(thought, temperature), softmax(said, temperature)
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        entropy = -math.log(softmax(said, 1.0)[high])
        expected.append(alpha * temperature**2 * divergence + (1 - alpha) * entropy)
    found = distillation_loss(
        torch.tensor(STUDENT), torch.tensor(TEACHER), torch.tensor(HIGH), temperature=temperature, teacher_weight=alpha
    )
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_distillation_loss__same_margins__leaves_the_hard_part_alone() -> None:
    logits, high = torch.tensor(STUDENT), torch.tensor(HIGH)
    shifted = logits + 3.0
    soft = distillation_loss(logits, shifted, high, temperature=2.0, teacher_weight=1.0)
    assert soft.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    mixed = distillation_loss(logits, shifted, high, temperature=2.0, teacher_weight=0.6)
    hard = torch.nn.functional.cross_entropy(logits, high, reduction="none")
    assert mixed.tolist() == pytest.approx((0.4 * hard).tolist(), rel=1e-5)


def test_distillation_loss__temperature__leaves_the_size_of_the_gradient() -> None:
    sizes = []
    for temperature in (8.0, 16.0):
        logits = torch.tensor(STUDENT, requires_grad=True)
        loss = distillation_loss(
            logits, torch.tensor(TEACHER), torch.tensor(HIGH), temperature=temperature, teacher_weight=1.0
        )
        loss.sum().backward()
        sizes.append(float(logits.grad.abs().sum()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
