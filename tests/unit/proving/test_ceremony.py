"""What kind of SRS a file is, by published hashes."""

from __future__ import annotations

import re

import pytest

from app.proving.ceremony import (
    CEREMONY_PTAU_BLAKE2B,
    PUBLIC_SRS_SHA256,
    SrsOrigin,
    ptau_name,
    srs_origin,
)

UNKNOWN = "ab" * 32


def test_lists__cover_every_size__and_are_hashes() -> None:
    assert list(PUBLIC_SRS_SHA256) == list(range(1, 27))
    assert list(CEREMONY_PTAU_BLAKE2B) == list(range(8, 29))
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in PUBLIC_SRS_SHA256.values())
    assert all(re.fullmatch("[0-9a-f]{128}", digest) for digest in CEREMONY_PTAU_BLAKE2B.values())


@pytest.mark.parametrize(
    ("sha256", "blake2b", "trusted", "origin"),
    [
        (PUBLIC_SRS_SHA256[11], None, (), SrsOrigin.PUBLIC),
        (PUBLIC_SRS_SHA256[12], None, (), SrsOrigin.DEVELOPMENT),
        (UNKNOWN, CEREMONY_PTAU_BLAKE2B[14], (), SrsOrigin.CEREMONY),
        (UNKNOWN, "cd" * 64, (), SrsOrigin.DEVELOPMENT),
        (UNKNOWN, "cd" * 64, (UNKNOWN,), SrsOrigin.TRUSTED),
        (UNKNOWN, None, ("cd" * 32,), SrsOrigin.DEVELOPMENT),
    ],
)
def test_origin__of_an_srs_for_2_to_11_rows__is_the_strongest_that_its_hashes_show(
    sha256: str, blake2b: str | None, trusted: tuple[str, ...], origin: SrsOrigin
) -> None:
    assert srs_origin(11, sha256, blake2b, trusted) is origin


@pytest.mark.parametrize(
    ("power", "name"),
    [
        (5, "powersOfTau28_hez_final_08.ptau"),
        (11, "powersOfTau28_hez_final_11.ptau"),
        (28, "powersOfTau28_hez_final.ptau"),
    ],
)
def test_ptau_name__is_that_of_the_smallest_published_file_that_is_large_enough(power: int, name: str) -> None:
    assert ptau_name(power) == name
