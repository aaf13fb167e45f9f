"""The CNN teacher rewritten so that a circuit can hold it: the same function of the same weights, in other nodes.

A convolution is written as what it is, a product of two matrices: each minute beside its neighbours, times the kernel.
Freivalds' check makes such products cheap, where ezkl lays out its own convolutions number by number (and refuses
those that leave their stride unsaid). The largest of four is taken by three rectified differences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.errors import ModelFolderInvalid
from app.features.classic import INDICATORS, WINDOW_MINUTES
from app.training.export import IR_VERSION, OPSET

POOLING = 4
"""Minutes that become one after every convolution but the last."""
FLOAT, INT = np.float32, np.int64


@dataclass(slots=True)
class _Graph:
    """Nodes and tensors as they come; ``add`` gives the name of what the node makes."""

    nodes: list[Any] = field(default_factory=list)
    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, kind: Any) -> str:
        name = f"constant_{len(self.tensors)}"
        self.tensors[name] = np.asarray(values, dtype=kind)
        return name

    def part(self, value: str, axis: int, first: int, end: int) -> str:
        bounds = (self.constant([number], INT) for number in (first, end, axis))
        return self.add("Slice", value, *bounds)

    def reshaped(self, value: str, *shape: int) -> str:
        return self.add("Reshape", value, self.constant(shape, INT))


def write_provable_teacher(teacher: Path, target: Path) -> None:
    """``teacher``, as `app.training.classic.networks` wrote it, for one window (1, 240, 7) to logits (1, 2).

    Raises `ModelFolderInvalid` when it lacks a tensor of the teacher's.
    """
    model = onnx.load(str(teacher))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    graph = _Graph()
    try:
        _layers(graph, weights)
    except KeyError as error:
        raise ModelFolderInvalid(f"{teacher} is not the teacher of `veriregime train classic`: no {error}") from error
    graph.nodes[-1].output[0] = "logits"
    shapes = {"windows": [1, WINDOW_MINUTES, len(INDICATORS)], "logits": [1, 2]}
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    tensors = [numpy_helper.from_array(values, name) for name, values in graph.tensors.items()]
    proto = helper.make_graph(graph.nodes, "teacher", [inputs], [outputs], tensors)
    written = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="veriregime"
    )
    onnx.checker.check_model(written, full_check=True)
    target.write_bytes(written.SerializeToString(deterministic=True))


def _layers(graph: _Graph, weights: dict[str, Any]) -> None:
    count = sum(name.startswith("kernel_") for name in weights)
    active, minutes = "windows", WINDOW_MINUTES
    for number in range(1, count + 1):
        kernel = weights[f"kernel_{number}"]
        active = _convolution(graph, active, minutes, kernel, weights[f"bias_{number}"])
        if number < count:
            minutes //= POOLING
            active = _largest(graph, active, minutes, len(kernel))
        active = graph.add("Relu", active)
    total = graph.add("ReduceSum", active, graph.constant([1], INT), keepdims=0)
    # The mean over time is a sum, its divisor part of the last weights: nothing has to be divided in the circuit.
    head = graph.add("MatMul", total, graph.constant(weights["head_weight"].T / minutes, FLOAT))
    graph.add("Add", head, graph.constant(weights["head_bias"], FLOAT))


def _convolution(graph: _Graph, active: str, minutes: int, kernel: Any, bias: Any) -> str:
    """(1, minutes, in) to (1, minutes, out); ``kernel`` is (out, in, width) and the edges are padded with zeros."""
    width = kernel.shape[2]
    pad = width // 2
    padded = graph.add("Pad", active, graph.constant([0, pad, 0, 0, pad, 0], INT))
    neighbours = [graph.part(padded, 1, shift, shift + minutes) for shift in range(width)]
    beside = graph.add("Concat", *neighbours, axis=2)
    matrix = graph.constant(np.concatenate([kernel[:, :, shift].T for shift in range(width)]), FLOAT)
    return graph.add("Add", graph.add("MatMul", beside, matrix), graph.constant(bias, FLOAT))


def _largest(graph: _Graph, active: str, minutes: int, channels: int) -> str:
    """(1, 4 · minutes, channels) to the largest of every four minutes, (1, minutes, channels)."""
    fours = graph.reshaped(active, 1, minutes, POOLING, channels)
    parts = [graph.part(fours, 2, first, first + 1) for first in range(POOLING)]
    while len(parts) > 1:
        parts = [_larger(graph, one, other) for one, other in zip(parts[::2], parts[1::2], strict=True)]
    return graph.reshaped(parts[0], 1, minutes, channels)


def _larger(graph: _Graph, one: str, other: str) -> str:
    return graph.add("Add", graph.add("Relu", graph.add("Sub", one, other)), other)
