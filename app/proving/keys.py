"""Keys and Solidity verifier of a circuit under an SRS, built on first use and rebuilt when they do not hold.

ezkl's key files carry no version, so the folder is named by circuit, SRS and ezkl version, and a record beside the
keys states their hashes. A vk is a function of circuit and SRS alone: whoever has both can make it again and compare.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from app.proving import engine
from app.proving.srs import Srs
from app.types import Circuit, Keys

_FILES = ("vk.key", "pk.key", "Verifier.sol")
_RECORD = "keys.json"


def keys_folder(keys_dir: Path, circuit: Circuit, srs: Srs) -> Path:
    return keys_dir / f"{circuit.compiled_sha256[:16]}-{srs.sha256[:16]}-ezkl{engine.EZKL_VERSION}"


def ensure_keys(keys_dir: Path, circuit: Circuit, srs: Srs) -> Keys:
    """The keys, from disk when their hashes hold, built anew otherwise (under a second at k = 11)."""
    folder = keys_folder(keys_dir, circuit, srs)
    if not _holds(folder):
        _build(folder, circuit, srs)
    record = json.loads((folder / _RECORD).read_text())
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


def _holds(folder: Path) -> bool:
    try:
        record = json.loads((folder / _RECORD).read_text())
        return all(engine.sha256_file(folder / name) == record[name] for name in _FILES)
    except (OSError, ValueError, KeyError):
        return False


def _build(folder: Path, circuit: Circuit, srs: Srs) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
    try:
        vk, pk, verifier = (scratch / name for name in _FILES)
        engine.make_keys(circuit, srs.path, vk, pk)
        engine.write_solidity_verifier(circuit, srs.path, vk, verifier)
        record = {name: engine.sha256_file(scratch / name) for name in _FILES}
        (scratch / _RECORD).write_text(json.dumps(record, indent=1))
        if folder.exists():  # damaged: an intact one is never rebuilt
            shutil.rmtree(folder)
        try:
            scratch.rename(folder)
        except OSError:
            if not _holds(folder):  # otherwise another process built the same keys first
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
