"""Keys and Solidity verifier of a circuit under an SRS, built on first use and rebuilt when they do not hold.

ezkl's key files carry no version, so the folder is named by circuit, SRS and ezkl version, and a record beside the
keys states their hashes. A vk is a function of circuit and SRS alone: whoever has both can make it again and compare.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.proving import engine
from app.proving.srs import Srs
from app.types import Circuit, Keys

_FILES = ("vk.key", "pk.key", "Verifier.sol")
_RECORD = "keys.json"


_STATED = ("circuit_sha256", "srs_sha256", "srs_origin", "logrows", "ezkl_version", *_FILES)


@dataclass(frozen=True, slots=True)
class KeysRecord:
    """What a key folder says of itself, and whether its files still are what it says."""

    folder: Path
    intact: bool
    stated: Mapping[str, Any]
    """Hashes of circuit, SRS and files, ``logrows``, ``ezkl_version``, and the ``srs_origin`` of the time when the keys
    were built. Empty when it cannot be read."""


def keys_folder(keys_dir: Path, circuit: Circuit, srs: Srs) -> Path:
    return keys_dir / f"{circuit.compiled_sha256[:16]}-{srs.sha256[:16]}-ezkl{engine.EZKL_VERSION}"


def ensure_keys(keys_dir: Path, circuit: Circuit, srs: Srs) -> Keys:
    """The keys, from disk when their hashes hold, built anew otherwise (under a second at k = 11)."""
    folder = keys_folder(keys_dir, circuit, srs)
    if not _holds(folder, circuit, srs):
        _build(folder, circuit, srs)
    record = _record(folder)
    return Keys(
        circuit=circuit,
        srs=srs.path,
        srs_hash=srs.sha256,
        srs_is_development=srs.is_development,
        vk=folder / "vk.key",
        vk_hash=record["vk.key"],
        pk=folder / "pk.key",
        verifier_sol=folder / "Verifier.sol",
    )


def read_keys_records(keys_dir: Path) -> list[KeysRecord]:
    """Every key folder, by name."""
    return [_described(path) for path in sorted(keys_dir.glob("[!.]*")) if path.is_dir()]


def _described(folder: Path) -> KeysRecord:
    try:
        record = _record(folder)
        return KeysRecord(folder, _files_hold(folder, record), {name: record[name] for name in _STATED})
    except (OSError, ValueError, KeyError):
        return KeysRecord(folder, intact=False, stated={})


def _record(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / _RECORD).read_text())
    if not isinstance(record, dict):
        raise ValueError(f"{folder / _RECORD} is not a record")
    return record


def _identity(circuit: Circuit, srs: Srs) -> dict[str, Any]:
    """What the keys are a function of."""
    return {
        "circuit_sha256": circuit.compiled_sha256,
        "srs_sha256": srs.sha256,
        "logrows": srs.logrows,
        "ezkl_version": engine.EZKL_VERSION,
    }


def _holds(folder: Path, circuit: Circuit, srs: Srs) -> bool:
    try:
        record = _record(folder)
        same = all(record[name] == value for name, value in _identity(circuit, srs).items())
        return same and _files_hold(folder, record)
    except (OSError, ValueError, KeyError):
        return False


def _files_hold(folder: Path, record: dict[str, Any]) -> bool:
    """Whether each key file has the hash in the record. A file that is gone does not."""
    return all((folder / name).is_file() and engine.sha256_file(folder / name) == record[name] for name in _FILES)


def _build(folder: Path, circuit: Circuit, srs: Srs) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
    try:
        vk, pk, verifier = (scratch / name for name in _FILES)
        engine.make_keys(circuit, srs.path, vk, pk)
        engine.write_solidity_verifier(circuit, srs.path, vk, verifier)
        hashes = {name: engine.sha256_file(scratch / name) for name in _FILES}
        record = {**_identity(circuit, srs), "srs_origin": srs.origin, **hashes}
        (scratch / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
        if folder.exists():  # damaged: an intact one is never rebuilt
            shutil.rmtree(folder)
        try:
            scratch.rename(folder)
        except OSError:
            if not _holds(folder, circuit, srs):  # otherwise another process built the same keys first
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
