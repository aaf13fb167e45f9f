"""Structured reference strings on disk: what kind each is, and which one the keys are made under.

A proof under an SRS convinces only who believes that nobody knows its secret. The development kind was made by this
very installation, or is of unknown origin, and is marked as such wherever it shows. How a file gets into the folder is
in `app.proving.intake`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import from_json

from app.errors import SrsUnavailable
from app.proving import engine
from app.proving.ceremony import LARGEST_LOGROWS, SrsOrigin, srs_origin
from app.proving.hashes import file_sha256

HEADER_BYTES = 4
_NOTE_BYTES = 4096
_SHA256 = re.compile("[0-9a-f]{64}")
_HASH_SUFFIX = ".sha256"
"""Of a note beside the development SRS, whose name does not hold its hash."""


@dataclass(frozen=True, slots=True)
class Srs:
    """An SRS file for circuits of up to 2**logrows rows, by the SHA-256 (hex) of its bytes."""

    path: Path
    sha256: str
    logrows: int
    origin: SrsOrigin

    @property
    def is_development(self) -> bool:
        return self.origin is SrsOrigin.DEVELOPMENT


def srs_size(logrows: int) -> int:
    """Bytes of a .srs file: u32 k, 2^k G1 points twice (monomial and Lagrange, 64 bytes each), two G2 points of 128."""
    return HEADER_BYTES + (2 * 64 << logrows) + 2 * 128


def read_srs(path: Path, trusted: Collection[str] = ()) -> Srs:
    """An SRS file; ``trusted`` are SHA-256 (hex) of files whose origin the operator vouches for.

    The points are not looked at: `app.proving.intake` did that when the file came in, and since then its name holds
    its hash. Raises `SrsUnavailable` when the file is missing, its size does not fit its own header, or it is named by,
    or was made with, another hash than it has.
    """
    logrows = _header(path)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise SrsUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if _SHA256.fullmatch(path.stem) and path.stem != sha256:
        raise SrsUnavailable(f"{path} was changed since it was imported: delete it and import it again")
    if _noted_sha256(path) not in (None, sha256):
        raise SrsUnavailable(f"{path} was changed since it was made: put it back, or delete it for another to be made")
    return Srs(path, sha256, logrows, srs_origin(logrows, sha256, _ptau_blake2b(path.parent, sha256), trusted))


def serving_srs(folder: Path, logrows: int, trusted: Collection[str] = (), chosen: Collection[str] = ()) -> Srs:
    """The SRS to make keys under: the one among ``chosen``, else the most trustworthy of exactly this size.

    That is a public one, else one from a ceremony's `.ptau`, else a trusted one. Where there is none it is the
    development SRS made here, on first use, and never an imported file of unknown origin that was not chosen: somebody
    may have brought it for an audit only.
    """
    here = [read_srs(path, trusted) for path in srs_files(folder) if _header(path) == logrows]
    for srs in here:
        if srs.sha256 in chosen:
            return srs
    rank = list(SrsOrigin)
    best = min(here, key=lambda srs: rank.index(srs.origin), default=None)
    return best if best and not best.is_development else development_srs(folder, logrows)


def development_srs(folder: Path, logrows: int) -> Srs:
    """The development SRS of this installation, made on first use; two processes that race get the same one."""
    path = folder / f"dev-k{logrows}.srs"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "srs"
            engine.make_development_srs(made, logrows)
            with contextlib.suppress(FileExistsError):  # a link, unlike a rename, never replaces another's file
                os.link(made, path)
    srs = read_srs(path)
    if _noted_sha256(path) is None:
        path.with_suffix(_HASH_SUFFIX).write_text(f"{srs.sha256}\n")
    return srs


def find_srs(folder: Path, sha256: str, trusted: Collection[str] = ()) -> Srs | None:
    """The SRS with this hash among the files of ``folder``. Damaged files with other names are none of its business."""
    for path in srs_files(folder):
        try:
            srs = read_srs(path, trusted)
        except SrsUnavailable:
            if path.stem == sha256:
                raise
            continue
        if srs.sha256 == sha256:
            return srs
    return None


def srs_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.srs"))


def write_record(folder: Path, sha256: str, blake2b: str, power: int) -> None:
    """Note beside an SRS which `.ptau` it was converted from.

    The note is believed later. That is no weaker than the rest: it lies in the operator's own folder beside the keys,
    and whoever can write there can replace the keys themselves.
    """
    record = {"source": "ptau", "blake2b": blake2b, "power": power}
    (folder / f"{sha256}.json").write_text(json.dumps(record, indent=1) + "\n")


def _noted_sha256(path: Path) -> str | None:
    """The hash that the file had at first. Without a legible note nobody knows."""
    try:
        with path.with_suffix(_HASH_SUFFIX).open("rb") as file:
            noted = file.read(_NOTE_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None
    return noted if _SHA256.fullmatch(noted) else None


def _ptau_blake2b(folder: Path, sha256: str) -> str | None:
    """From the note, found by the hash of the SRS so that it cannot speak for another file."""
    try:
        with (folder / f"{sha256}.json").open("rb") as file:
            return str(from_json(file.read(_NOTE_BYTES))["blake2b"])
    except (OSError, ValueError, KeyError, TypeError):  # without a legible note the origin is unknown
        return None


def _header(path: Path) -> int:
    try:
        with path.open("rb") as file:
            logrows = int.from_bytes(file.read(HEADER_BYTES), "little")
        size = path.stat().st_size
    except OSError as error:
        raise SrsUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if not 0 < logrows <= LARGEST_LOGROWS or size != srs_size(logrows):
        raise SrsUnavailable(f"{path} is not an SRS file, or it is cut short")
    return logrows
