"""Keys and Solidity verifier of a circuit under an SRS, built on first use and rebuilt when they do not hold.

ezkl's key files carry no version, so the folder is named by circuit, SRS and ezkl version, and a record beside the
keys states their hashes. A vk is a function of circuit and SRS alone: whoever has both can make it again and compare.
One process at a time builds in a folder of keys; what one that was killed left there goes with the next.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic_core import from_json

from app.errors import Misconfigured, ProverUnavailable, SrsInvalid, SrsUnavailable
from app.proving import engine
from app.proving.hashes import file_sha256
from app.proving.srs import Srs, read_srs
from app.types import Circuit, Keys

_FILES = ("vk.key", "pk.key", "Verifier.sol")
_RECORD = "keys.json"
_RECORD_BYTES = 2**16
_SCRATCH = ".building-"
_LOCK = ".building.lock"
_LOCK_S = 240.0
"""Longer than the largest keys take to build."""

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
    """The keys, from disk when their hashes hold, built anew otherwise (under a second at k = 11).

    Raises `SrsInvalid` when the SRS is of another size than the circuit.
    """
    if srs.logrows != circuit.logrows:
        raise SrsInvalid(f"the SRS {srs.sha256} is for k = {srs.logrows}, the circuit needs k = {circuit.logrows}")
    folder = keys_folder(keys_dir, circuit, srs)
    if not _holds(folder, circuit, srs):
        with _building(keys_dir):
            if not _holds(folder, circuit, srs):  # another process may have built them meanwhile
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


def mend_keys(keys: Keys) -> None:
    """See to it that the files behind ``keys`` are what they were when somebody was given them; costs a few `stat`.

    Damaged keys are built again. Raises `ProverUnavailable` where that cannot be: the SRS or the circuit is another.
    """
    for path, stated in ((keys.srs, keys.srs_hash), (keys.circuit.compiled, keys.circuit.compiled_sha256)):
        if _hash_or_none(path) != stated:
            raise ProverUnavailable(
                f"{path} is gone or was changed: put back the file with SHA-256 {stated[:16]}…, or restart the service "
                "to go on with what is there"
            )
    try:
        srs = read_srs(keys.srs, () if keys.srs_is_development else (keys.srs_hash,))
        again = ensure_keys(keys.pk.parent.parent, keys.circuit, srs)
    except SrsUnavailable as error:
        raise ProverUnavailable(str(error)) from error
    if again.vk_hash != keys.vk_hash:
        raise ProverUnavailable(f"{keys.vk} is another than at the start: restart the service")


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
    with (folder / _RECORD).open("rb") as file:
        record = from_json(file.read(_RECORD_BYTES))
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
    return all(_hash_or_none(folder / name) == record[name] for name in _FILES)


def _hash_or_none(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


@contextmanager
def _building(keys_dir: Path) -> Iterator[None]:
    """For one process at a time. Scratch folders that are here now belong to nobody who lives."""
    keys_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(keys_dir / _LOCK, timeout=_LOCK_S):
            for left in keys_dir.glob(f"{_SCRATCH}*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            yield
    except Timeout as error:
        raise Misconfigured(f"{keys_dir / _LOCK} is held for over {_LOCK_S:.0f} s: end whoever builds keys") from error


def _build(folder: Path, circuit: Circuit, srs: Srs) -> None:
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_SCRATCH))
    try:
        vk, pk, verifier = (scratch / name for name in _FILES)
        engine.make_keys(circuit, srs.path, vk, pk)
        engine.write_solidity_verifier(circuit, srs.path, vk, verifier)
        hashes = {name: engine.sha256_file(scratch / name) for name in _FILES}
        record = {**_identity(circuit, srs), "srs_origin": srs.origin, **hashes}
        (scratch / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
        if folder.exists():  # damaged: an intact one is never rebuilt
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
