from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.features.returns import MISSING, NANO, MarketSeries, absolute_returns, log_ratio, market_returns
from app.types import MINUTE_MS, Candles, IntArray

MINUTES = 12
START_MS = 1_757_937_600_000
prices = st.lists(st.floats(60.0, 65.0), min_size=MINUTES + 3, max_size=MINUTES + 3)
presence = st.lists(st.booleans(), min_size=MINUTES + 3, max_size=MINUTES + 3)
sizes = st.sampled_from([MISSING, 0, 0, 1, 1_000, 1_001]) | st.integers(0, 10**7)
venue_returns = st.tuples(st.integers(1, 5), st.integers(1, 9)).flatmap(
    lambda shape: st.lists(st.lists(sizes, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
)
CALM = 200_000
"""A usual minute."""
quick = settings(max_examples=60, deadline=None)


def minutes_of(closes: list[float], present: list[bool], first: int = -2) -> Candles:
    """One candle a minute from two minutes before the range to one minute after it, where it is present."""
    times = enumerate(zip(closes, present, strict=True), start=first)
    return Candles.from_rows([[START_MS + t * MINUTE_MS, c, c, c, c, 1.0] for t, (c, here) in times if here])


def returns_of(candles: Candles) -> IntArray:
    return absolute_returns(candles, START_MS, START_MS + MINUTES * MINUTE_MS)


def by_venue(rows: list[list[int]]) -> dict[str, IntArray]:
    return {f"venue{number}": np.asarray(row, dtype=np.int64) for number, row in enumerate(rows)}


def exact_sizes(candles: Candles) -> list[float | None]:
    """The sizes of the returns before rounding, one minute at a time."""
    closes = dict(zip(candles.open_time_ms.tolist(), candles.close.tolist(), strict=True))
    pairs = [(START_MS + t * MINUTE_MS, START_MS + (t - 1) * MINUTE_MS) for t in range(MINUTES)]
    return [
        abs(math.log(closes[now] / closes[before])) * NANO if now in closes and before in closes else None
        for now, before in pairs
    ]


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-0.09, 0.1))
def test_log_ratio__moves_up_to_a_tenth__is_the_logarithm_to_1e_15(before: float, move: float) -> None:
    now = before * (1 + move)
    [found] = log_ratio(np.asarray([now]), np.asarray([before])).tolist()
    assert abs(found - math.log1p((now - before) / before)) <= 1e-15


def test_log_ratio__fall_of_a_tenth__is_the_logarithm_to_2e_15() -> None:
    [found] = log_ratio(np.asarray([90.0]), np.asarray([100.0])).tolist()
    assert abs(found - math.log(0.9)) <= 2e-15


@quick
@given(st.floats(1e-6, 1e6), st.floats(-1 / 3, 0.5))
def test_log_ratio__moves_up_to_a_half__is_the_logarithm_to_1e_8_parts(before: float, move: float) -> None:
    now = before * (1 + move)
    [found] = log_ratio(np.asarray([now]), np.asarray([before])).tolist()
    assert abs(found - math.log(now / before)) <= 1e-8


@quick
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_log_ratio__the_other_way_round__is_the_exact_negative(one: float, other: float) -> None:
    there, back = log_ratio(np.asarray([one, other]), np.asarray([other, one])).tolist()
    assert there == -back


def test_log_ratio__no_move__is_zero() -> None:
    assert log_ratio(np.asarray([3.7]), np.asarray([3.7])).tolist() == [0.0]


@quick
@given(prices, presence)
def test_absolute_returns__against_a_direct_loop__are_its_rounded_sizes(
    closes: list[float], present: list[bool]
) -> None:
    candles = minutes_of(closes, present)
    for found, exact in zip(returns_of(candles).tolist(), exact_sizes(candles), strict=True):
        assert found == MISSING if exact is None else abs(found - exact) <= 0.5 + 1e-4


@quick
@given(prices, presence, st.integers(-20, 20))
def test_absolute_returns__prices_in_another_unit_by_a_power_of_two__are_the_same(
    closes: list[float], present: list[bool], power: int
) -> None:
    scaled = [math.ldexp(close, power) for close in closes]
    assert returns_of(minutes_of(scaled, present)).tolist() == returns_of(minutes_of(closes, present)).tolist()


