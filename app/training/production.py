"""The production model, from recorded candles to a released folder. Read this file first: it is the whole path.

The epoch is chosen on validation; the student is then trained anew for as many epochs on everything before the test,
because the newest months teach the most. Nothing looks at the test period before that, and nothing is chosen after it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from app.candles.files import read_candles
from app.proving import engine
from app.training.circuit import INPUT_SCALE, Weights, circuit_floats, integer_weights
from app.training.datasets import (
    HORIZON_MINUTES,
    Period,
    Samples,
    Series,
    Split,
    calendar_split,
    fit_spec,
    joined,
    samples,
    series_of,
    share_split,
    usable_ends,
)
from app.training.evaluation import forecast_metrics, monthly_metrics, persistence_metrics
from app.training.export import Release, refuse_existing, release_model
from app.training.student import Epoch, StudentConfig, choose_epoch, train_until
from app.types import Candles, FloatArray, iso

CLIP = 3.0
"""In deviations. The largest hours are far out; a small circuit learns more when they are not."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to train: minutes between samples, how to split, and how many real witnesses to compare."""

    split: Callable[[Series], Split]
    train_every: int
    test_every: int
    witnesses: int
    student: StudentConfig


FULL = Plan(split=calendar_split, train_every=5, test_every=1, witnesses=256, student=StudentConfig())
QUICK = Plan(split=share_split, train_every=5, test_every=5, witnesses=8, student=StudentConfig(epochs=4, batch=512))
QUICK_DAYS = 90
"""A quick run looks at the end of the file only."""


def train_production(
    candles: Path, out: Path, *, name: str, seed: int, quick: bool, force: bool, say: Say
) -> dict[str, Any]:
    """Train one student on a candle file and release it as the folder ``out``; gives the manifest.

    Raises `CandleFileInvalid` for a file that cannot be used or is too short, and `ModelFolderInvalid` when ``out``
    exists and ``force`` is not set. The same file, seed and machine give the same bytes.
    """
    refuse_existing(out, force=force)
    plan = QUICK if quick else FULL
    recorded = read_candles(candles)
    series = series_of(_latest(recorded, QUICK_DAYS) if quick else recorded)
    split = plan.split(series)
    spec = fit_spec(series, usable_ends(series, split.train, plan.train_every)[0], clip=CLIP, input_scale=INPUT_SCALE)
    train = samples(series, split.train, spec, every=plan.train_every)
    validation = samples(series, split.validation, spec, every=plan.train_every)
    say(f"training on {len(train)} windows, validating on {len(validation)}; {train.left_out} left out for gaps")
    with _watched("choosing the epoch", plan.student.epochs, say) as watch:
        chosen = choose_epoch(train, validation, plan.student, seed, lambda epoch: watch(epoch.number, _score(epoch)))
    say(f"epoch {chosen.number} is best on validation; training anew on everything before the test")
    with _watched("training", chosen.number, say) as watch:
        weights = train_until(
            joined(train, validation), plan.student, seed, chosen.number, lambda number: watch(number, "")
        )
    test = samples(series, split.test, spec, every=plan.test_every)
    say(f"testing on {len(test)} windows and compiling the circuit")
    record = {
        "data": _data(candles, recorded),
        "split": _periods(series, split, plan, {"train": train, "validation": validation, "test": test}),
        "seed": seed,
        "config": {**asdict(plan.student), "clip": CLIP, "quick": quick, "chosen_epoch": chosen.number},
        "metrics": {
            "validation": forecast_metrics(_proved(chosen.weights, validation), validation),
            **_test_metrics(_proved(weights, test), test),
        },
    }
    release = Release(name, weights, spec, record, test, plan.witnesses)
    return release_model(release, out, force=force)


def _latest(candles: Candles, days: int) -> Candles:
    end_ms = int(candles.open_time_ms[-1]) + 1
    return candles.between(end_ms - days * 86_400_000, end_ms)


def _data(file: Path, candles: Candles) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": engine.sha256_file(file),
        "from": iso(int(candles.open_time_ms[0])),
        "to": iso(int(candles.open_time_ms[-1])),
        "rows": len(candles),
    }


def _periods(series: Series, split: Split, plan: Plan, parts: dict[str, Samples]) -> dict[str, Any]:
    every = {"train": plan.train_every, "validation": plan.train_every, "test": plan.test_every}
    return {
        "embargo_minutes": HORIZON_MINUTES,
        **{name: _period(series, getattr(split, name), part, every[name]) for name, part in parts.items()},
    }


def _period(series: Series, period: Period, part: Samples, every: int) -> dict[str, Any]:
    """First and last window, and how many there are; ``labels_end`` is when the last label is known."""
    return {
        "from": iso(int(part.end_ms[0])),
        "to": iso(int(part.end_ms[-1])),
        "labels_end": iso(int(series.time_ms(period.end))),
        "every_minutes": every,
        "samples": len(part),
        "left_out": part.left_out,
        "high_share": round(float(part.high.mean()), 6),
    }


def _proved(weights: Weights, part: Samples) -> FloatArray:
    """What the circuit computes, since that is what a proof shows and a consumer gets."""
    return circuit_floats(integer_weights(weights), part.observations)


def _test_metrics(outputs: FloatArray, test: Samples) -> dict[str, Any]:
    return {
        "test": forecast_metrics(outputs, test),
        "baselines": {f"persistence_{minutes}": persistence_metrics(test, minutes) for minutes in sorted(test.past)},
        "per_month": monthly_metrics(outputs, test),
    }


@contextmanager
def _watched(what: str, epochs: int, say: Say) -> Iterator[Callable[[int, str], None]]:
    """What to call with every epoch's number and score: a bar on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        yield lambda number, score: say(f"{what}: epoch {number} of {epochs}{score}")
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=epochs)
        yield lambda number, score: bar.update(task, completed=number, description=f"{what}{score}")


def _score(epoch: Epoch) -> str:
    return f", validation loss {epoch.loss:.4f} (regime {epoch.cross_entropy:.4f}, ln vol {epoch.squared_error:.4f})"
