"""From trained weights to a folder that anyone can load, prove with and check.

The folder is written beside its place and moved there when it is complete and a real proof has been made with it, so
an interrupted release leaves nothing that looks like a model.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from app.errors import ModelFolderInvalid, ProvingFailed
from app.features.realised import HORIZON_MINUTES, THRESHOLD
from app.features.variation import INPUTS, VARIATION_INPUTS, VariationSpec
from app.inference.network import Network
from app.inference.release import (
    BATCH_COMPILED,
    BATCH_SETTINGS,
    COMPILED,
    FORMAT,
    MANIFEST,
    NETWORK,
    OUTPUTS,
    RECORD,
    SETTINGS,
    ReleasedModel,
    load_model,
)
from app.judging.scores import MODEL, Forecasts
from app.proving import engine
from app.training.circuit import (
    INPUT_SCALE,
    JOINT,
    LOGROWS,
    OUTPUT_SCALE,
    PARAM_SCALE,
    SINGLE,
    IntegerWeights,
    Shape,
    Weights,
    check_range,
    circuit_floats,
    circuit_outputs,
    compile_reproducibly,
    integer_weights,
)
from app.training.datasets import Observations, Samples
from app.training.reporting.card import CARD, write_card
from app.training.reporting.plots import PLOTS, write_plots
from app.training.reporting.report import REPORT, write_report
from app.types import Circuit, Keys, ModelId

OPSET = 18
IR_VERSION = 8
"""The file format that came with opset 18."""
_TENSORS = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")
TOLERANCE_FACTOR = 5
SMALLEST_TOLERANCE = 1e-3
DEPENDED_ON = ("lightgbm", "matplotlib", "numpy", "onnx", "optuna", "scikit-learn", "torch")
AGREEMENT_WINDOWS = 20_000
"""Compared in onnxruntime, which takes one window at a time."""


@dataclass(frozen=True, slots=True)
class Release:
    """What goes into a model folder beside the compiled files.

    ``record`` is the training record without its agreement, which only the finished files can show. ``forecasts`` are
    what was said about the ``test`` by everyone who was asked, ``proof_seconds`` by hidden size what this machine took.
    """

    name: str
    feeds: tuple[str, ...]
    """What the model is declared fit for."""
    weights: Weights
    spec: VariationSpec
    record: Mapping[str, Any]
    test: Samples
    forecasts: Mapping[str, Forecasts]
    witnesses: int
    """How many windows are run through the real circuit."""
    proof_seconds: Mapping[int, float]


def refuse_existing(out: Path, *, force: bool) -> None:
    """Raise `ModelFolderInvalid` when ``out`` is taken and may not be replaced."""
    if out.exists() and not force:
        raise ModelFolderInvalid(f"{out} exists already: choose another --out, or replace it with --force")


def release_model(release: Release, out: Path, *, force: bool) -> dict[str, Any]:
    """Write the model folder ``out`` and give its manifest.

    Raises `ModelFolderInvalid` when the folder exists and ``force`` is not set, `ProvingFailed` when the circuit and
    the network do not say the same.
    """
    refuse_existing(out, force=force)
    with in_place_of(out) as folder:
        integers = integer_weights(release.weights)
        bound = check_range(integers, clip=release.spec.clip, variation_inputs=VARIATION_INPUTS)
        write_network(integers.as_floats(), folder / NETWORK)
        circuit, settings = write_circuit(integers.as_floats(), folder, SINGLE)
        batch, batch_settings = write_circuit(integers.as_floats(), folder, JOINT)
        tried = _spread(release.test.observations, release.witnesses)
        checked, checked_joint = (_try_circuit(compiled, integers, tried) for compiled in (circuit, batch))
        agreement = _agreement(release, circuit, integers)
        agreement |= {
            "witnesses_equal_to_emulation": checked,
            "windows_of_joint_witnesses_equal_to_emulation": checked_joint,
            "largest_hidden_sum": bound,
        }
        record = {**release.record, "agreement": agreement}
        (folder / RECORD).write_text(_json(record))
        parts = {"circuit": _part(circuit, settings), "batch": _part(batch, batch_settings)}
        manifest = _manifest(release, folder, parts, record)
        (folder / MANIFEST).write_text(_json(manifest))
        write_plots(release.forecasts, release.test, record, folder / PLOTS)
        write_card(manifest, record, folder / CARD)
        write_report(manifest, record, release.proof_seconds, folder / REPORT)
        load_model(folder)
    return manifest


def write_network(weights: Weights, target: Path, windows: int = 1) -> None:
    """The three nodes as ONNX: ``observation`` float32 (windows, inputs) to ``outputs`` float32 (windows, 3).

    Written node by node: nothing of the machine, the time or the exporter gets into the file.
    """
    tensors = dict(zip(_TENSORS, astuple(weights), strict=True))
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["observation", "hidden_weight", "hidden_bias"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "output_weight", "output_bias"], ["outputs"]),
        ],
        "student",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [windows, INPUTS])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [windows, len(OUTPUTS)])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="veriregime"
    )
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


def read_weights(network: Path) -> IntegerWeights:
    """The weights of a released ``network.onnx``, as the circuit has them.

    Raises `ModelFolderInvalid` when it is not a network that `write_network` wrote, or its weights are not rounded.
    """
    try:
        model = onnx.load(str(network))
        tensors = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
        weights = Weights(*(tensors[name] for name in _TENSORS))
    except (OSError, KeyError, DecodeError) as error:
        raise ModelFolderInvalid(f"{network} is not the network of a released model: {error}") from error
    integers = integer_weights(weights)
    if any((a != b).any() for a, b in zip(astuple(integers.as_floats()), astuple(weights), strict=True)):
        raise ModelFolderInvalid(f"{network} has weights that are not multiples of 2**-{PARAM_SCALE}")
    return integers


def write_circuit(weights: Weights, folder: Path, shape: Shape) -> tuple[Circuit, dict[str, Any]]:
    """Compile the network for ``shape.windows`` windows into ``folder``; the circuit and ezkl's settings of it."""
    names = (COMPILED, SETTINGS) if shape.windows == 1 else (BATCH_COMPILED, BATCH_SETTINGS)
    compiled, settings = (folder / name for name in names)
    with tempfile.TemporaryDirectory(prefix="veriregime-network-") as scratch:
        network = Path(scratch) / NETWORK
        write_network(weights, network, shape.windows)
        content = compile_reproducibly(network, settings, compiled, shape)
    if content["model_output_scales"] != [OUTPUT_SCALE]:
        raise ProvingFailed(f"ezkl chose output scale {content['model_output_scales']}, not {OUTPUT_SCALE}")
    circuit = Circuit(
        compiled=compiled,
        settings=settings,
        compiled_sha256=engine.sha256_file(compiled),
        logrows=shape.logrows,
        input_scale=INPUT_SCALE,
        proof_bytes=shape.proof_bytes,
        windows=shape.windows,
    )
    return circuit, content


