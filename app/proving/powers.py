"""Whether the points of an SRS are what they claim to be: 2^k powers of one secret s, in two bases, and s·G2.

This says that the file is well formed, not that nobody knows s: the file's origin says that.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import SrsInvalid
from app.proving.bn254 import (
    BASE_FIELD,
    G1,
    G1_BYTES,
    G2,
    G2_BYTES,
    GENERATOR_G1,
    GENERATOR_G2,
    evaluate_on_domain,
    multi_scalar_multiply,
    pairings_agree,
    read_g1,
    read_g2,
    root_of_unity,
)
from app.proving.ceremony import LARGEST_LOGROWS
from app.proving.srs import HEADER_BYTES, srs_size

_WEIGHT_BITS = 128


@dataclass(frozen=True, slots=True)
class Powers:
    """The points of an SRS; each is on its curve, none is infinity."""

    logrows: int
    monomial: Sequence[G1]
    """s^i·G1 for i below 2**logrows."""
    lagrange: Sequence[G1]
    """l_j(s)·G1, where l_j is 1 at the j-th power of the root of unity and 0 at the others."""
    g2: G2
    s_g2: G2


def check_header(head: bytes, size: int) -> int:
    """The logrows of a file of ``size`` bytes that begins with ``head``. Raises `SrsInvalid`."""
    logrows = int.from_bytes(head[:HEADER_BYTES], "little")
    if len(head) < HEADER_BYTES or not 0 < logrows <= LARGEST_LOGROWS:
        raise SrsInvalid(
            f"not an SRS: a .srs file begins with its k, 1 to {LARGEST_LOGROWS}, and a .ptau file with 'ptau'"
        )
    if size != srs_size(logrows):
        raise SrsInvalid(
            f"cut short or not an SRS: its header says k = {logrows}, "
            f"which takes {srs_size(logrows):,} bytes, and it has {size:,}"
        )
    return logrows


def check_srs(raw: bytes) -> int:
    """Check the bytes of a whole .srs file and give its logrows. Raises `SrsInvalid` with the reason.

    A file that is not exactly 2^k consecutive powers of one secret, their Lagrange form and s·G2 passes with a
    probability of at most 2^-127: each of the two random linear combinations, with fresh 128-bit weights over a group
    of prime order above 2^253, misses a wrong point with at most 2^-128, and everything else is exact.
    """
    powers = read_powers(raw, check_header(raw, len(raw)))
    _check_generators(powers)
    _check_secret(powers)
    weights = [secrets.randbits(_WEIGHT_BITS) for _ in powers.monomial]
    _check_consecutive(powers, weights)
    _check_lagrange(powers, weights)
    return powers.logrows


def read_powers(raw: bytes, logrows: int) -> Powers:
    """The points of a .srs file, each on its curve and in the prime subgroup. Raises `SrsInvalid`."""
    size = G1_BYTES << logrows
    lagrange_at, g2_at = HEADER_BYTES + size, HEADER_BYTES + 2 * size
    try:
        subject = "monomial base"
        monomial = read_g1(raw[HEADER_BYTES:lagrange_at])
        subject = "Lagrange base"
        lagrange = read_g1(raw[lagrange_at:g2_at])
        subject = "G2"
        g2 = read_g2(raw[g2_at : g2_at + G2_BYTES])
        subject = "s·G2"
        s_g2 = read_g2(raw[g2_at + G2_BYTES :])
    except ValueError as error:
        raise SrsInvalid(f"{subject}: {error}") from error
    return Powers(logrows, monomial, lagrange, g2, s_g2)


def _check_generators(powers: Powers) -> None:
    if powers.monomial[0] != GENERATOR_G1:
        raise SrsInvalid("monomial base: the first point is not the generator of G1")
    if powers.g2 != GENERATOR_G2:
        raise SrsInvalid("G2: the point is not the generator of G2")


def _check_secret(powers: Powers) -> None:
    """One secret s in both groups: e(s·G1, G2) = e(G1, s·G2). With s = 1 or -1 everybody knows it."""
    (x, y), (s_x, s_y) = powers.g2, powers.s_g2
    if s_x == x and s_y in (y, (-y[0] % BASE_FIELD, -y[1] % BASE_FIELD)):
        raise SrsInvalid("s·G2: the secret is 1 or -1")
    if not pairings_agree((powers.monomial[1], powers.g2), (powers.monomial[0], powers.s_g2)):
        raise SrsInvalid("pairing: the second point of the monomial base and s·G2 hold different secrets")


def _check_consecutive(powers: Powers, weights: Sequence[int]) -> None:
    """Each point is s times the one before, in one random combination of all of them."""
    later = multi_scalar_multiply(powers.monomial[1:], weights[1:])
    earlier = multi_scalar_multiply(powers.monomial[:-1], weights[1:])
    if not pairings_agree((later, powers.g2), (earlier, powers.s_g2)):
        raise SrsInvalid("monomial base: the points are not consecutive powers of the secret")


def _check_lagrange(powers: Powers, weights: Sequence[int]) -> None:
    """A random polynomial has the same commitment from its coefficients and from its values."""
    values = evaluate_on_domain(weights, root_of_unity(powers.logrows))
    if multi_scalar_multiply(powers.monomial, weights) != multi_scalar_multiply(powers.lagrange, values):
        raise SrsInvalid("Lagrange base: it does not belong to the monomial base")
