"""The points of an SRS: what is sound passes, everything else is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.errors import SrsInvalid
from app.proving.powers import check_srs
from app.types import SCALAR_FIELD

MakeSrs = Callable[..., bytes]
G1Bytes = Callable[[int], bytes]

MONOMIAL, LAGRANGE, G2, S_G2 = 4, 516, 1028, 1156


def replaced(raw: bytes, at: int, part: bytes) -> bytes:
    return raw[:at] + part + raw[at + len(part) :]


@pytest.mark.parametrize("logrows", [1, 2, 5])
def test_srs__sound__passes(make_srs: MakeSrs, logrows: int) -> None:
    assert check_srs(make_srs(logrows=logrows)) == logrows


def test_srs__with_any_one_byte_changed__is_refused(srs: bytes) -> None:
    for place in range(len(srs)):
        changed = bytes([srs[place] ^ (1 << place % 8)])
        with pytest.raises(SrsInvalid):
            check_srs(replaced(srs, place, changed))


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (0, "cut short or not an SRS"),
        (3, "not an SRS"),
        (MONOMIAL + 64, "monomial base: point 1 is not on the curve"),
        (LAGRANGE - 1, "monomial base"),
        (LAGRANGE, "Lagrange base: point 0 is not on the curve"),
        (G2, "G2: the point is not on the twist"),
        (S_G2, "s·G2: the point is not on the twist"),
        (-1, "s·G2"),
    ],
)
def test_srs__with_a_byte_changed__says_where(srs: bytes, place: int, reason: str) -> None:
    place %= len(srs)
    with pytest.raises(SrsInvalid, match=reason):
        check_srs(replaced(srs, place, bytes([srs[place] ^ 1])))


@pytest.mark.parametrize("length", [0, 3, 4, 1000, 1283, 1285])
def test_srs__of_another_length__is_refused(srs: bytes, length: int) -> None:
    with pytest.raises(SrsInvalid, match="not an SRS"):
        check_srs((srs + b"\0")[:length])


def test_srs__whose_groups_hold_different_secrets__fails_the_pairing(make_srs: MakeSrs) -> None:
    with pytest.raises(SrsInvalid, match="pairing"):
        check_srs(make_srs(g2_secret=5))


def test_srs__with_one_point_that_is_another_power__is_refused(srs: bytes, g1_bytes: G1Bytes) -> None:
    with pytest.raises(SrsInvalid, match="not consecutive powers"):
        check_srs(replaced(srs, MONOMIAL + 7 * 64, g1_bytes(77)))


def test_srs__with_two_powers_exchanged__is_refused(srs: bytes) -> None:
    third, fourth = (srs[MONOMIAL + i * 64 : MONOMIAL + (i + 1) * 64] for i in (2, 3))
    with pytest.raises(SrsInvalid, match="not consecutive powers"):
        check_srs(replaced(srs, MONOMIAL + 2 * 64, fourth + third))


def test_srs__with_a_lagrange_base_of_another_secret__is_refused(make_srs: MakeSrs) -> None:
    with pytest.raises(SrsInvalid, match="Lagrange base: it does not belong"):
        check_srs(make_srs(lagrange_secret=5))


def test_srs__with_two_lagrange_points_exchanged__is_refused(srs: bytes) -> None:
    first, second = (srs[LAGRANGE + i * 64 : LAGRANGE + (i + 1) * 64] for i in (0, 1))
    with pytest.raises(SrsInvalid, match="Lagrange base: it does not belong"):
        check_srs(replaced(srs, LAGRANGE, second + first))


def test_srs__with_another_first_point__is_refused(srs: bytes, g1_bytes: G1Bytes) -> None:
    with pytest.raises(SrsInvalid, match="not the generator of G1"):
        check_srs(replaced(srs, MONOMIAL, g1_bytes(2)))


def test_srs__with_another_g2__is_refused(srs: bytes, g2_bytes: G1Bytes) -> None:
    with pytest.raises(SrsInvalid, match="not the generator of G2"):
        check_srs(replaced(srs, G2, g2_bytes(2)))


@pytest.mark.parametrize("secret", [1, SCALAR_FIELD - 1])
def test_srs__whose_secret_is_one_or_minus_one__is_refused(srs: bytes, g2_bytes: G1Bytes, secret: int) -> None:
    with pytest.raises(SrsInvalid, match="secret is 1 or -1"):
        check_srs(replaced(srs, S_G2, g2_bytes(secret)))


def test_srs__whose_secret_is_zero__is_refused(srs: bytes) -> None:
    with pytest.raises(SrsInvalid, match="not on the twist"):
        check_srs(replaced(srs, S_G2, bytes(128)))
