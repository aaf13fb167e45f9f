from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from app.features.realised import Series
from app.features.returns import MISSING
from app.features.variation import INPUTS, WINDOW_MINUTES
from app.training.datasets import Period, Samples, fit_spec, usable_ends
from app.training.lessons import (
    CONTEXT,
    CONTEXT_DAYS,
    HOURS,
    SAME_HOURS_DAYS,
    Lesson,
    as_if,
    context_of,
    lesson,
    level_ratio,
    together,
)
from app.types import MINUTE_MS, MINUTES_PER_YEAR, parse_time

START_MS = parse_time("2024-01-01T00:00:00Z")
DAYS = 33


def recorded(seed: int, days: int = DAYS, start_ms: int = START_MS, level: float = 5e5) -> Series:
    """A recording with a hole of five hours on its twentieth day and a missing minute."""
    rng = np.random.default_rng(seed)
    signed = np.rint(rng.normal(0, level, days * 1440)).astype(np.int64)
    present = np.ones(len(signed), dtype=bool)
    present[[0, 29_000, *range(28_000, 28_300)]] = False
    signed[~present] = 0
    return Series(start_ms, np.where(present, np.abs(signed), MISSING), signed, present)


@pytest.fixture(scope="module")
def series() -> Series:
    return recorded(5)


def taught(n: int, *, newest_ms: int, step_minutes: int = 10, marked: int = 0) -> Lesson:
    """``n`` windows whose context says which lesson they are of."""
    end_ms = newest_ms - MINUTE_MS * step_minutes * np.arange(n, dtype=np.int64)[::-1]
    samples = Samples(end_ms, np.full((n, INPUTS), marked, dtype=np.int16), np.full(n, 1e-3), {60: np.ones(n)}, 2)
    return Lesson(samples, np.ones(n), np.full((n, CONTEXT), marked, dtype=np.float32), n)


def mean_size(series: Series, first: int, last: int) -> float:
    """Of the returns known among the minutes ``[first, last)``; NaN where there is none."""
    known = [int(size) for size in series.absolute[max(first, 0) : max(last, 0)] if size != MISSING]
    return sum(known) / len(known) if known else math.nan


def stretches_before(end: int) -> list[tuple[int, int]]:
    """What the docstring promises, spelt out minute by minute."""
    days = [(end - 1440 * day, end) for day in (2, 3, 5, 7, 10, 14, 21, 30)]
    same_hours = [(end - 1440 * day, end - 1440 * day + 240) for day in range(1, 29)]
    hours = [(end - 60 * (hour + 1), end - 60 * hour) for hour in range(168)]
    return [*days, *same_hours, *hours]


@pytest.mark.parametrize("end", [WINDOW_MINUTES + 1, 28_250, 29_100, DAYS * 1440])
def test_context_of__against_a_direct_loop__is_the_root_of_every_mean(series: Series, end: int) -> None:
    week = mean_size(series, end - WINDOW_MINUTES, end)
    expected = []
    for first, last in stretches_before(end):
        mean = mean_size(series, first, last)
        expected.append(math.sqrt(week if math.isnan(mean) else mean))
    found = context_of(series, np.asarray([end]))
    assert found.dtype == np.float32
    assert found.shape == (1, CONTEXT)
    assert found[0] == pytest.approx(expected, rel=1e-6)


def test_context_of__hour_without_any_return__takes_the_mean_of_the_week(series: Series) -> None:
    end = 28_300
    hours = context_of(series, np.asarray([end]))[0, -HOURS:]
    week = math.sqrt(mean_size(series, end - WINDOW_MINUTES, end))
    assert hours[:5] == pytest.approx([week] * 5, rel=1e-6)
    assert hours[5] != pytest.approx(week, rel=1e-6)


def test_context_of__before_the_recording__takes_the_mean_of_the_week(series: Series) -> None:
    end = WINDOW_MINUTES + 1
    same_hours = context_of(series, np.asarray([end]))[0, len(CONTEXT_DAYS) : len(CONTEXT_DAYS) + SAME_HOURS_DAYS]
    week = math.sqrt(mean_size(series, end - WINDOW_MINUTES, end))
    assert same_hours[8:] == pytest.approx([week] * (SAME_HOURS_DAYS - 8), rel=1e-6)


def test_context_of__what_comes_after_the_end__changes_nothing(series: Series) -> None:
    end = 20_000
    later = replace(series, absolute=np.where(np.arange(len(series)) >= end, 9_000_000, series.absolute))
    assert np.array_equal(context_of(series, np.asarray([end])), context_of(later, np.asarray([end])))


