"""A small SRS made here, point by point and by another library, so that its secret is known to the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from py_ecc import optimized_bn128 as reference

from app.proving.bn254 import root_of_unity, write_coordinates
from app.types import SCALAR_FIELD


def g1_bytes(scalar: int) -> bytes:
    x, y = reference.normalize(reference.multiply(reference.G1, scalar % SCALAR_FIELD))
    return write_coordinates((x.n, y.n))


def g2_bytes(scalar: int) -> bytes:
    x, y = reference.normalize(reference.multiply(reference.G2, scalar % SCALAR_FIELD))
    return write_coordinates([int(c) for c in (*x.coeffs, *y.coeffs)])


def lagrange_values(secret: int, logrows: int) -> list[int]:
    """l_j(s) = ω^j·(s^n − 1) / (n·(s − ω^j))."""
    rows, root = 1 << logrows, root_of_unity(logrows)
    points = [pow(root, j, SCALAR_FIELD) for j in range(rows)]
    vanishing = pow(secret, rows, SCALAR_FIELD) - 1
    return [at * vanishing * pow(rows * (secret - at), -1, SCALAR_FIELD) % SCALAR_FIELD for at in points]


def make_srs(
    secret: int = 987654321, logrows: int = 3, *, lagrange_secret: int | None = None, g2_secret: int | None = None
) -> bytes:
    """A .srs file; one of the three parts can be of another secret."""
    powers = [pow(secret, i, SCALAR_FIELD) for i in range(1 << logrows)]
    values = lagrange_values(lagrange_secret or secret, logrows)
    return b"".join(
        (
            logrows.to_bytes(4, "little"),
            *(g1_bytes(power) for power in powers),
            *(g1_bytes(value) for value in values),
            g2_bytes(1),
            g2_bytes(g2_secret or secret),
        )
    )


@pytest.fixture(scope="session", name="make_srs")
def srs_maker() -> Callable[..., bytes]:
    return make_srs


@pytest.fixture(scope="session")
def srs(make_srs: Callable[..., bytes]) -> bytes:
    """Sound, for 8 rows: points of 64 bytes from byte 4 and from byte 516, G2 at 1028, s·G2 at 1156, 1284 in all."""
    return make_srs()


@pytest.fixture(scope="session", name="g1_bytes")
def g1_writer() -> Callable[[int], bytes]:
    return g1_bytes


@pytest.fixture(scope="session", name="g2_bytes")
def g2_writer() -> Callable[[int], bytes]:
    return g2_bytes
