"""The structure of `.ptau` files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from app.errors import SrsInvalid
from app.proving.bn254 import BASE_FIELD, root_of_unity
from app.proving.ptau import SNARKJS_ROOT, lagrange_step, read_ptau
from app.types import SCALAR_FIELD

Sections = dict[int, bytes]


def sections(power: int = 2, *, field: int = BASE_FIELD, ceremony_power: int = 28) -> Sections:
    """The sections that conversion needs, with zeros for points."""
    return {
        1: struct.pack("<I", 32) + field.to_bytes(32, "little") + struct.pack("<II", power, ceremony_power),
        2: bytes((2 ** (power + 1) - 1) * 64),
        3: bytes(2**power * 128),
        12: bytes((2 ** (power + 2) - 1) * 64),
    }


def ptau(parts: Sections, *, version: int = 1, more: int = 0) -> bytes:
    head = b"ptau" + struct.pack("<II", version, len(parts) + more)
    return head + b"".join(struct.pack("<IQ", number, len(part)) + part for number, part in parts.items())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.ptau"


def refuse(path: Path, raw: bytes, reason: str) -> None:
    path.write_bytes(raw)
    with path.open("rb") as file, pytest.raises(SrsInvalid, match=reason):
        read_ptau(file, path)


def test_lagrange_step__at_k_11__is_the_one_that_was_measured() -> None:
    assert lagrange_step(11) == 1761


@pytest.mark.parametrize("logrows", [1, 2, 14, 20])
def test_lagrange_step__turns_one_root_into_the_other(logrows: int) -> None:
    theirs = root_of_unity(logrows, SNARKJS_ROOT)
    assert pow(theirs, lagrange_step(logrows), SCALAR_FIELD) == root_of_unity(logrows)


def test_ptau__prepared__is_read(path: Path) -> None:
    path.write_bytes(ptau(sections(power=3)))
    with path.open("rb") as file:
        assert read_ptau(file, path).power == 3


def test_ptau__with_sections_in_another_order__is_read(path: Path) -> None:
    path.write_bytes(ptau(dict(reversed(sections(power=3).items()))))
    with path.open("rb") as file:
        assert read_ptau(file, path).power == 3


def test_ptau__smaller_than_asked__names_a_file_that_is_large_enough(path: Path) -> None:
    path.write_bytes(ptau(sections(power=3)))
    with path.open("rb") as file, pytest.raises(SrsInvalid, match=r"2\^3 points and 2\^11 .*hez_final_11"):
        read_ptau(file, path).srs(11)


def test_ptau__not_prepared_for_phase_2__says_how_to(path: Path) -> None:
    parts = sections()
    del parts[12]
    refuse(path, ptau(parts), "prepare phase2")


@pytest.mark.parametrize("length", [4, 11, 20, 60, 1000, -1])
def test_ptau__cut_short__is_refused(path: Path, length: int) -> None:
    refuse(path, ptau(sections())[:length], "cut short|version|no section")


def test_ptau__with_bytes_after_its_end__is_refused(path: Path) -> None:
    refuse(path, ptau(sections()) + b"\0", "after its last section")


def test_ptau__over_another_curve__is_refused(path: Path) -> None:
    refuse(path, ptau(sections(field=BASE_FIELD - 2)), "BN254")


def test_ptau__of_another_version__is_refused(path: Path) -> None:
    refuse(path, ptau(sections(), version=2), "version 2")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_ptau__without_a_section__is_refused(path: Path, number: int) -> None:
    parts = sections()
    del parts[number]
    refuse(path, ptau(parts), f"no section {number}")


@pytest.mark.parametrize("number", [1, 2, 3, 12])
def test_ptau__with_a_section_that_does_not_fit_its_power__is_refused(path: Path, number: int) -> None:
    parts = sections()
    refuse(path, ptau({**parts, number: parts[number][:-4]}), f"section {number} .* bytes, not")


@pytest.mark.parametrize(("power", "ceremony_power"), [(0, 28), (2, 1), (2, 29)])
def test_ptau__whose_power_cannot_be__is_refused(path: Path, power: int, ceremony_power: int) -> None:
    refuse(path, ptau(sections(power, ceremony_power=ceremony_power)), "cannot hold")


def test_ptau__that_counts_more_sections_than_it_has__is_refused(path: Path) -> None:
    refuse(path, ptau(sections(), more=1), "twice|cut short")
