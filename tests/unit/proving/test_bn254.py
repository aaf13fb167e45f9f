"""BN254 on plain integers, against py_ecc."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from py_ecc import optimized_bn128 as reference

from app.proving.bn254 import (
    BASE_FIELD,
    GENERATOR_G1,
    GENERATOR_G2,
    ROOT_OF_UNITY,
    TWO_ADICITY,
    evaluate_on_domain,
    multi_scalar_multiply,
    pairings_agree,
    read_coordinates,
    read_g1,
    read_g2,
    root_of_unity,
    write_coordinates,
)
from app.types import SCALAR_FIELD

RANDOM = random.Random(4)


def times(scalar: int) -> tuple[int, int]:
    x, y = reference.normalize(reference.multiply(reference.G1, scalar))
    return x.n, y.n


def test_fields__are_those_of_the_other_library() -> None:
    assert (reference.field_modulus, reference.curve_order) == (BASE_FIELD, SCALAR_FIELD)


def test_root_of_unity__is_halo2s_and_of_full_order() -> None:
    assert pow(7, (SCALAR_FIELD - 1) >> TWO_ADICITY, SCALAR_FIELD) == ROOT_OF_UNITY
    assert pow(ROOT_OF_UNITY, 1 << (TWO_ADICITY - 1), SCALAR_FIELD) == SCALAR_FIELD - 1


@pytest.mark.parametrize("logarithm", [0, 1, 11, 28])
def test_root_of_unity__has_the_order_asked_for(logarithm: int) -> None:
    root = root_of_unity(logarithm)
    assert pow(root, 1 << logarithm, SCALAR_FIELD) == 1
    assert logarithm == 0 or pow(root, 1 << (logarithm - 1), SCALAR_FIELD) != 1


def test_coordinates__one__is_stored_as_the_montgomery_radix() -> None:
    assert write_coordinates([1]) == (2**256 % BASE_FIELD).to_bytes(32, "little")


def test_coordinates__written_and_read__are_the_same() -> None:
    values = [0, 1, BASE_FIELD - 1, *(RANDOM.randrange(BASE_FIELD) for _ in range(20))]
    assert read_coordinates(write_coordinates(values)) == values


def test_coordinates__not_reduced__are_refused() -> None:
    with pytest.raises(ValueError, match="coordinate 1 is not below"):
        read_coordinates(bytes(32) + BASE_FIELD.to_bytes(32, "little"))


def test_g1_points__on_the_curve__are_read() -> None:
    points = [times(scalar) for scalar in (1, 2, 3)]
    assert read_g1(b"".join(write_coordinates(point) for point in points)) == points


@pytest.mark.parametrize("point", [(1, 3), (0, 0)], ids=["elsewhere", "infinity"])
def test_g1_point__off_the_curve__is_refused(point: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="point 1 is not on the curve"):
        read_g1(write_coordinates((*GENERATOR_G1, *point)))


def test_g2_generator__is_read_c0_first(g2_bytes: Callable[[int], bytes]) -> None:
    assert read_g2(g2_bytes(1)) == GENERATOR_G2
    x, y = reference.G2[:2]
    assert tuple(int(c) for c in (*x.coeffs, *y.coeffs)) == (*GENERATOR_G2[0], *GENERATOR_G2[1])


def test_g2_point__off_the_twist__is_refused() -> None:
    with pytest.raises(ValueError, match="not on the twist"):
        read_g2(write_coordinates((1, 2, 3, 4)))


def test_g2_point__outside_the_subgroup__is_refused() -> None:
    (x0, x1), (y0, y1) = point_outside_the_subgroup()
    with pytest.raises(ValueError, match="subgroup"):
        read_g2(write_coordinates((x0, x1, y0, y1)))


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_multi_scalar_multiply__random_points__is_the_sum(count: int) -> None:
    logs = [RANDOM.randrange(1, SCALAR_FIELD) for _ in range(count)]
    scalars = [RANDOM.randrange(SCALAR_FIELD) for _ in range(count)]
    expected = times(sum(a * b for a, b in zip(logs, scalars, strict=True)) % SCALAR_FIELD)
    assert multi_scalar_multiply([times(log) for log in logs], scalars) == expected


def test_multi_scalar_multiply__same_point_often__doubles() -> None:
    assert multi_scalar_multiply([times(5)] * 40, [3] * 40) == times(600)


def test_multi_scalar_multiply__point_and_its_opposite__is_infinity() -> None:
    assert multi_scalar_multiply([times(5), times(SCALAR_FIELD - 5)], [9, 9]) is None


@pytest.mark.parametrize("scalars", [[], [0, 0]])
def test_multi_scalar_multiply__nothing__is_infinity(scalars: list[int]) -> None:
    assert multi_scalar_multiply([GENERATOR_G1] * len(scalars), scalars) is None


@pytest.mark.parametrize("logarithm", [0, 1, 4])
def test_evaluate_on_domain__is_the_polynomial_at_each_power_of_the_root(logarithm: int) -> None:
    root = root_of_unity(logarithm)
    coefficients = [RANDOM.randrange(SCALAR_FIELD) for _ in range(1 << logarithm)]
    points = [pow(root, j, SCALAR_FIELD) for j in range(1 << logarithm)]
    values = [sum(c * pow(at, i, SCALAR_FIELD) for i, c in enumerate(coefficients)) % SCALAR_FIELD for at in points]
    assert evaluate_on_domain(coefficients, root) == values


def test_pairings__of_the_same_product__agree(g2_bytes: Callable[[int], bytes]) -> None:
    assert pairings_agree((times(6), GENERATOR_G2), (times(2), read_g2(g2_bytes(3))))


def test_pairings__of_another_product__disagree(g2_bytes: Callable[[int], bytes]) -> None:
    assert not pairings_agree((times(7), GENERATOR_G2), (times(2), read_g2(g2_bytes(3))))


def test_pairings__with_infinity__agree_with_each_other_alone() -> None:
    assert pairings_agree((None, GENERATOR_G2), (None, GENERATOR_G2))
    assert not pairings_agree((None, GENERATOR_G2), (times(2), GENERATOR_G2))


def point_outside_the_subgroup() -> tuple[tuple[int, int], tuple[int, int]]:
    """The first point of the twist with x = (n, 0): its order has the cofactor in it, all but surely."""
    for n in range(1, 100):
        x = reference.FQ2([n, 0])
        root = square_root(x * x * x + reference.b2)
        if root is not None:
            return (n, 0), (int(root.coeffs[0]), int(root.coeffs[1]))
    raise AssertionError("no point found")


def square_root(value: reference.FQ2) -> reference.FQ2 | None:
    """In the quadratic extension where i² = -1, by the norm."""
    a, b = (int(c) for c in value.coeffs)
    norm = base_root(a * a + b * b)
    for sign in (1, -1) if norm is not None else ():
        half = (a + sign * norm) * pow(2, -1, BASE_FIELD)
        real = base_root(half)
        if real:
            found = reference.FQ2([real, b * pow(2 * real, -1, BASE_FIELD) % BASE_FIELD])
            return found if found * found == value else None
    return None


def base_root(value: int) -> int | None:
    """The base field's modulus is 3 mod 4."""
    root = pow(value, (BASE_FIELD + 1) // 4, BASE_FIELD)
    return root if root * root % BASE_FIELD == value % BASE_FIELD else None
