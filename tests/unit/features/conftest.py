from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import pytest

Sizes = Sequence[int | None]


def _middle(sizes: Sequence[int]) -> int:
    return (statistics.median_low(sizes) + statistics.median_high(sizes)) // 2


def _without_stuck_prices(own: Sizes, venues: Sequence[Sizes]) -> list[int | None]:
    kept, minute = list(own), 0
    while minute < len(own):
        end = minute
        while end < len(own) and own[end] == 0:
            end += 1
        if sum(any(other[t] for other in venues) for t in range(minute, end)) >= 2:
            kept[minute : end + 1] = [None] * len(kept[minute : end + 1])
        minute = end + 1
    return kept


def _outsized(minutes: Sequence[Sizes]) -> int:
    """Four times the mean minute, but from 0.05 % to 0.3 %."""
    heard = [[size for size in minute if size is not None] for minute in minutes]
    middles = [_middle(here) for here in heard if here]
    mean = sum(middles) // len(middles) if middles else 0
    return min(max(4 * mean, 500_000), 3_000_000)


def _together(minute: Sizes, quorum: int, outsized: int) -> int | None:
    here = [size for size in minute if size is not None]
    if len(here) >= 3:
        alone_above = max(outsized, 2 * _middle(here) + 1)
        here = [size for size in here if size < alone_above]
    if len(here) < max(quorum, 1):
        return None
    middle = _middle(here)
    witnesses = [size for size in here if 2 * size >= middle]
    return middle if middle < outsized or 3 * len(witnesses) > 2 * len(here) else None


@pytest.fixture(scope="session")
def slow_market() -> Callable[[Sequence[Sizes], int], list[int | None]]:
    """The rules by which several venues become one series, one minute at a time; None is a missing return."""

    def series(venues: Sequence[Sizes], quorum: int) -> list[int | None]:
        kept = [_without_stuck_prices(own, venues) for own in venues]
        minutes = list(zip(*kept, strict=True))
        outsized = _outsized(minutes)
        return [_together(minute, quorum, outsized) for minute in minutes]

    return series
