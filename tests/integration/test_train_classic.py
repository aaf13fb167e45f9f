from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from app.candles.files import read_candles
from app.errors import CandleFileInvalid, ModelFolderInvalid
from app.proving.engine import sha256_file
from app.types import MINUTE_MS, parse_time

pytest.importorskip("torch", reason="torch comes with the train extra")
from app.features.realised import is_high
from app.training.classic import experiment as classic
from app.training.classic.baseline import classic_logits
from app.training.classic.data import classic_data
from app.training.classic.experiment import QUICK, ClassicReport, train_classic
from app.training.classic.report import classic_report

DAYS = 35
GAP = 30_000
FILES = {"teacher.onnx", "student.onnx", "training.json", "REPORT.md"}


def write_candles(path: Path, days: int) -> Path:
    """Candles whose volatility clusters for about a day and crosses the threshold; one minute is missing."""
    rng = np.random.default_rng(11)
    minutes = np.arange(days * 1440)
    level = np.zeros(days * 24 + 1)
    for hour, shock in enumerate(rng.normal(0, 0.4, days * 24), start=1):
        level[hour] = 0.93 * level[hour - 1] + shock
    size = 0.0005 * np.exp(0.6 * np.interp(minutes / 60, np.arange(len(level)), level))
    closes = 20_000 * np.exp(np.cumsum(rng.normal(0, size)))
    opens = np.concatenate(([20_000], closes[:-1]))
    table = {
        "open_time": parse_time("2024-01-01T00:00:00Z") + MINUTE_MS * minutes,
        "open": opens,
        "high": np.maximum(opens, closes),
        "low": np.minimum(opens, closes),
        "close": closes,
        "volume": rng.gamma(2.0, 1e5 * size),
    }
    pa_parquet.write_table(pa.table({name: np.delete(values, GAP) for name, values in table.items()}), path)
    return path


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_candles(tmp_path_factory.mktemp("candles") / "synthetic.parquet", DAYS)


