"""The original experiment again: a CNN teacher, a distilled MLP student, their figures beside the original's.

Read this file first: it is the whole path. The teacher learns from the labels, its logits of every training window are
worked out once, the student learns from both, and only then is the test period looked at.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app import __version__
from app.candles.files import read_candles
from app.features.classic import CLIP, INDICATORS, NAME, WARM_UP, WINDOW_MINUTES
from app.features.realised import HORIZON_MINUTES, THRESHOLD, is_high
from app.inference.network import BatchSession
from app.judging.scores import auc, class_metrics
from app.proving import engine
from app.training.classic.baseline import NETWORKS, REPORT, TRAINING
from app.training.classic.data import ClassicData, Part, classic_data
from app.training.classic.networks import (
    LARGEST_BATCH,
    make_student,
    make_teacher,
    parameter_count,
    write_onnx,
)
from app.training.classic.report import classic_report
from app.training.classic.training import Recipe, Trained, Windows, predict, train_network
from app.training.distillation import distillation_loss
from app.training.export import in_place_of, refuse_existing
from app.training.kept import KeptWork
from app.training.threads import MOST_THREADS, using_threads
from app.training.watch import Say, watched
from app.types import MINUTE_MS, Candles, FloatArray, iso

SAMPLES = 972_631
"""As the original states them."""
PARITY_BATCHES = (1, 7, LARGEST_BATCH)
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to train on, and how."""

    samples: int
    every: int
    """Minutes between samples."""
    threads: int
    teacher: Recipe
    student: Recipe
    temperature: float = 4.0
    teacher_weight: float = 0.7
    """α: the teacher's share in the student's loss."""


FULL = Plan(samples=SAMPLES, every=1, threads=MOST_THREADS, teacher=Recipe(), student=Recipe())
_SHORT = Recipe(epochs=3, batch=256, learning_rate=1e-3)
QUICK = Plan(samples=20_000, every=5, threads=1, teacher=_SHORT, student=_SHORT)
"""Ten weeks, a few passes: for trying the software."""


@dataclass(frozen=True, slots=True)
class ClassicReport:
    """What came out, as written to ``training.json`` and ``REPORT.md``."""

    record: dict[str, Any]
    text: str


def train_classic(
    candles: Path, out: Path, *, kept: Path, seed: int, quick: bool, force: bool, say: Say
) -> ClassicReport:
    """Train teacher and student on a candle file and write them with their report to the folder ``out``.

    An interrupted run goes on where it was, from what it left under ``kept``, and ends with the bytes that it would
    have written uninterrupted: the same file, seed, configuration, versions and machine give the same bytes.

    Raises `CandleFileInvalid` for a file that cannot be used or is too short, and `ModelFolderInvalid` when ``out``
    exists and ``force`` is not set.
    """
    refuse_existing(out, force=force)
    plan = QUICK if quick else FULL
    recorded = read_candles(candles)
    data = classic_data(recorded, plan.samples, plan.every)
    source = _source(candles, recorded)
    work = KeptWork(kept, "classic", _identity(source["sha256"], plan, seed, quick=quick))
    if work.resumed:
        say("going on with the run that was interrupted")
    _announce(data, say)
    with using_threads(plan.threads):
        trained = _train(data, plan, seed, work, say)
        say(f"testing on {len(data.test)} windows")
        with in_place_of(out) as folder:
            for name, each in trained.items():
                write_onnx(each.network, folder / NETWORKS[name])
            found = _findings(trained, data, folder)
            record = {"data": source, **_setting(data, plan, seed, quick=quick), **found, "versions": _versions()}
            report = ClassicReport(record, classic_report(record))
            (folder / TRAINING).write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n")
            (folder / REPORT).write_text(report.text)
    work.finish()
    return report


def _train(data: ClassicData, plan: Plan, seed: int, work: KeptWork, say: Say) -> dict[str, Trained]:
    parts = Windows(data.minutes, data.train), Windows(data.minutes, data.validation)
    high = parts[0].high

    def from_labels(logits: Tensor, rows: Tensor) -> Tensor:
        return functional.cross_entropy(logits, high[rows])

    def from_teacher(logits: Tensor, rows: Tensor) -> Tensor:
        each = distillation_loss(
            logits, taught[rows], high[rows], temperature=plan.temperature, teacher_weight=plan.teacher_weight
        )
        return each.mean()

    with watched("teacher", plan.teacher.epochs, say) as watch:
        teacher = train_network(
            "teacher", make_teacher, plan.teacher, parts, from_labels, kept=work, seed=seed, on_epoch=_timed(watch)
        )
    say(f"teacher: epoch {teacher.best_epoch} is best on validation; asking it about every training window")
    taught: Tensor = work.stage("teacher-logits", lambda: predict(teacher.network, parts[0]))
    with watched("student", plan.student.epochs, say) as watch:
        student = train_network(
            "student", make_student, plan.student, parts, from_teacher, kept=work, seed=seed, on_epoch=_timed(watch)
        )
    say(f"student: epoch {student.best_epoch} is best on validation")
    return {"teacher": teacher, "student": student}


def _timed(watch: Callable[[int, str], None]) -> Callable[[dict[str, float | int]], None]:
    """Seconds are said and never written: files must not differ from run to run."""
    since = time.monotonic()

    def on_epoch(epoch: dict[str, float | int]) -> None:
        nonlocal since
        now = time.monotonic()
        loss, accuracy = epoch["validation_loss"], epoch["validation_accuracy"]
        watch(int(epoch["epoch"]), f", validation loss {loss:.4f}, accuracy {accuracy:.2%}, {now - since:.0f} s")
        since = now

    return on_epoch