@quick
@given(prices, presence, st.floats(1e-3, 1e3))
def test_absolute_returns__prices_at_another_level__differ_by_rounding_only(
    closes: list[float], present: list[bool], factor: float
) -> None:
    scaled = [close * factor for close in closes]
    offset = returns_of(minutes_of(scaled, present)) - returns_of(minutes_of(closes, present))
    assert np.abs(offset).max() <= 1


@quick
@given(prices, st.lists(st.floats(1.0, 100.0), min_size=2, max_size=2))
def test_absolute_returns__candles_outside_the_range_and_the_one_before__do_not_matter(
    closes: list[float], others: list[float]
) -> None:
    everything = [True] * (MINUTES + 3)
    changed = [others[0], *closes[1:-1], others[1]]
    assert returns_of(minutes_of(changed, everything)).tolist() == returns_of(minutes_of(closes, everything)).tolist()


def test_absolute_returns__a_missing_minute__takes_its_own_return_and_the_next() -> None:
    present = [True] * (MINUTES + 3)
    present[2 + 5] = False
    found = returns_of(minutes_of([60.0] * (MINUTES + 3), present))
    assert np.flatnonzero(found == MISSING).tolist() == [5, 6]


def test_absolute_returns__no_candle_before_the_range__first_minute_is_missing() -> None:
    present = [False, False] + [True] * (MINUTES + 1)
    found = returns_of(minutes_of([60.0] * (MINUTES + 3), present))
    assert np.flatnonzero(found == MISSING).tolist() == [0]


def test_absolute_returns__no_candles_at_all__are_all_missing() -> None:
    assert returns_of(Candles.from_rows([])).tolist() == [MISSING] * MINUTES


def test_absolute_returns__rise_of_a_thousandth__is_counted_in_billionths() -> None:
    candles = minutes_of([100.0, 100.1], [True, True], first=0)
    assert returns_of(candles)[1] == round(math.log(1.001) * 1e9)


def market(*rows: list[int], quorum: int = 1) -> MarketSeries:
    return market_returns(by_venue(list(rows)), quorum)


@settings(max_examples=400, deadline=None)
@given(rows=venue_returns, quorum=st.integers(0, 6))
def test_market_returns__against_a_direct_loop__are_equal(
    slow_market: Callable[..., list[int | None]], rows: list[list[int]], quorum: int
) -> None:
    expected = slow_market([[None if size == MISSING else size for size in row] for row in rows], quorum)
    assert market(*rows, quorum=quorum).returns.tolist() == [MISSING if size is None else size for size in expected]


