"""BN254 arithmetic on Python integers, for checking an SRS: points, multi-scalar multiplication, FFT, pairing.

The only door to py_ecc, which does the pairing and G2. Its field objects are too slow for thousands of G1 points, so
those are plain tuples here. Nothing takes constant time: an SRS is public.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.types import SCALAR_FIELD

_RECURSION_LIMIT = sys.getrecursionlimit()

from py_ecc.fields import optimized_bn128_FQ as FQ  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ2 as FQ2  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ12 as FQ12  # noqa: E402
from py_ecc.optimized_bn128 import optimized_curve as curve  # noqa: E402
from py_ecc.optimized_bn128.optimized_pairing import final_exponentiate, pairing  # noqa: E402
from py_ecc.typing import Optimized_Point3D  # noqa: E402

# py_ecc raises it a hundredfold for the whole process: deeply nested JSON would overflow the stack and kill us.
sys.setrecursionlimit(_RECURSION_LIMIT)

BASE_FIELD = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""Points have coordinates modulo this."""

COORDINATE_BYTES, G1_BYTES, G2_BYTES = 32, 64, 128

TWO_ADICITY = 28
"""The scalar field has roots of unity of order 2**28 and no higher power of two."""

ROOT_OF_UNITY = 0x03DDB9F5166D18B798865EA93DD31F743215CF6DD39329C8D34F1ED960C37C9C
"""The one of order 2**28 that halo2 evaluates over: 7^((r-1)/2^28)."""

G1 = tuple[int, int]
"""An affine point (x, y) of y² = x³ + 3. Infinity has none and is `None` where it can occur."""

G2 = tuple[tuple[int, int], tuple[int, int]]
"""An affine point of the twist, each coordinate c0 + c1·i as (c0, c1)."""

_Jacobian = tuple[int, int, int]
"""(X, Y, Z) for x = X/Z², y = Y/Z³; infinity has Z = 0."""

_INFINITY: _Jacobian = (1, 1, 0)
_MONTGOMERY = 1 << 256
_FROM_MONTGOMERY = pow(_MONTGOMERY, -1, BASE_FIELD)

GENERATOR_G1: G1 = (1, 2)


def _coefficients(value: FQ2) -> tuple[int, int]:
    c0, c1 = value.coeffs
    return int(c0), int(c1)


GENERATOR_G2: G2 = (_coefficients(curve.G2[0]), _coefficients(curve.G2[1]))


def read_coordinates(raw: bytes) -> list[int]:
    """Coordinates as halo2 and snarkjs store them: 32 bytes little-endian, in Montgomery form with R = 2**256.

    Raises `ValueError` when one is not below the field's modulus.
    """
    stored = [int.from_bytes(raw[at : at + COORDINATE_BYTES], "little") for at in range(0, len(raw), COORDINATE_BYTES)]
    if stored and max(stored) >= BASE_FIELD:
        index = next(i for i, value in enumerate(stored) if value >= BASE_FIELD)
        raise ValueError(f"coordinate {index} is not below the field's modulus")
    return [value * _FROM_MONTGOMERY % BASE_FIELD for value in stored]


def write_coordinates(values: Sequence[int]) -> bytes:
    """The inverse of `read_coordinates`."""
    return b"".join((value * _MONTGOMERY % BASE_FIELD).to_bytes(COORDINATE_BYTES, "little") for value in values)


def read_g1(raw: bytes) -> list[G1]:
    """Points of 64 bytes each. Raises `ValueError` for the first that is not on the curve, or is infinity."""
    numbers = read_coordinates(raw)
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    for index, (x, y) in enumerate(points):
        if (y * y - x * x * x - 3) % BASE_FIELD:
            # Infinity is stored as (0, 0), which is not on the curve either.
            raise ValueError(f"point {index} is not on the curve")
    return points


def read_g2(raw: bytes) -> G2:
    """A point of 128 bytes: x and y, c0 before c1. Raises `ValueError` when it is not in the prime subgroup."""
    x0, x1, y0, y1 = read_coordinates(raw)
    point: G2 = ((x0, x1), (y0, y1))
    if not curve.is_on_curve(_twisted(point), curve.b2):
        raise ValueError("the point is not on the twist")
    if not curve.is_inf(curve.multiply(_twisted(point), SCALAR_FIELD)):
        raise ValueError("the point is not in the subgroup of prime order")
    return point


def multi_scalar_multiply(points: Sequence[G1], scalars: Sequence[int]) -> G1 | None:
    """Sum of scalar times point, by Pippenger's buckets. Scalars are at least 0; `None` is infinity."""
    bits = max(scalars, default=0).bit_length()
    window = max(2, len(points).bit_length() - 5)
    total = _INFINITY
    for low in reversed(range(0, bits, window)):
        for _ in range(window):
            total = _double(total)
        total = _add(total, _window_sum(points, scalars, low, window))
    return _affine(total)