def _announce(data: ClassicData, say: Say) -> None:
    taken = f"{data.samples} windows" + ("" if data.samples >= SAMPLES else f" (the original has {SAMPLES})")
    parts = ", ".join(f"{name} {len(part)}" for name, part in data.parts().items())
    say(f"{taken}: {parts}; {data.left_out} left out for gaps")


def _findings(trained: dict[str, Trained], data: ClassicData, folder: Path) -> dict[str, Any]:
    """What there is to say of the trained networks and of their files in ``folder``."""
    margins = {name: _margins(each, data) for name, each in trained.items()}
    return {
        "networks": {name: _network(each, folder / NETWORKS[name]) for name, each in trained.items()},
        "metrics": {"test": _test_metrics(data.test, margins)},
        "parity": {name: _parity(each, data, folder / NETWORKS[name]) for name, each in trained.items()},
    }


def _margins(trained: Trained, data: ClassicData) -> FloatArray:
    """``logit_high − logit_low`` of every test window, float64 (n,)."""
    logits = predict(trained.network, Windows(data.minutes, data.test)).double().numpy()
    margins: FloatArray = logits[:, 1] - logits[:, 0]
    return margins


def _test_metrics(test: Part, margins: dict[str, FloatArray]) -> dict[str, Any]:
    high_share = float(test.high.mean())
    judged = {name: _metrics(margin > 0, margin, test) for name, margin in margins.items()}
    past = {f"persistence_{minutes}": _metrics(is_high(std), std, test) for minutes, std in test.past.items()}
    teacher, student = (float(((margins[name] > 0) == test.high).mean()) for name in ("teacher", "student"))
    return {
        "samples": len(test),
        "high_share": round(high_share, DIGITS),
        "larger_class": {"accuracy": round(max(high_share, 1 - high_share), DIGITS)},
        "retention": round(student / teacher, DIGITS) if teacher else None,
        **judged,
        **past,
    }


def _metrics(said: Any, score: FloatArray, test: Part) -> dict[str, float | None]:
    found = {**class_metrics(said, test.high), "auc": auc(score, test.high)}
    return {name: None if value is None else round(value, DIGITS) for name, value in found.items()}


def _parity(trained: Trained, data: ClassicData, file: Path) -> dict[str, Any]:
    """torch and onnxruntime side by side on test windows, evenly over time, in batches of several sizes."""
    session, test = BatchSession(file), Windows(data.minutes, data.test)
    differences, agreed = {}, []
    for size in PARITY_BATCHES:
        batch = test[torch.linspace(0, len(test) - 1, min(size, len(test))).long()]
        with torch.no_grad():
            expected = trained.network(batch).numpy()
        found = session.run(batch.numpy())
        differences[str(len(batch))] = float(f"{np.abs(found - expected).max():.3e}")
        agreed.append((found[:, 1] > found[:, 0]) == (expected[:, 1] > expected[:, 0]))
    share = float(np.concatenate(agreed).mean())
    return {"largest_difference_by_batch": differences, "class_agreement": round(share, DIGITS)}


def _network(trained: Trained, file: Path) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": engine.sha256_file(file),
        "parameters": parameter_count(trained.network),
        "best_epoch": trained.best_epoch,
        "history": trained.history,
    }


def _source(file: Path, recorded: Candles) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": engine.sha256_file(file),
        "from": iso(int(recorded.open_time_ms[0])),
        "to": iso(int(recorded.open_time_ms[-1])),
        "rows": len(recorded),
    }


def _setting(data: ClassicData, plan: Plan, seed: int, *, quick: bool) -> dict[str, Any]:
    """What was asked of the networks: samples, split, inputs, configuration."""
    return {
        "seed": seed,
        "quick": quick,
        "config": asdict(plan),
        "label": {"horizon_minutes": HORIZON_MINUTES, "threshold": THRESHOLD},
        "observation": {
            "name": NAME,
            "window_minutes": WINDOW_MINUTES,
            "warm_up_minutes": WARM_UP,
            "indicators": list(INDICATORS),
            "mean": data.mean.tolist(),
            "deviation": data.deviation.tolist(),
            "clip": CLIP,
        },
        "samples": {
            "wanted": plan.samples,
            "taken": data.samples,
            "every_minutes": plan.every,
            "left_out_for_gaps": data.left_out,
            "embargo_minutes": HORIZON_MINUTES,
            "lost_to_embargo": data.samples - sum(len(part) for part in data.parts().values()),
        },
        "split": {name: _period(data, part) for name, part in data.parts().items()},
    }


def _period(data: ClassicData, part: Part) -> dict[str, Any]:
    """First and last window end; ``labels_end`` is when the last label is known."""
    end_ms = data.end_ms(part)
    return {
        "from": iso(int(end_ms[0])),
        "to": iso(int(end_ms[-1])),
        "labels_end": iso(int(end_ms[-1]) + HORIZON_MINUTES * MINUTE_MS),
        "samples": len(part),
        "high_share": round(float(part.high.mean()), DIGITS),
    }


def _identity(sha256: str, plan: Plan, seed: int, *, quick: bool) -> dict[str, Any]:
    """All that decides the result. Another of these is another run and begins anew."""
    return {"candles": sha256, "seed": seed, "quick": quick, "config": asdict(plan), "versions": _versions()}


def _versions() -> dict[str, str]:
    packages = ("numpy", "onnx", "onnxruntime", "torch")
    return {
        "python": platform.python_version(),
        "veriregime": __version__,
        **{name: version(name) for name in packages},
    }
