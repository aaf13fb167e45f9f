"""A released model: one folder under `models/`, trusted only as far as its hashes hold."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from app.errors import ModelFolderInvalid, UnknownModel
from app.types import Circuit, ModelId

FORMAT = "veriregime-model/1"
NETWORK, SETTINGS, COMPILED, MANIFEST = "network.onnx", "circuit.json", "circuit.ezkl", "manifest.json"
BATCH_SETTINGS, BATCH_COMPILED = "circuit-batch.json", "circuit-batch.ezkl"
"""The same network on several windows at once, with shared weights: one proof for several feeds."""
RECORD = "training.json"
"""How the model came about and how good it was: the manifest names its hash."""
OUTPUTS = ("logit_low", "logit_high", "ln_vol_annualised")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""Of a model and of a feed: it stands in paths, addresses and metrics."""
_MOST_BYTES = 2**26
_MOST_MANIFEST_BYTES = 2**20
_MOST_FEEDS = 256
_LOGROWS, _SCALE, _WINDOWS, _PROOF_BYTES = range(1, 29), range(64), range(1, 65), range(64, 65_537)


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """A model whose files are what its manifest says.

    ``model_id`` is the SHA-256 of `canonical_json` of the manifest.
    """

    name: str
    model_id: ModelId
    folder: Path
    manifest: Mapping[str, Any]
    circuit: Circuit
    batch: Circuit | None = None
    """The circuit that takes several windows at once; none in releases without it."""

    @property
    def feeds(self) -> tuple[str, ...]:
        return tuple(self.manifest["feeds"])

    @property
    def output_scale(self) -> int:
        return int(self.manifest["outputs"]["scale"])

    @property
    def tolerance(self) -> tuple[float, ...]:
        """Largest honest difference between network and circuit, per output."""
        return tuple(float(value) for value in self.manifest["outputs"]["tolerance"])


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, ASCII: the bytes that are hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def manifest_id(manifest: Mapping[str, Any]) -> ModelId:
    return ModelId(hashlib.sha256(canonical_json(manifest)).hexdigest())


def load_model(folder: Path) -> ReleasedModel:
    """The model in ``folder``.

    Raises `ModelFolderInvalid` when a file is missing, is not what the manifest says, or was made for another ezkl.
    """
    manifest = _read_manifest(folder)
    try:
        batched = "batch" in manifest
        for name in (NETWORK, SETTINGS, COMPILED, RECORD, *((BATCH_SETTINGS, BATCH_COMPILED) if batched else ())):
            _check_hash(_file(folder, name), manifest["files"][name])
        _check_manifest(folder, manifest)
        if manifest["ezkl_version"] != version("ezkl"):
            raise ModelFolderInvalid(
                f"{folder} was compiled by ezkl {manifest['ezkl_version']}, installed is {version('ezkl')}: "
                "install that version, or release the model anew"
            )
        return ReleasedModel(
            name=manifest["name"],
            model_id=manifest_id(manifest),
            folder=folder,
            manifest=manifest,
            circuit=_circuit(folder, manifest, "circuit", COMPILED, SETTINGS),
            batch=_circuit(folder, manifest, "batch", BATCH_COMPILED, BATCH_SETTINGS) if batched else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFolderInvalid(f"{folder / MANIFEST} lacks or misstates {str(error)[:120]}") from error


def load_models(models: Path) -> dict[str, ReleasedModel]:
    """Every released model by name. Raises `ModelFolderInvalid` for the first folder that does not hold."""
    if not models.is_dir():
        raise ModelFolderInvalid(f"{models} does not exist: point VERIREGIME_MODELS_DIR at the released models")
    loaded: dict[str, ReleasedModel] = {}
    for path in sorted(models.glob(f"*/{MANIFEST}")):
        model = load_model(path.parent)
        if model.name in loaded:
            raise ModelFolderInvalid(f"{path.parent} and {loaded[model.name].folder} are both named {model.name}")
        loaded[model.name] = model
    return loaded


def model_by_id(models: Mapping[str, ReleasedModel], model_id: str) -> ReleasedModel:
    for model in models.values():
        if model.model_id == model_id:
            return model
    raise UnknownModel(f"no released model here has the id {model_id[:64]}")


def _check_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Names that may stand in paths, and what `ReleasedModel` reads later."""
    feeds, outputs = manifest["feeds"], manifest["outputs"]
    if not isinstance(feeds, list) or not 0 < len(feeds) <= _MOST_FEEDS:
        raise ModelFolderInvalid(f"{folder}: feeds must be a list of 1 to {_MOST_FEEDS} names")
    for name in (manifest["name"], *feeds):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ModelFolderInvalid(
                f"{folder}: {str(name)[:64]!a} is no name: small letters, digits, and _ . - after the first, 64 at most"
            )
    if outputs["names"] != list(OUTPUTS):
        raise ModelFolderInvalid(f"{folder}: outputs must be {', '.join(OUTPUTS)}")
    tolerance = [float(value) for value in outputs["tolerance"]]
    if len(tolerance) != len(OUTPUTS) or not all(0 < value < math.inf for value in tolerance):
        raise ModelFolderInvalid(f"{folder}: tolerance must be {len(OUTPUTS)} positive numbers")
    _within("outputs.scale", outputs["scale"], _SCALE)


def _within(what: str, value: Any, bounds: range) -> int:
    if type(value) is not int or value not in bounds:
        raise ValueError(f"{what}, which must be from {bounds[0]} to {bounds[-1]}")
    return value


def _circuit(folder: Path, manifest: Mapping[str, Any], part: str, compiled: str, settings: str) -> Circuit:
    return Circuit(
        compiled=folder / compiled,
        settings=folder / settings,
        compiled_sha256=manifest["files"][compiled],
        logrows=_within(f"{part}.logrows", manifest[part]["logrows"], _LOGROWS),
        input_scale=_within("observation.input_scale", manifest["observation"]["input_scale"], _SCALE),
        proof_bytes=_within(f"{part}.proof_bytes", manifest[part]["proof_bytes"], _PROOF_BYTES),
        windows=_within(f"{part}.windows", manifest[part].get("windows", 1), _WINDOWS),
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = from_json(_file(folder, MANIFEST, _MOST_MANIFEST_BYTES).read_bytes())
    except OSError as error:
        raise ModelFolderInvalid(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelFolderInvalid(f"{path} is not JSON: {str(error)[:120]}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFolderInvalid(f"{path} is not a {FORMAT} manifest")
    return manifest


def _file(folder: Path, name: str, most_bytes: int = _MOST_BYTES) -> Path:
    """A file of the folder itself: not elsewhere behind a link, and of a size that a release can have."""
    path = folder / name
    try:
        within = path.resolve(strict=True).is_relative_to(folder.resolve())
        size = path.stat().st_size
    except OSError as error:
        raise ModelFolderInvalid(f"{path} cannot be read: {error.strerror}") from error
    if not within or not path.is_file():
        raise ModelFolderInvalid(f"{path} is no file of that folder: copy the released file there")
    if size > most_bytes:
        raise ModelFolderInvalid(f"{path} has {size:,} bytes, more than the {most_bytes:,} that are read")
    return path


def _check_hash(path: Path, stated: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelFolderInvalid(f"{path} cannot be read: {error.strerror}") from error
    if found != stated:
        raise ModelFolderInvalid(
            f"{path} has SHA-256 {found[:16]}… but its manifest says {stated[:16]}…: "
            "restore the released file (git checkout models) or release the model anew"
        )
