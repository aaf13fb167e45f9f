"""A released model on a candle file, beside the baselines that need no training: ``veriregime evaluate``.

The network is the one that serves, so nothing of the train extra is needed. It differs from the circuit by float32
rounding only, far below what moves a metric.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.candles.files import read_candles
from app.errors import CandleFileInvalid, ModelFolderInvalid, UnknownModel
from app.features.realised import HORIZON_MINUTES, THRESHOLD, Series, series_of
from app.features.variation import WINDOW_MINUTES, VariationSpec
from app.inference.network import Network
from app.inference.release import ReleasedModel, load_models
from app.judging.scores import DIGITS, MODEL, Forecasts, forecasts_of, metrics, monthly
from app.training.baselines import HarRv, Persistence
from app.training.classic.baseline import classic_forecasts, learnt_from
from app.training.datasets import Observations, Period, Samples, samples
from app.types import MINUTE_MS, FloatArray, iso, parse_time

EVERY_MINUTES = 1
PERSISTENCES = (Persistence(60), Persistence(240))
HAR_RV = "har_rv"
CLASSIC = "classic"
"""The folder among the models that holds the original experiment's networks; they are no model that could serve."""
CHUNK = 20_000
"""Windows given to the network at once: its copies of them take 50 MB instead of gigabytes."""


def evaluate(
    candles: Path, models_dir: Path, *, model: str | None, start_ms: int | None, end_ms: int | None
) -> dict[str, Any]:
    """Metrics of a released model over all usable windows of the file that end in ``[start_ms, end_ms)``.

    Windows are a minute apart; their week of history and the hours of their label may lie outside the range, but not
    outside the file. ``model`` is the name of a model or of its folder; None takes the only one there is.

    Raises `CandleFileInvalid` for a file that cannot be used or has too few usable windows in the range, `UnknownModel`
    when the name does not tell one model, and `ModelFolderInvalid` when its folder does not hold.
    """
    judged = choose_model(load_models(models_dir), models_dir, model)
    recorded = read_candles(candles)
    series = series_of(recorded)
    windows = usable_windows(series, candles, judged, start_ms, end_ms)
    forecasts = {MODEL: forecasts_of(network_outputs(Network(judged), windows.observations))}
    forecasts |= baseline_forecasts(judged, windows)
    warnings = _warnings(judged, windows)
    if (models_dir / CLASSIC).is_dir():
        forecasts |= classic_forecasts(models_dir / CLASSIC, recorded, windows)
        warnings += _classic_warnings(models_dir / CLASSIC, windows)
    found = {name: metrics(said, windows) for name, said in forecasts.items()}
    return {
        "model_name": judged.name,
        "model_id": judged.model_id,
        "file": candles.name,
        "file_sha256": _sha256(candles),
        "n": len(windows),
        "left_out": windows.left_out,
        "high_share": round(float(windows.high.mean()), DIGITS),
        "period": {"from": iso(int(windows.end_ms[0])), "to": iso(int(windows.end_ms[-1]))},
        "every_minutes": EVERY_MINUTES,
        "model": found.pop(MODEL),
        "baselines": found,
        "per_month": monthly(forecasts, windows),
        "warnings": warnings,
    }


def choose_model(models: Mapping[str, ReleasedModel], models_dir: Path, name: str | None) -> ReleasedModel:
    """The model of that name or folder; without a name the only one. Raises `UnknownModel` when that is not one."""
    if not models:
        raise UnknownModel(f"there is no released model in {models_dir}")
    there = ", ".join(models)
    if name is None:
        if len(models) > 1:
            raise UnknownModel(f"{models_dir} holds {there}: say which one with --model")
        return next(iter(models.values()))
    for model in models.values():
        if name in (model.name, model.folder.name):
            return model
    raise UnknownModel(f"no released model in {models_dir} is named {name!r}: there is {there}")


def network_outputs(network: Network, observations: Observations) -> FloatArray:
    """Raw outputs of many observations: int16 (n, inputs) to float64 (n, 3)."""
    steps = range(0, len(observations), CHUNK)
    return np.concatenate([network.outputs(observations[first : first + CHUNK].astype(np.int64)) for first in steps])


def baseline_forecasts(model: ReleasedModel, windows: Samples) -> dict[str, Forecasts]:
    """Persistence, and HAR-RV as fitted on the model's own training windows, where its manifest has it."""
    forecasts = {past.name: past.forecasts(windows) for past in PERSISTENCES}
    record = _training(model).get("baselines", {}).get(HAR_RV)
    if record is not None:
        try:
            forecasts[HAR_RV] = HarRv.from_record(record).forecasts(windows)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFolderInvalid(f"{model.folder}: the manifest's har_rv lacks or misstates {error}") from error
    return forecasts