@quick
@given(venue_returns, st.integers(0, 6), st.randoms(use_true_random=False))
def test_market_returns__venues_in_another_order__are_the_same(
    rows: list[list[int]], quorum: int, random: object
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert market(*shuffled, quorum=quorum).returns.tolist() == market(*rows, quorum=quorum).returns.tolist()


@quick
@given(st.lists(sizes, min_size=1, max_size=30))
def test_market_returns__one_venue_alone__are_its_own(row: list[int]) -> None:
    assert market(row).returns.tolist() == row


@pytest.mark.parametrize(("quorum", "expected"), [(1, 20), (2, 20), (3, MISSING)])
def test_market_returns__two_of_three_venues_present__need_a_quorum_of_two(quorum: int, expected: int) -> None:
    assert market([10], [MISSING], [30], quorum=quorum).returns.tolist() == [expected]


def test_market_returns__even_number_of_venues__is_the_middle_rounded_down() -> None:
    assert market([1], [4], [3], [100]).returns.tolist() == [3]


def test_market_returns__stuck_price__is_unknown_and_so_is_the_return_that_ends_it() -> None:
    found = market([10, 0, 0, 90, 10], [20, 20, 20, 20, 20])
    assert found.returns.tolist() == [15, 20, 20, 20, 15]
    assert found.frozen.tolist() == [[False, True, True, True, False], [False] * 5]


def test_market_returns__one_still_minute__is_a_return() -> None:
    assert market([10, 0, 10], [20, 20, 20]).returns.tolist() == [15, 10, 15]


def test_market_returns__every_price_still__is_a_still_market() -> None:
    assert market([5, 0, 0, 0, 5], [7, 0, 0, 0, 7]).returns.tolist() == [6, 0, 0, 0, 6]


def test_market_returns__stuck_within_a_still_market__is_judged_by_the_whole_run() -> None:
    """The others rest in between, yet the price did not change from the first minute to the last."""
    assert market([0, 0, 0, 8], [5, 0, 5, 5]).returns.tolist() == [5, 0, 5, 5]
    assert market([0, 0, 0, 8], [5, 0, 5, 5]).frozen[0].tolist() == [True] * 4


def test_market_returns__run_at_the_start__is_judged_by_what_is_seen_of_it() -> None:
    assert market([0, 0, 90], [20, 20, 20]).returns.tolist() == [20, 20, 20]
    assert market([0, 90, 10], [20, 20, 20]).returns.tolist() == [10, 55, 15]


def test_market_returns__gap_after_a_stuck_price__ends_the_run() -> None:
    assert market([0, 0, MISSING, 10], [20, 20, 20, 20]).frozen[0].tolist() == [True, True, False, False]


def test_market_returns__two_of_three_stuck__are_below_a_quorum_of_two() -> None:
    found = market([0, 0], [0, 0], [9, 9], quorum=2)
    assert (found.returns.tolist(), found.venues.tolist()) == ([MISSING] * 2, [1, 1])


def test_market_returns__one_venue_jumps__is_the_middle_of_the_others() -> None:
    found = market([CALM], [CALM + 20], [50_000_000])
    assert (found.returns.tolist(), found.outlying.tolist()) == ([CALM + 10], [[False], [False], [True]])


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        pytest.param([50_000_000, 50_000_000, CALM], MISSING, id="two liars of three"),
        pytest.param([4_000_000, 3_500_000, 1_750_000], 3_500_000, id="borne out by all three"),
        pytest.param([4_000_000, 3_500_000, 1_749_999], MISSING, id="one of three too slow"),
        pytest.param([7_000_000, 2_000_000], MISSING, id="two disagree"),
        pytest.param([5_000_000, 2_000_000], 3_500_000, id="two agree"),
        pytest.param([4_000_000] * 3 + [CALM], 4_000_000, id="three of four"),
        pytest.param([4_000_000] * 4 + [CALM] * 2, MISSING, id="four of six"),
        pytest.param([4_000_000] * 5 + [CALM], 4_000_000, id="five of six"),
        pytest.param([80_000_000], 80_000_000, id="one alone"),
    ],
)
def test_market_returns__outsized_move__needs_more_than_two_thirds(moves: list[int], expected: int) -> None:
    found = market(*([move] for move in moves))
    assert found.returns.tolist() == [expected]
    assert (found.disputed[0] != MISSING) == (expected == MISSING)


@pytest.mark.parametrize(
    ("calm", "told", "expected"),
    [
        pytest.param(300_000, 1_210_000, MISSING, id="four times the mean minute"),
        pytest.param(300_000, 1_100_000, 1_100_000, id="less than that"),
        pytest.param(50_000, 500_000, MISSING, id="a quiet market: 0.05 %"),
        pytest.param(50_000, 499_999, 499_999, id="a quiet market: less than that"),
        pytest.param(2_000_000, 2_999_999, 2_999_999, id="a wild market: less than 0.3 %"),
    ],
)
def test_market_returns__two_of_three_tell_of_a_move__needs_the_third_from_a_size_on(
    calm: int, told: int, expected: int
) -> None:
    quiet = [calm] * 999
    found = market([*quiet, told], [*quiet, told], [*quiet, calm // 10])
    assert found.returns[-1] == expected


def test_market_returns__disputed_move__is_told_with_its_size() -> None:
    assert market([49_000_000, CALM], [48_000_000, CALM], [CALM, CALM]).disputed.tolist() == [48_000_000, MISSING]