def test_lesson__windows_of_a_period__carry_their_own_context(series: Series) -> None:
    period = Period(WINDOW_MINUTES + 1, len(series))
    spec = fit_spec(series, usable_ends(series, period, 60)[0], clip=4.0, input_scale=7)
    made = lesson(series, period, spec, every=60)
    ends = (made.samples.end_ms - series.start_ms) // MINUTE_MS
    assert np.array_equal(made.context[7], context_of(series, ends[7:8])[0])
    assert made.weight.tolist() == [1.0] * len(made)
    assert np.array_equal(made.inputs * 128, made.samples.observations)


def test_where__a_mask__takes_windows_weights_and_context_alike() -> None:
    whole = replace(taught(4, newest_ms=START_MS), weight=np.asarray([1.0, 2.0, 3.0, 4.0]))
    whole.context[:, 0] = [0, 1, 2, 3]
    part = whole.where(np.asarray([False, True, False, True]))
    assert part.samples.end_ms.tolist() == whole.samples.end_ms[[1, 3]].tolist()
    assert part.weight.tolist() == [2.0, 4.0]
    assert part.context[:, 0].tolist() == [1.0, 3.0]


def test_bare__without_context__can_still_be_joined() -> None:
    parts = [taught(3, newest_ms=START_MS).bare(), taught(2, newest_ms=START_MS).bare()]
    both = together([(part, 1.0) for part in parts], half_life_years=None)
    assert both.context.shape == (5, 0)
    assert len(both) == 5


def test_together__shares__are_the_ratio_of_weights_and_the_mean_is_one() -> None:
    ours, theirs = taught(30, newest_ms=START_MS), taught(10, newest_ms=START_MS, marked=1)
    both = together([(ours, 1.0), (theirs, 0.5)], half_life_years=None)
    assert both.weight.mean() == pytest.approx(1)
    assert both.weight[30:] == pytest.approx(both.weight[:10] / 2)
    assert both.context[:, 0].tolist() == [0.0] * 30 + [1.0] * 10
    assert both.samples.observations[:, 0].tolist() == [0] * 30 + [1] * 10
    assert both.samples.left_out == 4


def test_together__half_life__halves_the_weight_of_a_window_of_that_age() -> None:
    years_ms = 2 * MINUTES_PER_YEAR * MINUTE_MS
    one = taught(2, newest_ms=START_MS, step_minutes=2 * MINUTES_PER_YEAR)
    aged = together([(one, 1.0)], half_life_years=2.0)
    assert aged.weight[0] / aged.weight[1] == pytest.approx(0.5)
    assert aged.weight.mean() == pytest.approx(1)
    older = taught(2, newest_ms=START_MS - years_ms)
    both = together([(one, 1.0), (older, 1.0)], half_life_years=2.0)
    assert both.weight[3] / both.weight[1] == pytest.approx(0.5), "age counts from the newest window of all"


def test_as_if__a_ratio__multiplies_every_return_and_keeps_the_gaps(series: Series) -> None:
    scaled = as_if(series, 0.25)
    assert np.abs(scaled.signed - series.signed * 0.25).max() <= 0.5
    assert np.array_equal(scaled.absolute == MISSING, ~series.present)
    assert np.array_equal(scaled.absolute[series.present], np.abs(scaled.signed)[series.present])


def test_level_ratio__another_asset_brought_to_our_level__has_ratio_one(series: Series) -> None:
    theirs = recorded(6, level=2e6)
    end_ms = series.time_ms(20 * 1440)
    ratio = level_ratio(series, theirs, end_ms)
    assert ratio is not None
    assert ratio == pytest.approx(mean_size(series, 0, 28_800) / mean_size(theirs, 0, 28_800))
    assert level_ratio(series, as_if(theirs, ratio), end_ms) == pytest.approx(1, rel=1e-5)


def test_level_ratio__later_start__compares_the_time_that_both_cover(series: Series) -> None:
    later = recorded(6, days=22, start_ms=START_MS + 10 * 1440 * MINUTE_MS, level=2e6)
    ratio = level_ratio(series, later, series.time_ms(25 * 1440))
    assert ratio == pytest.approx(mean_size(series, 14_400, 36_000) / mean_size(later, 0, 21_600))


def test_level_ratio__after_the_end__is_not_looked_at(series: Series) -> None:
    end = 20 * 1440
    wild = replace(series, absolute=np.where(np.arange(len(series)) >= end, 10**9, series.absolute))
    ratios = [level_ratio(one, recorded(6), series.time_ms(end)) for one in (series, wild)]
    assert ratios[0] == ratios[1]


@pytest.mark.parametrize("start_days", [-60, 20, 400])
def test_level_ratio__no_common_time_before_the_end__is_none(series: Series, start_days: int) -> None:
    other = recorded(6, start_ms=START_MS + start_days * 1440 * MINUTE_MS)
    assert level_ratio(series, other, series.time_ms(20 * 1440)) is None