def _window_sum(points: Sequence[G1], scalars: Sequence[int], low: int, window: int) -> _Jacobian:
    """Sum over the points, each times the ``window`` bits of its scalar from bit ``low`` on."""
    mask = (1 << window) - 1
    buckets = [_INFINITY] * (mask + 1)
    for point, scalar in zip(points, scalars, strict=True):
        digit = (scalar >> low) & mask
        if digit:
            buckets[digit] = _add_affine(buckets[digit], point)
    running = total = _INFINITY
    for bucket in reversed(buckets[1:]):
        running = _add(running, bucket)
        total = _add(total, running)
    return total


def _double(point: _Jacobian) -> _Jacobian:
    x, y, z = point
    yy = y * y % BASE_FIELD
    s = 4 * x * yy % BASE_FIELD
    m = 3 * x * x % BASE_FIELD
    doubled = (m * m - 2 * s) % BASE_FIELD
    return doubled, (m * (s - doubled) - 8 * yy * yy) % BASE_FIELD, 2 * y * z % BASE_FIELD


def _add_affine(left: _Jacobian, right: G1) -> _Jacobian:
    x1, y1, z1 = left
    x2, y2 = right
    if not z1:
        return x2, y2, 1
    zz = z1 * z1 % BASE_FIELD
    h = (x2 * zz - x1) % BASE_FIELD
    r = (y2 * zz * z1 - y1) % BASE_FIELD
    if not h:
        return _INFINITY if r else _double(left)
    hh = h * h % BASE_FIELD
    hhh = h * hh % BASE_FIELD
    v = x1 * hh % BASE_FIELD
    x3 = (r * r - hhh - 2 * v) % BASE_FIELD
    return x3, (r * (v - x3) - y1 * hhh) % BASE_FIELD, z1 * h % BASE_FIELD


def _add(left: _Jacobian, right: _Jacobian) -> _Jacobian:
    x1, y1, z1 = left
    x2, y2, z2 = right
    if not z1:
        return right
    if not z2:
        return left
    zz1, zz2 = z1 * z1 % BASE_FIELD, z2 * z2 % BASE_FIELD
    u1, s1 = x1 * zz2 % BASE_FIELD, y1 * zz2 * z2 % BASE_FIELD
    h = (x2 * zz1 - u1) % BASE_FIELD
    r = (y2 * zz1 * z1 - s1) % BASE_FIELD
    if not h:
        return _INFINITY if r else _double(left)
    hh = h * h % BASE_FIELD
    hhh = h * hh % BASE_FIELD
    v = u1 * hh % BASE_FIELD
    x3 = (r * r - hhh - 2 * v) % BASE_FIELD
    return x3, (r * (v - x3) - s1 * hhh) % BASE_FIELD, z1 * z2 * h % BASE_FIELD


def _affine(point: _Jacobian) -> G1 | None:
    x, y, z = point
    if not z:
        return None
    inverse = pow(z, -1, BASE_FIELD)
    square = inverse * inverse % BASE_FIELD
    return x * square % BASE_FIELD, y * square * inverse % BASE_FIELD


def root_of_unity(logarithm: int, of_full_order: int = ROOT_OF_UNITY) -> int:
    """The root of unity of order 2**logarithm that a library takes, from its own of order 2**28."""
    return pow(of_full_order, 1 << (TWO_ADICITY - logarithm), SCALAR_FIELD)


def evaluate_on_domain(coefficients: Sequence[int], root: int) -> list[int]:
    """Values of a polynomial at root**0, root**1, … by FFT; as many coefficients as the order of ``root``."""
    size = len(coefficients)
    bits = size.bit_length() - 1
    values = [coefficients[int(f"{i:0{bits}b}"[::-1], 2)] for i in range(size)] if bits else list(coefficients)
    half = 1
    while half < size:
        step = pow(root, size // (2 * half), SCALAR_FIELD)
        twiddles = _geometric(step, half)
        for start in range(0, size, 2 * half):
            for i, twiddle in enumerate(twiddles, start):
                turned = values[i + half] * twiddle % SCALAR_FIELD
                values[i + half] = (values[i] - turned) % SCALAR_FIELD
                values[i] = (values[i] + turned) % SCALAR_FIELD
        half *= 2
    return values


def _geometric(ratio: int, length: int) -> list[int]:
    series, value = [], 1
    for _ in range(length):
        series.append(value)
        value = value * ratio % SCALAR_FIELD
    return series


def pairings_agree(left: tuple[G1 | None, G2], right: tuple[G1 | None, G2]) -> bool:
    """Whether e(left) = e(right). The points must be on their curves, those of G2 in the prime subgroup."""
    one = _miller(*left)
    other = _miller(_negated(right[0]), right[1])
    return bool(final_exponentiate(one * other) == FQ12.one())


def _miller(point: G1 | None, twist_point: G2) -> FQ12:
    return pairing(_twisted(twist_point), _projective(point), final_exponentiate=False)


def _negated(point: G1 | None) -> G1 | None:
    return point and (point[0], BASE_FIELD - point[1])


def _projective(point: G1 | None) -> Optimized_Point3D[FQ]:
    if point is None:
        return curve.Z1
    return FQ(point[0]), FQ(point[1]), FQ(1)


def _twisted(point: G2) -> Optimized_Point3D[FQ2]:
    x, y = point
    return FQ2(x), FQ2(y), FQ2.one()