def _try_circuit(circuit: Circuit, weights: IntegerWeights, observations: Observations) -> int:
    """Make one real proof and witnesses of all the observations; gives how many windows equal the emulation.

    The keys stand on a string of secrets that nobody keeps: good enough to measure with, and gone afterwards.
    """
    if len(observations) < circuit.windows:  # a quick run tries fewer than one joint proof takes
        observations = np.resize(observations, (circuit.windows, observations.shape[1]))
    whole = len(observations) // circuit.windows * circuit.windows
    inputs = observations[:whole].reshape(-1, circuit.windows * observations.shape[1]).tolist()
    expected = circuit_outputs(weights, observations[:whole]).reshape(len(inputs), -1).tolist()
    with tempfile.TemporaryDirectory(prefix="veriregime-trial-") as scratch:
        keys = trial_keys(circuit, Path(scratch))
        for values, outputs in zip(inputs, expected, strict=True):
            if engine.make_witness(keys, values, Path(scratch) / "witness.json") != tuple(outputs):
                raise ProvingFailed("the circuit computes other integers than its emulation: the release is off")
        proof = engine.prove(keys, inputs[0])
    if proof.instances != tuple(expected[0]):
        raise ProvingFailed("the proof shows other outputs than the emulation")
    return whole


def trial_keys(circuit: Circuit, folder: Path) -> Keys:
    """Keys in ``folder`` on a string of secrets that nobody keeps: to measure with, never to publish with."""
    srs, vk, pk = folder / "trial.srs", folder / "vk.key", folder / "pk.key"
    engine.make_development_srs(srs, circuit.logrows)
    engine.make_keys(circuit, srs, vk, pk)
    return Keys(
        circuit=circuit,
        srs=srs,
        srs_hash=engine.sha256_file(srs),
        srs_is_development=True,
        vk=vk,
        vk_hash=engine.sha256_file(vk),
        pk=pk,
        verifier_sol=folder / "unused.sol",
    )