def as_text(result: Mapping[str, Any]) -> str:
    """The result as a table for people."""
    period, columns = result["period"], {MODEL: result["model"], **result["baselines"]}
    lines = [
        f"{result['model_name']} ({result['model_id'][:16]}…) on {result['file']}",
        f"{result['n']:,} windows, {result['every_minutes']} minute apart, from {period['from']} to {period['to']}; "
        f"{result['left_out']:,} left out; {result['high_share']:.1%} high",
        *(f"warning: {warning}" for warning in result["warnings"]),
        "",
        _row("", list(columns)),
        *(_row(key, [_number(column[key]) for column in columns.values()]) for key in result["model"]),
        "",
        "points of accuracy above the better persistence, by month",
        *(
            f"  {row['month']}  {row['points_above_persistence_better']:+5.1f}  "
            f"accuracy {row['accuracy']:.3f}, {row['high_share']:.1%} high, {row['samples']:,} windows"
            for row in result["per_month"]
        ),
    ]
    return "\n".join(lines)


def usable_windows(
    series: Series, candles: Path | str, model: ReleasedModel, start_ms: int | None, end_ms: int | None
) -> Samples:
    """Every window of ``candles`` that serving would not refuse and that has a label, a minute apart."""
    try:
        spec = VariationSpec.from_manifest(model.manifest["observation"])
        stated = (model.manifest["horizon_minutes"], model.manifest["threshold"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFolderInvalid(f"{model.folder}: its manifest cannot be used: {error}") from error
    if stated != (HORIZON_MINUTES, THRESHOLD):
        raise ModelFolderInvalid(
            f"{model.folder} forecasts {stated[0]} minutes against {stated[1]}: only {HORIZON_MINUTES} minutes against "
            f"{THRESHOLD} can be judged here"
        )
    holds = f"{candles} holds candles from {iso(series.start_ms)} to {iso(series.end_ms)}"
    period = _period(series, start_ms, end_ms)
    if period.start + HORIZON_MINUTES > period.end:
        raise CandleFileInvalid(
            f"{holds}: no window in the range has a week of them before it and {HORIZON_MINUTES} minutes after it"
        )
    try:
        return samples(series, period, spec, every=EVERY_MINUTES, to_train=False)
    except CandleFileInvalid as error:
        raise CandleFileInvalid(f"{holds}; {error}") from error


def _period(series: Series, start_ms: int | None, end_ms: int | None) -> Period:
    """The minutes that windows ending in ``[start_ms, end_ms)`` and their labels may take, within the file."""
    start = 0 if start_ms is None else _minutes_up(start_ms - series.start_ms)
    end = len(series) if end_ms is None else _minutes_up(end_ms - series.start_ms) - 1 + HORIZON_MINUTES
    return Period(max(start, WINDOW_MINUTES + 1), min(end, len(series)))


def _warnings(model: ReleasedModel, windows: Samples) -> list[str]:
    """What a reader of the numbers has to know about them."""
    told = []
    training = _training(model)
    if training.get("quick"):
        told.append("the model was made by a quick run, to try the software")
    try:
        learnt = training["split"]["train"]
        start_ms, end_ms = parse_time(learnt["from"]), parse_time(learnt["labels_end"])
    except (KeyError, TypeError, ValueError):
        return [*told, "the manifest does not say which time the model was trained on"]
    seen = _within(windows, start_ms, end_ms)
    if seen:
        told.append(
            f"{seen:,} of {len(windows):,} windows lie in the time that the model was trained on, {iso(start_ms)} to "
            f"{iso(end_ms)}: of the market it learnt from, it has seen the answers there"
        )
    return told


def _classic_warnings(folder: Path, windows: Samples) -> list[str]:
    start_ms, end_ms = learnt_from(folder)
    seen = _within(windows, start_ms, end_ms)
    if not seen:
        return []
    return [
        f"{seen:,} windows lie in the time that the classic networks were made with: they look better than they are"
    ]


def _within(windows: Samples, start_ms: int, end_ms: int) -> int:
    """How many windows or their labels reach into a stretch of time."""
    return int(((windows.end_ms + HORIZON_MINUTES * MINUTE_MS > start_ms) & (windows.end_ms < end_ms)).sum())


def _training(model: ReleasedModel) -> Mapping[str, Any]:
    training = model.manifest.get("training")
    return training if isinstance(training, Mapping) else {}


def _minutes_up(duration_ms: int) -> int:
    return -(-duration_ms // MINUTE_MS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row(label: str, values: list[str]) -> str:
    return f"{label:18}" + "".join(f"{value:>16}" for value in values)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
