from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelFolderInvalid
from app.features.classic import CLIP, INDICATORS, NAME, WARM_UP, WINDOW_MINUTES, classic_minutes, standardise
from app.types import MINUTE_MS, Candles

pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnx", reason="onnx comes with the train extra")
import torch

from app.training.classic.baseline import STUDENT, TEACHER, TRAINING, classic_logits
from app.training.classic.networks import Student, make_student, make_teacher, write_onnx

MEAN, DEVIATION = [0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 2.0], [1e-3, 1e-3, 1e-3, 10.0, 1e-3, 1e-3, 0.5]


@pytest.fixture
def student() -> Student:
    return make_student().eval()


@pytest.fixture
def folder(tmp_path: Path, student: Student) -> Path:
    write_onnx(make_teacher().eval(), tmp_path / TEACHER)
    write_onnx(student, tmp_path / STUDENT)
    observation = {"name": NAME, "indicators": INDICATORS, "mean": MEAN, "deviation": DEVIATION, "clip": CLIP}
    (tmp_path / TRAINING).write_text(json.dumps({"observation": observation}))
    return tmp_path


@pytest.fixture
def candles(make_candles: Callable[..., Candles]) -> Candles:
    return make_candles(2_500)


def test_classic_logits__are_what_torch_says_of_the_window(folder: Path, student: Student, candles: Candles) -> None:
    end_ms = int(candles.open_time_ms[-1]) - 77 * MINUTE_MS
    raw, _ = classic_minutes(candles, end_ms - WINDOW_MINUTES * MINUTE_MS, end_ms)
    with torch.no_grad():
        [logits] = student(torch.from_numpy(standardise(raw, MEAN, DEVIATION))[None]).tolist()
    found = classic_logits(folder, candles, np.asarray([end_ms]))
    assert found["student"].tolist() == pytest.approx([logits[1] - logits[0]], abs=1e-5)
    assert np.isfinite(found["teacher"]).all()


def test_classic_logits__any_order_and_number__are_what_each_gives_alone(folder: Path, candles: Candles) -> None:
    end_ms = int(candles.open_time_ms[-1]) - MINUTE_MS * np.random.default_rng(0).permutation(1_300)
    together = classic_logits(folder, candles, end_ms)
    for at in (0, 1_023, 1_024, 1_299):
        for name, alone in classic_logits(folder, candles, end_ms[[at]]).items():
            assert together[name][at] == pytest.approx(alone[0], abs=1e-5)


def test_classic_logits__windows_without_history_or_with_a_gap__are_nan(folder: Path, candles: Candles) -> None:
    gap = 1_400
    rest = Candles.from_rows([row for number, row in enumerate(candles.rows()) if number != gap])
    least = WARM_UP + WINDOW_MINUTES
    after = np.asarray([least - 1, least, gap, gap + 1, gap + least, gap + least + 1, 2_500, 2_501])
    found = classic_logits(folder, rest, int(candles.open_time_ms[0]) + MINUTE_MS * after)
    for margins in found.values():
        assert np.isnan(margins).tolist() == [True, False, False, True, True, False, False, True]


def test_classic_logits__no_window__is_empty(folder: Path, candles: Candles) -> None:
    assert {name: len(m) for name, m in classic_logits(folder, candles, np.asarray([], dtype=np.int64)).items()} == {
        "teacher": 0,
        "student": 0,
    }


def test_classic_logits__folder_without_training__says_how_to_make_it(tmp_path: Path, candles: Candles) -> None:
    with pytest.raises(ModelFolderInvalid, match="veriregime train classic"):
        classic_logits(tmp_path, candles, candles.open_time_ms[-1:])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"observation": {"name": "variation-v1", "indicators": []}}'])
def test_classic_logits__another_training_file__is_refused(folder: Path, candles: Candles, text: str) -> None:
    (folder / TRAINING).write_text(text)
    with pytest.raises(ModelFolderInvalid):
        classic_logits(folder, candles, candles.open_time_ms[-1:])


def test_classic_logits__missing_network__is_refused_by_name(folder: Path, candles: Candles) -> None:
    (folder / STUDENT).unlink()
    with pytest.raises(ModelFolderInvalid, match=STUDENT):
        classic_logits(folder, candles, candles.open_time_ms[-1:])