def _agreement(release: Release, circuit: Circuit, integers: IntegerWeights) -> dict[str, Any]:
    """Trained weights, onnxruntime and circuit side by side on test windows."""
    test = release.test
    trained, proved = release.weights.outputs(test.observations), circuit_floats(integers, test.observations)
    some = _spread(test.observations, AGREEMENT_WINDOWS)
    served = Network(_unfinished(release.name, circuit)).outputs(some.astype(np.int64))
    difference = np.abs(served - circuit_floats(integers, some)).max(axis=0)
    said, proven = trained[:, 1] > trained[:, 0], proved[:, 1] > proved[:, 0]
    return {
        "windows": len(test),
        "class_agreement_float_circuit": round(float((said == proven).mean()), 6),
        "accuracy_float": round(float((said == test.high).mean()), 6),
        "accuracy_circuit": round(float((proven == test.high).mean()), 6),
        "windows_in_onnxruntime": len(some),
        "largest_difference_onnxruntime_circuit": [float(f"{value:.3e}") for value in difference],
    }


def _part(circuit: Circuit, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "windows": circuit.windows,
        "logrows": circuit.logrows,
        "rows": settings["num_rows"],
        "proof_bytes": circuit.proof_bytes,
        "param_scale": PARAM_SCALE,
        "run_args": settings["run_args"],
    }


def _manifest(
    release: Release, folder: Path, parts: Mapping[str, dict[str, Any]], record: Mapping[str, Any]
) -> dict[str, Any]:
    """What serving, auditors and consumers need; the evidence behind it stands in the training record."""
    differences = record["agreement"]["largest_difference_onnxruntime_circuit"]
    files = (NETWORK, SETTINGS, COMPILED, BATCH_SETTINGS, BATCH_COMPILED, RECORD)
    test = record["test"]
    return {
        "format": FORMAT,
        "name": release.name,
        "feeds": list(release.feeds),
        "horizon_minutes": HORIZON_MINUTES,
        "threshold": THRESHOLD,
        "observation": release.spec.to_manifest(),
        "outputs": {
            "names": list(OUTPUTS),
            "scale": OUTPUT_SCALE,
            "tolerance": [max(SMALLEST_TOLERANCE, TOLERANCE_FACTOR * value) for value in differences],
        },
        "circuit": parts["circuit"] | {"parameters": release.weights.count},
        "batch": parts["batch"],
        "ezkl_version": engine.EZKL_VERSION,
        "files": {name: engine.sha256_file(folder / name) for name in files},
        "training": {
            **{name: record[name] for name in ("data", "split", "seed", "quick", "recipe", "baselines", "versions")},
            "metrics": {
                "test": {"samples": test["samples"], "high_share": test["high_share"], **test["scores"][MODEL]},
                "baselines": {name: score for name, score in test["scores"].items() if name != MODEL},
                "points_above_better_persistence": test["points_above_better_persistence"],
                "retention": test["retention"],
                "agreement": record["agreement"],
            },
        },
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def versions() -> dict[str, str]:
    """Of what the result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in DEPENDED_ON}}


def circuit_in(folder: Path, logrows: int = LOGROWS) -> Circuit:
    """The compiled circuit in ``folder``."""
    return Circuit(
        compiled=folder / COMPILED,
        settings=folder / SETTINGS,
        compiled_sha256=engine.sha256_file(folder / COMPILED),
        logrows=logrows,
        input_scale=INPUT_SCALE,
        proof_bytes=SINGLE.proof_bytes,
    )


def _unfinished(name: str, circuit: Circuit) -> ReleasedModel:
    """A model whose manifest is still to be written: enough to run its network."""
    return ReleasedModel(name, ModelId(""), circuit.compiled.parent, {}, circuit)


def _spread(observations: Observations, count: int) -> Observations:
    """At most ``count`` windows, evenly over time."""
    return observations[:: max(1, -(-len(observations) // count))]


@contextmanager
def in_place_of(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``out`` when the block ends well, and vanishes when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        yield folder
        if out.exists():
            shutil.move(out, Path(scratch) / "old")
        shutil.move(folder, out)
