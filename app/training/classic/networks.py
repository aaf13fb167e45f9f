"""The two networks of the original experiment, and how they become ONNX.

Both see standardised windows (n, 240, 7) and answer with the logits (n, 2) of low and high. The original states how
many parameters they have and of which kinds of layer they are made; widths and kernels of the teacher are ours, chosen
to meet its number exactly.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from app.features.classic import INDICATORS, INPUTS, WINDOW_MINUTES
from app.training.export import IR_VERSION, OPSET

TEACHER_PARAMETERS = 35_778
STUDENT_PARAMETERS = 471_618
"""As the original states them."""
CHANNELS = (48, 64, 128)
KERNEL = 3
POOLING = 4
"""Minutes that become one after the first and the second convolution."""
NORM_EPSILON = 1e-5
WIDTHS = (256, 128, 64)
CLASSES = 2
LARGEST_BATCH = 1024

Tensors = dict[str, npt.NDArray[np.float32]]


class Teacher(nn.Module):
    """Three convolutions, the first two with pooling, each with batch normalisation and ReLU; mean over time; linear.

    The convolutions are two-dimensional of height one: that is a Conv1d, in the memory layout in which a CPU trains it
    twice as fast. Pooling before ReLU gives what ReLU before pooling does, on a quarter of the numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        pairs = list(zip((len(INDICATORS), *CHANNELS[:-1]), CHANNELS, strict=True))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, (1, KERNEL), padding=(0, KERNEL // 2)) for before, after in pairs
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(after, eps=NORM_EPSILON) for after in CHANNELS)
        self.head = nn.Linear(CHANNELS[-1], CLASSES)

    def forward(self, windows: Tensor) -> Tensor:
        """(n, 240, 7) to logits (n, 2)."""
        # The memory of (n, 240, 7) read as (n, 7, 1, 240) is "channels last" as it stands: nothing is copied.
        active = windows.permute(0, 2, 1).unsqueeze(2)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), start=1):
            active = norm(convolution(active))
            if number < len(CHANNELS):
                active = functional.max_pool2d(active, (1, POOLING))
            active = functional.relu(active)
        logits: Tensor = self.head(active.flatten(2).mean(dim=2))
        return logits


class Student(nn.Module):
    """1680-256-128-64-2 with ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (INPUTS, *WIDTHS, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))

    def forward(self, windows: Tensor) -> Tensor:
        """(n, 240, 7) to logits (n, 2)."""
        active = windows.flatten(1)
        for layer in self.layers[:-1]:
            active = functional.relu(layer(active))
        logits: Tensor = self.layers[-1](active)
        return logits


def parameter_count(network: nn.Module) -> int:
    """Trained numbers; the running means of batch normalisation are not."""
    return sum(parameter.numel() for parameter in network.parameters())


def make_teacher() -> Teacher:
    """A new teacher; raises `ValueError` where it is not the original's size."""
    network = Teacher()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _check_size(network, TEACHER_PARAMETERS)
    return network


def make_student() -> Student:
    """A new student; raises `ValueError` where it is not the original's size."""
    network = Student()
    _check_size(network, STUDENT_PARAMETERS)
    return network


def write_onnx(network: nn.Module, target: Path) -> None:
    """A trained teacher or student as an ONNX file: ``windows`` (batch, 240, 7) to ``logits`` (batch, 2)."""
    match network:
        case Teacher():
            nodes, tensors = _teacher_graph(network)
        case Student():
            nodes, tensors = _student_graph(network)
        case _:
            raise TypeError(f"{type(network).__name__} is neither teacher nor student")
    _write(type(network).__name__.lower(), nodes, tensors, target)


def _teacher_graph(network: Teacher) -> tuple[list[Any], Tensors]:
    """Each batch normalisation is folded into the convolution before it."""
    tensors: Tensors = {}
    nodes = [helper.make_node("Transpose", ["windows"], ["active_0"], perm=[0, 2, 1])]
    for number, (convolution, norm) in enumerate(zip(network.convolutions, network.norms, strict=True), start=1):
        tensors[f"kernel_{number}"], tensors[f"bias_{number}"] = _folded(convolution, norm)
        inputs = [f"active_{number - 1}", f"kernel_{number}", f"bias_{number}"]
        pad = KERNEL // 2
        nodes.append(helper.make_node("Conv", inputs, [f"sum_{number}"], kernel_shape=[KERNEL], pads=[pad, pad]))
        nodes += _activation(number)
    tensors["head_weight"], tensors["head_bias"] = _numpy(network.head.weight), _numpy(network.head.bias)
    last = f"active_{len(CHANNELS)}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "head_weight", "head_bias"], ["logits"], transB=1),
    ]
    return nodes, tensors


def _student_graph(network: Student) -> tuple[list[Any], Tensors]:
    """The student flattens the window itself, minute by minute."""
    tensors: Tensors = {}
    nodes = [helper.make_node("Flatten", ["windows"], ["active_0"], axis=1)]
    for number, layer in enumerate(network.layers, start=1):
        tensors[f"weight_{number}"], tensors[f"bias_{number}"] = _numpy(layer.weight), _numpy(layer.bias)
        last = number == len(network.layers)
        inputs = [f"active_{number - 1}", f"weight_{number}", f"bias_{number}"]
        nodes.append(helper.make_node("Gemm", inputs, ["logits" if last else f"sum_{number}"], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [f"sum_{number}"], [f"active_{number}"]))
    return nodes, tensors


def _activation(number: int) -> list[Any]:
    """Pooling after all but the last convolution, then ReLU."""
    if number == len(CHANNELS):
        return [helper.make_node("Relu", [f"sum_{number}"], [f"active_{number}"])]
    return [
        helper.make_node("MaxPool", [f"sum_{number}"], [f"pooled_{number}"], kernel_shape=[POOLING], strides=[POOLING]),
        helper.make_node("Relu", [f"pooled_{number}"], [f"active_{number}"]),
    ]


def _folded(convolution: nn.Module, norm: nn.Module) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Kernel (out, in, 3) and bias (out,) of convolution and normalisation in one, worked out in float64."""
    kernel, bias = (_numpy(tensor).astype(np.float64) for tensor in (convolution.weight, convolution.bias))
    weight, shift, mean, variance = (
        _numpy(tensor).astype(np.float64) for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    factor = weight / np.sqrt(variance + NORM_EPSILON)
    folded = kernel[:, :, 0, :] * factor[:, None, None]
    return folded.astype(np.float32), ((bias - mean) * factor + shift).astype(np.float32)


def _numpy(tensor: Any) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)


def _write(name: str, nodes: list[Any], tensors: Tensors, target: Path) -> None:
    """Written node by node: nothing of the machine, the time or the exporter gets into the file."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["batch", WINDOW_MINUTES, len(INDICATORS)])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values, key) for key, values in tensors.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="veriregime"
    )
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _check_size(network: nn.Module, expected: int) -> None:
    found = parameter_count(network)
    if found != expected:
        raise ValueError(f"{type(network).__name__} has {found} parameters, the original {expected}")
