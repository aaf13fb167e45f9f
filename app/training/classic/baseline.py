"""The trained classic networks as forecasters, for whoever compares them with others. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ModelFolderInvalid
from app.features.classic import (
    INDICATORS,
    NAME,
    WINDOW_MINUTES,
    classic_minutes,
    complete_windows,
    standardise,
    windows,
)
from app.inference.network import BatchSession
from app.judging.scores import Forecasts, of_margin
from app.training.datasets import Samples
from app.types import MINUTE_MS, Candles, FloatArray, IntArray, parse_time

TEACHER, STUDENT, TRAINING, REPORT = "teacher.onnx", "student.onnx", "training.json", "REPORT.md"
"""The files of a classic folder."""
NETWORKS = {"teacher": TEACHER, "student": STUDENT}
FILES = (TEACHER, STUDENT, TRAINING)
"""What its forecasts depend on."""
BATCH = 1024


def classic_logits(folder: Path, candles: Candles, end_ms: IntArray) -> dict[str, FloatArray]:
    """What teacher and student say about windows: ``logit_high − logit_low``, float64 (n,), above 0 is high.

    ``end_ms`` int64 (n,) are the windows' ends, on whole minutes and in any order. A window without complete indicators
    (`app.features.classic`) has NaN. Raises `ModelFolderInvalid` when ``folder`` is not what training wrote.
    """
    observation = _observation(folder)
    sessions = {name: _session(folder / file) for name, file in NETWORKS.items()}
    margins = {name: np.full(len(end_ms), np.nan) for name in sessions}
    if not len(end_ms):
        return margins
    start_ms = int(end_ms.min()) - WINDOW_MINUTES * MINUTE_MS
    raw, valid = classic_minutes(candles, start_ms, int(end_ms.max()))
    minutes = standardise(raw, observation["mean"], observation["deviation"], observation["clip"])
    ends = (end_ms - start_ms) // MINUTE_MS
    usable = np.flatnonzero(complete_windows(valid, ends))
    for first in range(0, len(usable), BATCH):
        rows = usable[first : first + BATCH]
        batch = windows(minutes, ends[rows])
        for name, session in sessions.items():
            logits = session.run(batch).astype(np.float64)
            margins[name][rows] = logits[:, 1] - logits[:, 0]
    return margins


def classic_forecasts(folder: Path, candles: Candles, samples: Samples) -> dict[str, Forecasts]:
    """What both networks say about the samples' windows; where their own input has a gap, they say low.

    They forecast no volatility. Raises `ModelFolderInvalid` as `classic_logits` does.
    """
    margins = classic_logits(folder, candles, samples.end_ms)
    return {f"classic_{name}": of_margin(np.nan_to_num(margin, nan=-1.0)) for name, margin in margins.items()}


def check_classic(folder: Path) -> None:
    """Raise `ModelFolderInvalid` unless ``folder`` is what training wrote, so that it is known before hours of work."""
    _observation(folder)
    learnt_from(folder)
    for file in NETWORKS.values():
        _session(folder / file)


def learnt_from(folder: Path) -> tuple[int, int]:
    """The time (ms UTC) in which the networks have seen answers, to learn from or to stop by."""
    try:
        split = json.loads((folder / TRAINING).read_text())["split"]
        return parse_time(split["train"]["from"]), parse_time(split["validation"]["labels_end"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelFolderInvalid(f"{folder / TRAINING} lacks or misstates {error}") from error


def _observation(folder: Path) -> Mapping[str, Any]:
    try:
        entry: dict[str, Any] = json.loads((folder / TRAINING).read_text())["observation"]
        if entry["name"] != NAME or entry["indicators"] != list(INDICATORS):
            raise ModelFolderInvalid(f"{folder}: its networks do not see {NAME} as this version makes it")
        if not len(entry["mean"]) == len(entry["deviation"]) == len(INDICATORS):
            raise ModelFolderInvalid(f"{folder}: mean and deviation must hold {len(INDICATORS)} numbers each")
    except OSError as error:
        raise ModelFolderInvalid(f"{folder} has no {TRAINING}: make it with `veriregime train classic`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFolderInvalid(f"{folder / TRAINING} is not what `veriregime train classic` writes") from error
    return entry


def _session(path: Path) -> BatchSession:
    if not path.is_file():
        raise ModelFolderInvalid(f"{path} is missing: make it with `veriregime train classic`")
    return BatchSession(path)
