from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx comes with the train extra")
pytest.importorskip("torch", reason="torch comes with the train extra")
import onnx
import torch

from app.inference.network import BatchSession
from app.training.classic.networks import (
    STUDENT_PARAMETERS,
    TEACHER_PARAMETERS,
    make_student,
    make_teacher,
    parameter_count,
    write_onnx,
)


def used(network: torch.nn.Module) -> torch.nn.Module:
    """A network as after training: nothing is 0 or 1 any more, and some normalisations turn their channel round."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.dtype == torch.float32:
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in network.named_buffers():
            if name.endswith("running_var"):
                tensor.abs_().add_(0.1)
        for name, tensor in network.named_parameters():
            if name.startswith("norms") and name.endswith("weight"):
                tensor[::3] *= -1
    return network.eval()


def some_windows(count: int) -> torch.Tensor:
    return torch.randn(count, 240, 7, generator=torch.Generator().manual_seed(count))


def test_teacher__has_the_originals_parameters() -> None:
    assert parameter_count(make_teacher()) == TEACHER_PARAMETERS == 35_778


def test_student__has_the_originals_parameters() -> None:
    assert parameter_count(make_student()) == STUDENT_PARAMETERS == 471_618


def test_teacher__is_three_conv1d_with_pooling_in_between() -> None:
    teacher = used(make_teacher())
    functional = torch.nn.functional
    active = some_windows(3).permute(0, 2, 1).contiguous()
    for number, (conv, norm) in enumerate(zip(teacher.convolutions, teacher.norms, strict=True)):
        active = functional.conv1d(active, conv.weight[:, :, 0, :].contiguous(), conv.bias, padding=1)
        active = functional.batch_norm(active, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        active = functional.relu(active)
        active = functional.max_pool1d(active, 4) if number < 2 else active
    expected = teacher.head(active.mean(dim=2))
    assert torch.allclose(teacher(some_windows(3)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [make_teacher, make_student])
@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_write_onnx__any_batch__gives_the_logits_of_torch(make: type, batch: int, tmp_path: Path) -> None:
    network = used(make())
    write_onnx(network, tmp_path / "network.onnx")
    with torch.no_grad():
        expected = network(some_windows(batch)).numpy()
    found = BatchSession(tmp_path / "network.onnx").run(some_windows(batch).numpy())
    assert found.shape == (batch, 2)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("make", [make_teacher, make_student])
def test_write_onnx__file__is_opset_18_with_a_free_batch(make: type, tmp_path: Path) -> None:
    write_onnx(make().eval(), tmp_path / "network.onnx")
    model = onnx.load(tmp_path / "network.onnx")
    [shape] = [value.type.tensor_type.shape.dim for value in model.graph.input]
    assert (shape[0].dim_param, shape[1].dim_value, shape[2].dim_value) == ("batch", 240, 7)
    assert ([entry.version for entry in model.opset_import], model.ir_version) == ([18], 8)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_write_onnx__another_network__is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Linear is neither"):
        write_onnx(torch.nn.Linear(1, 1), tmp_path / "network.onnx")
