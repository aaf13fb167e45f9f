"""Conversion of a snarkjs `.ptau` file into the .srs form that ezkl reads.

Both store the same point bytes, so that conversion is copying; only the Lagrange points change places, because the two
libraries count them by different roots of unity. Nothing is checked here but the file's own structure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from app.errors import SrsInvalid
from app.proving.bn254 import BASE_FIELD, COORDINATE_BYTES, G1_BYTES, G2_BYTES, TWO_ADICITY, root_of_unity
from app.proving.ceremony import ptau_name
from app.types import SCALAR_FIELD

MAGIC = b"ptau"

_HEADER, _MONOMIAL, _G2_POWERS, _LAGRANGE = 1, 2, 3, 12
_SECTION_HEAD_BYTES = 12

SNARKJS_ROOT = pow(5, (SCALAR_FIELD - 1) >> TWO_ADICITY, SCALAR_FIELD)
"""The root of unity of order 2**28 that snarkjs evaluates over; halo2 has another."""


@dataclass(frozen=True, slots=True)
class Ptau:
    """An open `.ptau` file that is prepared for phase 2 and holds 2**power points."""

    file: BufferedReader
    power: int
    sections: Mapping[int, tuple[int, int]]
    """Offset and length in bytes by section number."""

    def srs(self, logrows: int) -> bytes:
        """A .srs file for 2**logrows rows. Raises `SrsInvalid` when there are fewer points here."""
        if logrows > self.power:
            raise SrsInvalid(
                f"it holds 2^{self.power} points and 2^{logrows} are needed: take {ptau_name(logrows)}, say"
            )
        rows = 1 << logrows
        # The Lagrange points of all powers follow one another: 1 of power 0, 2 of power 1, 4 of power 2, …
        lagrange = self._read(_LAGRANGE, (rows - 1) * G1_BYTES, rows * G1_BYTES)
        step = lagrange_step(logrows)
        places = ((step * i) % rows * G1_BYTES for i in range(rows))
        return b"".join(
            (
                logrows.to_bytes(4, "little"),
                self._read(_MONOMIAL, 0, rows * G1_BYTES),
                *(lagrange[place : place + G1_BYTES] for place in places),
                self._read(_G2_POWERS, 0, 2 * G2_BYTES),
            )
        )

    def blake2b(self) -> str:
        """BLAKE2b-512 (hex) of the whole file: what lists of ceremony files state."""
        self.file.seek(0)
        return hashlib.file_digest(self.file, hashlib.blake2b).hexdigest()

    def _read(self, section: int, at: int, length: int) -> bytes:
        self.file.seek(self.sections[section][0] + at)
        return self.file.read(length)


def read_ptau(file: BufferedReader, path: Path) -> Ptau:
    """The structure of an open `.ptau` file. Raises `SrsInvalid` when it is not whole, prepared and over BN254."""
    sections = _sections(file, path.stat().st_size)
    power = _power(file, sections)
    _check_length(sections, _MONOMIAL, (2 ** (power + 1) - 1) * G1_BYTES)
    _check_length(sections, _G2_POWERS, 2**power * G2_BYTES)
    if _LAGRANGE not in sections:
        raise SrsInvalid("it is not prepared for phase 2: run `snarkjs powersoftau prepare phase2 IN.ptau OUT.ptau`")
    # snarkjs adds the Lagrange base of one power more than the file has.
    _check_length(sections, _LAGRANGE, (2 ** (power + 2) - 1) * G1_BYTES)
    return Ptau(file, power, sections)


def lagrange_step(logrows: int) -> int:
    """j with ω_halo2 = ω_snarkjs^j for the roots of order 2**logrows, bit by bit from the lowest."""
    ours, theirs = root_of_unity(logrows), root_of_unity(logrows, SNARKJS_ROOT)
    step = 0
    for bit in range(logrows):
        rest = ours * pow(theirs, -step, SCALAR_FIELD)
        if pow(rest, 1 << (logrows - 1 - bit), SCALAR_FIELD) != 1:
            step |= 1 << bit
    return step


def _sections(file: BufferedReader, size: int) -> dict[int, tuple[int, int]]:
    file.seek(len(MAGIC))
    version, count = _u32(file), _u32(file)
    if version != 1:
        raise SrsInvalid(f"it is a .ptau file of version {version}; version 1 is known")
    sections: dict[int, tuple[int, int]] = {}
    at = file.tell()
    for _ in range(count):
        file.seek(at)
        number, length = _u32(file), int.from_bytes(file.read(8), "little")
        if at + _SECTION_HEAD_BYTES + length > size:
            raise SrsInvalid(f"the .ptau file is cut short: section {number} does not end in it")
        if number in sections:
            raise SrsInvalid(f"the .ptau file has section {number} twice")
        sections[number] = (at + _SECTION_HEAD_BYTES, length)
        at += _SECTION_HEAD_BYTES + length
    if at != size:
        raise SrsInvalid(f"the .ptau file has {size - at:,} bytes after its last section")
    return sections


def _power(file: BufferedReader, sections: Mapping[int, tuple[int, int]]) -> int:
    if _HEADER not in sections:
        raise SrsInvalid(f"the .ptau file has no section {_HEADER}")
    file.seek(sections[_HEADER][0])
    field_bytes = _u32(file)
    if field_bytes != COORDINATE_BYTES or int.from_bytes(file.read(field_bytes), "little") != BASE_FIELD:
        raise SrsInvalid("the .ptau file is not over BN254, which snarkjs calls bn128")
    _check_length(sections, _HEADER, 4 + COORDINATE_BYTES + 4 + 4)
    power, ceremony_power = _u32(file), _u32(file)
    if not 1 <= power <= ceremony_power <= TWO_ADICITY:
        raise SrsInvalid(f"the .ptau file cannot hold 2^{power} points of a ceremony of 2^{ceremony_power}")
    return power


def _check_length(sections: Mapping[int, tuple[int, int]], number: int, length: int) -> None:
    if number not in sections:
        raise SrsInvalid(f"the .ptau file has no section {number}")
    if sections[number][1] != length:
        raise SrsInvalid(f"section {number} of the .ptau file has {sections[number][1]:,} bytes, not {length:,}")


def _u32(file: BufferedReader) -> int:
    return int.from_bytes(file.read(4), "little")