@pytest.fixture(scope="module")
def whole(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    root = tmp_path_factory.mktemp("whole")
    done = command(candles, root)
    _, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    return root / "classic"


def command(candles: Path, var: Path) -> subprocess.Popen[str]:
    """``veriregime train classic --quick --json`` with everything under ``var``."""
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "train", "classic", "--candles", candles, "--quick", "--seed", "3", "--json"],
        env={**os.environ, "VERIREGIME_VAR_DIR": str(var)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def quick(candles: Path, root: Path, say: Any = lambda _: None, **options: Any) -> ClassicReport:
    options = {"kept": root / "training", "seed": 3, "quick": True, "force": False, **options}
    return train_classic(candles, root / "classic", say=say, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return found


def test_train_classic__quick__writes_networks_record_and_report(whole: Path, candles: Path) -> None:
    record = record_of(whole)
    assert set(contents(whole)) == FILES
    assert [path.name for path in whole.parent.iterdir() if not path.name.startswith("training")] == ["classic"]
    assert record["data"]["sha256"] == sha256_file(candles)
    assert record["networks"]["teacher"]["parameters"] == 35_778
    assert record["networks"]["student"]["parameters"] == 471_618
    assert record["networks"]["teacher"]["sha256"] == sha256_file(whole / "teacher.onnx")


def test_train_classic__record__states_a_split_in_which_no_label_looks_into_the_next_part(whole: Path) -> None:
    record = record_of(whole)
    parts = [record["split"][name] for name in ("train", "validation", "test")]
    for earlier, later in pairwise(parts):
        assert earlier["from"] < earlier["labels_end"] <= later["from"]
    assert record["samples"]["left_out_for_gaps"] == pytest.approx((240 + 240 + 511) / 5, abs=1)
    assert sum(part["samples"] for part in parts) == record["samples"]["taken"] - record["samples"]["lost_to_embargo"]


def test_train_classic__networks__learn_that_volatility_lasts(whole: Path) -> None:
    test = record_of(whole)["metrics"]["test"]
    assert test["teacher"]["auc"] > 0.7
    assert test["student"]["auc"] > 0.7
    assert test["retention"] == pytest.approx(test["student"]["accuracy"] / test["teacher"]["accuracy"], abs=1e-5)


def test_train_classic__onnx__says_what_torch_says(whole: Path) -> None:
    for parity in record_of(whole)["parity"].values():
        assert set(parity["largest_difference_by_batch"]) == {"1", "7", "1024"}
        assert max(parity["largest_difference_by_batch"].values()) < 1e-4
        assert parity["class_agreement"] >= 0.998


def test_train_classic__folder__gives_an_evaluator_the_same_accuracy(whole: Path, candles: Path) -> None:
    recorded, record = read_candles(candles), record_of(whole)
    data = classic_data(recorded, QUICK.samples, QUICK.every)
    for name, margins in classic_logits(whole, recorded, data.end_ms(data.test)).items():
        accuracy = float(((margins > 0) == data.test.high).mean())
        assert accuracy == pytest.approx(record["metrics"]["test"][name]["accuracy"], abs=1e-3)
    persistence = float((is_high(data.test.past[60]) == data.test.high).mean())
    assert record["metrics"]["test"]["persistence_60"]["accuracy"] == pytest.approx(persistence, abs=1e-6)


def test_train_classic__report__shows_the_original_beside_the_figures(whole: Path) -> None:
    text, test = (whole / "REPORT.md").read_text(), record_of(whole)["metrics"]["test"]
    assert max(map(len, text.splitlines())) <= 120
    assert f"| teacher accuracy | 74.62 % | {100 * test['teacher']['accuracy']:.2f} % |" in text
    assert f"| student macro F1 | 0.7218 | {test['student']['f1']:.4f} |" in text
    assert f"| 97.1 % | {100 * test['retention']:.1f} % |" in text
    assert "quick run" in text


def test_train_classic__report_of_a_short_file__says_that_it_is_short(whole: Path) -> None:
    record = {**record_of(whole), "quick": False}
    text = classic_report(record)
    assert "quick run" not in text
    assert f"only {record['samples']['taken']:,} usable windows, fewer than the original's" in text
    full = {**record, "samples": {**record["samples"], "taken": 972_631}}
    assert "fewer than the original's" not in classic_report(full)


@pytest.mark.slow
def test_train_classic__terminated_by_ctrl_c__goes_on_to_the_same_bytes(
    whole: Path, candles: Path, tmp_path: Path
) -> None:
    first = command(candles, tmp_path)
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith("teacher: epoch 1 "):
            first.send_signal(signal.SIGINT)
            break
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130, errors
    assert "run the same command again" in errors
    assert not (tmp_path / "classic").exists()
    again = command(candles, tmp_path)
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "going on with the run that was interrupted" in errors
    assert "teacher: epoch 1 of" not in errors
    assert json.loads(output) == record_of(whole)
    assert contents(tmp_path / "classic") == contents(whole)
    assert list((tmp_path / "training").iterdir()) == [], "nothing is kept of a finished run"


@pytest.mark.parametrize("at", ["teacher: epoch 2 of 2", "asking it", "student: epoch 1 of 2", "testing on"])
def test_train_classic__interrupted_anywhere__goes_on_to_the_same_bytes(
    small_whole: Path, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(classic, "QUICK", SMALL)

    def interrupt(line: str) -> None:
        if at in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(candles, tmp_path, interrupt)
    quick(candles, tmp_path)
    assert contents(tmp_path / "classic") == contents(small_whole)


SMALL = replace(
    QUICK, samples=5_000, teacher=replace(QUICK.teacher, epochs=2), student=replace(QUICK.student, epochs=2)
)


@pytest.fixture(scope="module")
def small_whole(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classic, "QUICK", SMALL)
        quick(candles, root)
    return root / "classic"


def test_train_classic__another_seed__does_not_go_on_with_what_was_kept(
    candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classic, "QUICK", SMALL)

    def until_kept(line: str) -> None:
        if "teacher: epoch 1" in line:
            raise KeyboardInterrupt

    for seed in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            quick(candles, tmp_path, until_kept, seed=seed)
    assert len(list((tmp_path / "training").iterdir())) == 2


def test_train_classic__existing_folder__is_refused_before_any_work(candles: Path, tmp_path: Path) -> None:
    (tmp_path / "classic").mkdir()
    with pytest.raises(ModelFolderInvalid, match="--force"):
        quick(tmp_path / "missing.parquet", tmp_path)


def test_train_classic__force__replaces_the_folder(
    small_whole: Path, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classic, "QUICK", SMALL)
    (tmp_path / "classic").mkdir()
    (tmp_path / "classic" / "stale").touch()
    quick(candles, tmp_path, force=True)
    assert contents(tmp_path / "classic") == contents(small_whole)


def test_train_classic__short_file__says_what_is_needed(candles: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.parquet"
    pa_parquet.write_table(pa_parquet.read_table(candles).slice(0, 20_000), short)
    with pytest.raises(CandleFileInvalid, match="too few"):
        quick(short, tmp_path)
    assert not (tmp_path / "classic").exists()
