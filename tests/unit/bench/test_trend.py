"""What counts as growth, and what as noise."""

from __future__ import annotations

import numpy as np
import pytest

from app.bench.trend import theil_sen, trend

TIMES = [float(number) for number in range(60)]


def noisy(level: float, slope: float = 0.0) -> list[float]:
    noise = np.random.default_rng(3).normal(scale=level * 0.01, size=len(TIMES))
    return [float(level + slope * at + off) for at, off in zip(TIMES, noise, strict=True)]


def test_trend__noise_around_a_level__is_flat() -> None:
    found = trend(TIMES, noisy(240.0))
    assert found.is_flat()
    assert abs(found.change) < 0.01


def test_trend__steady_growth__is_told_by_quarters_and_by_line() -> None:
    found = trend(TIMES, noisy(240.0, slope=0.5))
    assert not found.is_flat()
    assert found.by_line == pytest.approx(0.5 * 59, rel=0.1)
    assert found.last - found.first == pytest.approx(0.5 * 45, rel=0.1)


def test_trend__memory_that_falls__is_flat() -> None:
    assert trend(TIMES, noisy(240.0, slope=-1.0)).is_flat()


def test_theil_sen__a_few_wild_figures__do_not_move_it() -> None:
    values = [2.0 * at for at in TIMES]
    values[7], values[30] = 9_999.0, -9_999.0
    assert theil_sen(TIMES, values) == pytest.approx(2.0)


@pytest.mark.parametrize(("last", "steady"), [(50, True), (52, True), (53, False)])
def test_trend__of_open_files__allows_two_more_and_no_leak(last: int, steady: bool) -> None:
    counts = [50.0] * 30 + [float(last)] * 30
    assert trend(TIMES, counts).is_steady_count() is steady
