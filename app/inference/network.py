"""The network in onnxruntime: the first answer, milliseconds after the candles."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

# It tells its makers about the machine that it runs on, and keeps a database for that, unless it is asked beforehand.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from app.inference.release import NETWORK, ReleasedModel
from app.types import FloatArray, Forecast, IntArray, Regime


class Network:
    """One model's ONNX session. Inputs are observations (integers), outputs the three raw floats."""

    def __init__(self, model: ReleasedModel) -> None:
        self._session = _session(model.folder / NETWORK)
        self._input = self._session.get_inputs()[0].name
        self._scale = 2**model.circuit.input_scale

    def outputs(self, observations: IntArray) -> FloatArray:
        """Raw outputs of many observations: int (n, inputs) to float64 (n, 3)."""
        scaled = (observations / self._scale).astype(np.float32)
        rows = [self._session.run(None, {self._input: row[None, :]})[0][0] for row in scaled]
        return np.asarray(rows, dtype=np.float64)

    def forecast(self, observation: Sequence[int]) -> Forecast:
        return forecast_from(self.outputs(np.asarray([observation]))[0])


class BatchSession:
    """Any ONNX file with one input and one output, both float32 with the batch first: for judging, not for serving."""

    def __init__(self, path: Path) -> None:
        self._session = _session(path)
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Outputs (n, …) of a batch (n, …)."""
        return np.asarray(self._session.run(None, {self._input: batch})[0], dtype=np.float32)


def forecast_from(outputs: Sequence[float] | FloatArray) -> Forecast:
    """Regime, probability and volatility from raw outputs ``(logit_low, logit_high, ln vol_annualised)``.

    The regime is decided here and not in the circuit, where a tie would be the prover's to choose: a tie is low.
    """
    low, high, ln_vol = (float(value) for value in outputs)
    margin = max(-700.0, min(700.0, high - low))
    return Forecast(
        regime=Regime.HIGH if high > low else Regime.LOW,
        p_high=1 / (1 + math.exp(-margin)),
        vol_annualised=math.exp(max(-50.0, min(50.0, ln_vol))),
        outputs=(low, high, ln_vol),
    )


def dequantise(instances: Sequence[int], scale: int) -> tuple[float, ...]:
    """The circuit's integers as the numbers they stand for."""
    return tuple(value / 2**scale for value in instances)


def _session(path: Path) -> onnxruntime.InferenceSession:
    """One thread: for one short row more would cost more than they give, and the prover needs the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def disagreement(network: Sequence[float], circuit: Sequence[float], tolerance: Sequence[float]) -> float:
    """The largest difference in units of its tolerance: above 1 something is wrong. A NaN is infinitely wrong."""
    apart = [abs(n - c) / t for n, c, t in zip(network, circuit, tolerance, strict=True)]
    return math.inf if any(math.isnan(value) for value in apart) else max(apart)
