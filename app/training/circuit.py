"""The student as whole numbers: what the circuit computes, to the last bit.

With no rescaling between its layers the circuit is plain integer arithmetic on weights rounded to multiples of
2**-PARAM_SCALE. This file knows that arithmetic, so a model can be judged on the very outputs that proofs will show,
for a million windows in the time of a single witness.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import ProvingFailed
from app.proving import engine
from app.training.datasets import Observations
from app.types import FloatArray, IntArray

INPUT_SCALE = 7
PARAM_SCALE = 10
OUTPUT_SCALE = INPUT_SCALE + 2 * PARAM_SCALE
LOGROWS = 11
LARGEST_ACTIVATION = engine.RUN_ARGS["decomp_base"] ** engine.RUN_ARGS["decomp_legs"] // 2
"""The ReLU takes its argument apart into digits; twice this is the first number that has too many."""
COMPILE_TRIES = 5_000
CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class Shape:
    """How a circuit lies in its table: how many windows, inner columns, rows as a power of two, bytes of proof."""

    windows: int
    columns: int
    logrows: int
    proof_bytes: int
    """`engine.prove` refuses any other length, so the trial proof of a release checks it."""


SINGLE = Shape(windows=1, columns=1, logrows=LOGROWS, proof_bytes=2_080)
JOINT = Shape(windows=10, columns=1, logrows=15, proof_bytes=2_080)
"""Ten windows with shared weights. A second column would prove a quarter faster and cost a quarter more gas."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A student's parameters: ``hidden`` (inputs, h), ``hidden_bias`` (h,), ``output`` (h, 3), ``output_bias`` (3,)."""

    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: FloatArray

    @property
    def count(self) -> int:
        return self.hidden.size + self.hidden_bias.size + self.output.size + self.output_bias.size

    def rounded(self) -> Weights:
        """The nearest weights that the circuit can hold."""
        return integer_weights(self).as_floats()

    def outputs(self, observations: Observations) -> FloatArray:
        """Raw outputs of many observations, integers (n, inputs) to float64 (n, 3)."""
        hidden = np.maximum(observations / 2**INPUT_SCALE @ self.hidden + self.hidden_bias, 0.0)
        result: FloatArray = hidden @ self.output + self.output_bias
        return result


@dataclass(frozen=True, slots=True)
class IntegerWeights:
    """The same parameters in units of 2**-PARAM_SCALE, all int64."""

    hidden: IntArray
    hidden_bias: IntArray
    output: IntArray
    output_bias: IntArray

    def as_floats(self) -> Weights:
        parts = (self.hidden, self.hidden_bias, self.output, self.output_bias)
        return Weights(*(np.ldexp(part.astype(np.float64), -PARAM_SCALE) for part in parts))


def integer_weights(weights: Weights) -> IntegerWeights:
    """Weights and biases rounded half to even to the circuit's parameter scale."""
    parts = (weights.hidden, weights.hidden_bias, weights.output, weights.output_bias)
    return IntegerWeights(*(np.rint(part * 2**PARAM_SCALE).astype(np.int64) for part in parts))


def circuit_outputs(weights: IntegerWeights, observations: Observations) -> IntArray:
    """The circuit's public outputs, integers (n, inputs) at `INPUT_SCALE` to int64 (n, 3) at `OUTPUT_SCALE`.

    ezkl keeps a bias at the parameter scale and shifts it up to the scale of the sum that it joins; so do we.
    """
    outputs = [_layers(weights, part.astype(np.int64)) for part in _parts(observations)]
    return np.concatenate(outputs) if outputs else np.empty((0, 3), dtype=np.int64)


def circuit_floats(weights: IntegerWeights, observations: Observations) -> FloatArray:
    """`circuit_outputs` as the numbers they stand for, float64 (n, 3)."""
    result: FloatArray = circuit_outputs(weights, observations) / 2.0**OUTPUT_SCALE
    return result


def largest_activation(weights: IntegerWeights, *, clip: float, variation_inputs: int) -> int:
    """A bound on every hidden sum over all inputs that `quantise` can make, clock inputs lying within one."""
    size = np.abs(weights.hidden)
    reach = np.full(len(size), 2**INPUT_SCALE, dtype=np.int64)
    reach[:variation_inputs] = int(np.ceil(clip * 2**INPUT_SCALE))
    return int((reach @ size + (np.abs(weights.hidden_bias) << INPUT_SCALE)).max())


def check_range(weights: IntegerWeights, *, clip: float, variation_inputs: int) -> int:
    """The bound, or `ProvingFailed` when some input could make a number that the circuit cannot take apart."""
    bound = largest_activation(weights, clip=clip, variation_inputs=variation_inputs)
    if bound >= LARGEST_ACTIVATION:
        raise ProvingFailed(f"an input could drive a hidden sum to {bound}, the circuit holds {LARGEST_ACTIVATION}")
    return bound


def compile_reproducibly(network: Path, settings: Path, compiled: Path, shape: Shape = SINGLE) -> dict[str, Any]:
    """`engine.compile_network` until the files are the canonical ones; gives the settings.

    ezkl writes some of its hash maps in whatever order they iterate, so one network compiles to dozens of different
    files, and the order of the range checks even reaches the verifying key. A compilation takes milliseconds, so
    the reproducible file is found by repeating until every map happens to be in ascending order.
    """
    for _ in range(COMPILE_TRIES):
        content = compile_once(network, settings, compiled, logrows=shape.logrows, columns=shape.columns)
        checks = content["required_range_checks"]
        if checks == sorted(checks) and _maps_are_sorted(compiled.read_bytes(), content):
            return content
    raise ProvingFailed("ezkl's compiled circuit never came out in canonical order: has its file format changed?")


def compile_once(
    network: Path, settings: Path, compiled: Path, *, logrows: int, columns: int = SINGLE.columns
) -> dict[str, Any]:
    """`engine.compile_network` at the scales of a student, without what ezkl prints; gives the settings."""
    with _silence():
        return engine.compile_network(
            network,
            settings,
            compiled,
            input_scale=INPUT_SCALE,
            param_scale=PARAM_SCALE,
            logrows=logrows,
            columns=columns,
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what ezkl prints on every compilation; what it raises still arrives."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _maps_are_sorted(compiled: bytes, settings: Mapping[str, Any]) -> bool:
    return all(_map_bytes(axes) in compiled for _, axes in settings["einsum_params"]["equations"])


def _map_bytes(axes: Mapping[str, int]) -> bytes:
    """An ascending map from axis letter to length in bincode: its size as u64, then letter and u64 of every entry."""
    entries = (axis.encode() + size.to_bytes(8, "little") for axis, size in sorted(axes.items()))
    return len(axes).to_bytes(8, "little") + b"".join(entries)


def _layers(weights: IntegerWeights, observations: IntArray) -> IntArray:
    hidden = observations @ weights.hidden + (weights.hidden_bias << INPUT_SCALE)
    result: IntArray = np.maximum(hidden, 0) @ weights.output + (weights.output_bias << (INPUT_SCALE + PARAM_SCALE))
    return result


def _parts(observations: Observations) -> Iterator[Observations]:
    for first in range(0, len(observations), CHUNK):
        yield observations[first : first + CHUNK]
