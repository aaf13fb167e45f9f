"""Structured reference strings on disk. For now the development kind only: its secret was known to the process that
made it, so a proof under it convinces nobody but its maker, and it is marked as such wherever it shows.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.errors import SrsUnavailable
from app.proving import engine

PUBLIC_SRS_SHA256 = {
    10: "9705d450e5dfd06adb673705f7bc34418ec86339203198beceb2ae7f1ffefedb",
    11: "257fa566ed9bc0767d3e63e92b5e966829fa3347d320a32055dc31ee7d33f8a4",
    12: "28b151069f41abc121baa6d2eaa8f9e4c4d8326ddbefee2bd9c0776b80ac6fad",
    13: "d5d94bb25bdc024f649213593027d861042ee807cafd94b49b54f1663f8f267d",
}
"""ezkl's copies of the public powers-of-tau ceremony, by the number of rows as a power of two."""


@dataclass(frozen=True, slots=True)
class Srs:
    path: Path
    sha256: str
    logrows: int

    @property
    def is_development(self) -> bool:
        return PUBLIC_SRS_SHA256.get(self.logrows) != self.sha256


def read_srs(path: Path) -> Srs:
    """An SRS file. Raises `SrsUnavailable` when it is missing or its size does not fit its own header."""
    try:
        with path.open("rb") as file:
            logrows = int.from_bytes(file.read(4), "little")
        size = path.stat().st_size
    except OSError as error:
        raise SrsUnavailable(f"{path} cannot be read: {error.strerror}") from error
    # u32 k, 2^k G1 points twice (monomial and Lagrange, 64 bytes each), two G2 points of 128 bytes.
    if logrows > 26 or size != 4 + 2 * 64 * 2**logrows + 2 * 128:
        raise SrsUnavailable(f"{path} is not an SRS file, or it is cut short")
    return Srs(path, engine.sha256_file(path), logrows)


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
    return read_srs(path)


def find_srs(folder: Path, sha256: str) -> Srs | None:
    """The SRS with this hash among the files of ``folder``."""
    candidates = (read_srs(path) for path in sorted(folder.glob("*.srs")))
    return next((srs for srs in candidates if srs.sha256 == sha256), None)
