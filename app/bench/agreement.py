"""Float against circuit on real windows: ``veriregime bench agreement``.

Every window is run through onnxruntime and through the real circuit, whose outputs are read from its witness.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from app.bench.inputs import Windows
from app.candles.files import read_candles
from app.errors import CandleFileInvalid
from app.features.realised import Series, series_of
from app.features.variation import VariationSpec, variation_levels
from app.inference.network import BatchSession, Network
from app.inference.release import NETWORK, ReleasedModel
from app.proving.pool import ProverPool
from app.training.datasets import Samples
from app.training.evaluate import usable_windows
from app.types import MINUTE_MS, FloatArray, IntArray, Keys, iso

Say = Callable[[str], None]
DIGITS = 6


def bench_agreement(
    model: ReleasedModel, keys: Keys, pool: ProverPool, candles: Path, count: int, say: Say
) -> dict[str, Any]:
    """Shares of windows with the same regime, and the accuracy of each side.

    ``float`` sees inputs that nothing has rounded; ``onnxruntime`` sees the integers that serving makes of them, and
    ``circuit`` proves on these. Raises `CandleFileInvalid` for a file that cannot be used or has too few windows.
    """
    series = series_of(read_candles(candles))
    every = usable_windows(series, candles, model, None, None)
    if len(every) < count:
        raise CandleFileInvalid(f"{candles} has {len(every):,} usable windows, {count:,} were asked for: see --windows")
    chosen = np.linspace(0, len(every) - 1, count).astype(np.int64)
    observations = every.observations[chosen].astype(np.int64)
    outputs = {
        "float": _unrounded(model, series, every, chosen),
        "onnxruntime": Network(model).outputs(observations),
        "circuit": _witnessed(model, keys, pool, observations, say),
    }
    high = every.high[chosen]
    says_high = {name: values[:, 1] > values[:, 0] for name, values in outputs.items()}
    accuracy = {name: round(float((said == high).mean()), DIGITS) for name, said in says_high.items()}
    return {
        "model_name": model.name,
        "model_id": model.model_id,
        "file": candles.name,
        "windows": count,
        "from": iso(int(every.end_ms[chosen[0]])),
        "to": iso(int(every.end_ms[chosen[-1]])),
        "same_class": {
            name: round(float((says_high[name] == says_high["circuit"]).mean()), DIGITS)
            for name in ("float", "onnxruntime")
        },
        "accuracy": accuracy,
        "accuracy_loss_points": round(100 * (accuracy["float"] - accuracy["circuit"]), 4),
        "largest_difference": {
            name: [float(value) for value in np.abs(outputs[name] - outputs["circuit"]).max(axis=0)]
            for name in ("float", "onnxruntime")
        },
        "tolerance": list(model.tolerance),
    }


def as_text(found: dict[str, Any]) -> str:
    same, accuracy = found["same_class"], found["accuracy"]
    return "\n".join(
        (
            f"{found['model_name']} on {found['windows']:,} windows of {found['file']}, "
            f"{found['from']} to {found['to']}",
            f"same class as the circuit   float {same['float']:.3%}   onnxruntime {same['onnxruntime']:.3%}",
            f"accuracy                    float {accuracy['float']:.3%}   onnxruntime {accuracy['onnxruntime']:.3%}   "
            f"circuit {accuracy['circuit']:.3%}",
            f"accuracy lost in the circuit: {found['accuracy_loss_points']:+.3f} points",
        )
    )


def _unrounded(model: ReleasedModel, series: Series, every: Samples, chosen: IntArray) -> FloatArray:
    """The network on inputs as they are before they become integers."""
    end_ms = every.end_ms[chosen]
    levels, _ = variation_levels(series.absolute, (end_ms - series.start_ms) // MINUTE_MS)
    exact = Windows(levels, end_ms, VariationSpec.from_manifest(model.manifest["observation"])).exact()
    session = BatchSession(model.folder / NETWORK)
    return np.asarray([session.run(row[None, :])[0] for row in exact.astype(np.float32)], dtype=np.float64)


def _witnessed(model: ReleasedModel, keys: Keys, pool: ProverPool, observations: IntArray, say: Say) -> FloatArray:
    outputs = []
    with ThreadPoolExecutor(pool.slots) as threads:
        for done, values in enumerate(threads.map(lambda row: pool.witness(keys, row), observations.tolist()), 1):
            outputs.append(values)
            say(f"{done:,} of {len(observations):,} witnesses")
    return np.asarray(outputs, dtype=np.float64) / 2.0**model.output_scale
