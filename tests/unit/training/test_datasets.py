from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import CandleFileInvalid
from app.features.realised import HORIZON_MINUTES, Series, series_of
from app.features.variation import INPUTS, WINDOW_MINUTES, observe
from app.training.datasets import (
    LEAST_SAMPLES,
    Period,
    Split,
    between,
    calendar_split,
    fit_spec,
    samples,
    share_split,
    usable_ends,
)
from app.types import MINUTE_MS, Candles, Feed, Window, parse_time

START_MS = parse_time("2024-03-04T00:00:00Z")
DAYS = 10


def candles_of(closes: np.ndarray, keep: np.ndarray | None = None) -> Candles:
    times = START_MS + MINUTE_MS * np.arange(len(closes), dtype=np.int64)
    keep = np.ones(len(closes), dtype=bool) if keep is None else keep
    prices = [closes[keep].copy() for _ in range(4)]
    return Candles(times[keep], *prices, np.ones(int(keep.sum())))


@pytest.fixture(scope="module")
def closes() -> np.ndarray:
    rng = np.random.default_rng(3)
    minutes = DAYS * 1440
    size = 0.0005 * (1 + 0.8 * np.sin(np.arange(minutes) / 500))
    return 100 * np.exp(np.cumsum(rng.normal(0, size)))


@pytest.fixture(scope="module")
def series(closes: np.ndarray) -> Series:
    return series_of(candles_of(closes))


def test_samples__observation__is_what_serving_makes_of_the_same_window(closes: np.ndarray, series: Series) -> None:
    period = Period(WINDOW_MINUTES + 1, len(series))
    spec = fit_spec(series, usable_ends(series, period, 60)[0], clip=3.0, input_scale=7)
    made = samples(series, period, spec, every=7)
    assert made.observations.shape == (len(made), INPUTS)
    window = Window(Feed("btc-usdt-4h", "BTC/USDT"), int(made.end_ms[20]), {"a": candles_of(closes)})
    assert observe(window, spec).values == tuple(made.observations[20].tolist())


def test_samples__label__starts_at_the_windows_end(series: Series) -> None:
    period = Period(WINDOW_MINUTES + 1, len(series))
    spec = fit_spec(series, usable_ends(series, period, 60)[0], clip=3.0, input_scale=7)
    made = samples(series, period, spec, every=7)
    end = int((made.end_ms[5] - series.start_ms) // MINUTE_MS)
    ahead = series.signed[end : end + HORIZON_MINUTES] / 1e9
    assert made.volatility[5] == pytest.approx(ahead.std(), rel=1e-9)
    assert made.past[60][5] == pytest.approx(series.signed[end - 60 : end].std() / 1e9, rel=1e-9)
    assert made.ln_vol[5] == pytest.approx(math.log(ahead.std() * math.sqrt(525_600)), rel=1e-9)


def test_usable_ends__missing_future_minute__leaves_its_windows_out(closes: np.ndarray) -> None:
    keep = np.ones(len(closes), dtype=bool)
    keep[12_000] = False
    gap = series_of(candles_of(closes, keep))
    ends, left_out = usable_ends(gap, Period(WINDOW_MINUTES + 1, len(gap)), 1)
    # Without candle 12,000 the returns of minutes 12,000 and 12,001 are gone.
    lost = range(12_000 - HORIZON_MINUTES + 1, 12_001 + 1)
    assert not set(lost) & set(ends.tolist())
    assert left_out == len(lost)


def test_usable_ends__week_with_a_long_gap__is_left_out(closes: np.ndarray) -> None:
    keep = np.ones(len(closes), dtype=bool)
    keep[11_000:11_600] = False
    gap = series_of(candles_of(closes, keep))
    ends, left_out = usable_ends(gap, Period(WINDOW_MINUTES + 1, len(gap)), 1)
    assert ends.max() < 11_000
    assert left_out > 0


def still(start: str, end: str) -> Series:
    """A recording from one time until another in which nothing happens: enough to be cut."""
    start_ms = parse_time(start)
    flat = np.zeros((parse_time(end) - start_ms) // MINUTE_MS, dtype=np.int64)
    return Series(start_ms, flat, flat, np.ones(len(flat), dtype=bool))


def check_order(series: Series, split: Split, every: int) -> None:
    """No label window of a part reaches into the next one, nor into the embargo before it."""
    for train, stretch in (*split.folds, (split.train, split.test)):
        assert stretch.start - train.end == HORIZON_MINUTES
        earlier, later = (usable_ends(series, part, every)[0] for part in (train, stretch))
        last_label_minute = earlier.max() + HORIZON_MINUTES
        assert last_label_minute <= train.end
        assert later.min() - last_label_minute >= HORIZON_MINUTES
    stretches = [*(stretch for _, stretch in split.folds), split.test]
    for one, next_one in itertools.pairwise(stretches):
        assert one.end == next_one.start - HORIZON_MINUTES
    assert split.test.end == len(series)


@settings(max_examples=20, deadline=None)
@given(days=st.integers(35, 70), share=st.floats(0, 1), every=st.sampled_from([1, 5, 7]))
def test_share_split__any_length__no_label_window_reaches_into_the_next_period(
    days: int, share: float, every: int
) -> None:
    minutes = days * 1440 + round(share * 1440)
    flat = np.ones(minutes, dtype=np.int64)
    series = Series(START_MS, flat, flat, flat.astype(bool))
    split = share_split(series)
    assert len(split.folds) == 1
    check_order(series, split, every)


@pytest.mark.parametrize("end", ["2025-10-01T00:00:00Z", "2025-10-12T03:04:00Z"])
def test_calendar_split__years__chooses_on_three_half_years_and_tests_on_the_last_six_months(end: str) -> None:
    series = still("2021-01-01T00:00:00Z", end)
    split = calendar_split(series)
    starts = [series.time_ms(stretch.start) for _, stretch in split.folds]
    assert starts == [parse_time(f"{month}-01T00:00:00Z") for month in ("2023-10", "2024-04", "2024-10")]
    assert series.time_ms(split.test.start) == parse_time("2025-04-01T00:00:00Z")
    check_order(series, split, 1440)


@pytest.mark.parametrize(
    ("start", "folds"),
    [("2023-01-01", 3), ("2023-04-01", 2), ("2023-09-01", 2), ("2023-10-01", 1), ("2024-03-01", 1)],
)
def test_calendar_split__shorter_history__leaves_the_oldest_half_years_out(start: str, folds: int) -> None:
    series = still(f"{start}T00:00:00Z", "2025-10-01T00:00:00Z")
    split = calendar_split(series)
    assert len(split.folds) == folds
    assert series.time_ms(split.test.start) == parse_time("2025-04-01T00:00:00Z")
    check_order(series, split, 1440)


def test_calendar_split__history_a_minute_too_short_for_a_fold__leaves_only_that_fold_out() -> None:
    # 187 days before 2023-10-01: a week of history and 180 days, but not the embargo before the cut.
    series = still("2023-03-28T00:00:00Z", "2025-10-01T00:00:00Z")
    assert len(calendar_split(series).folds) == 2


def test_calendar_split__less_than_half_a_year_before_the_last_half_year__is_refused() -> None:
    with pytest.raises(CandleFileInvalid, match="too few"):
        calendar_split(still("2024-04-01T00:00:00Z", "2025-10-01T00:00:00Z"))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (10, 20, (10, 20)),
        (-5, 20, (0, 20)),
        (10, 20_000, (10, 14_400)),
        (-9, -3, (0, 0)),
        (15_000, 16_000, (14_400,) * 2),
    ],
)
def test_between__a_stretch_of_time__is_the_minutes_that_the_series_has(
    series: Series, start: int, end: int, expected: tuple[int, int]
) -> None:
    found = between(series, START_MS + start * MINUTE_MS, START_MS + end * MINUTE_MS)
    assert (found.start, found.end) == expected


def test_split__short_file__says_what_is_needed(series: Series) -> None:
    with pytest.raises(CandleFileInvalid, match="180 days to train on"):
        calendar_split(series)
    with pytest.raises(CandleFileInvalid, match="14 days to train on"):
        share_split(series)


def test_samples__too_few_windows__says_how_many(series: Series) -> None:
    period = Period(WINDOW_MINUTES + 1, WINDOW_MINUTES + HORIZON_MINUTES + 60)
    spec = fit_spec(series, np.asarray([WINDOW_MINUTES + 1, WINDOW_MINUTES + 500]), clip=3.0, input_scale=7)
    with pytest.raises(CandleFileInvalid, match=f"{LEAST_SAMPLES} are needed"):
        samples(series, period, spec, every=1)


def test_fit_spec__constant_price__is_refused() -> None:
    still = series_of(candles_of(np.full(DAYS * 1440, 7.0)))
    with pytest.raises(CandleFileInvalid, match="do not move"):
        fit_spec(still, np.arange(WINDOW_MINUTES + 1, WINDOW_MINUTES + 100), clip=3.0, input_scale=7)


def test_fit_spec__no_usable_window__does_not_blame_the_prices(series: Series) -> None:
    with pytest.raises(CandleFileInvalid, match="complete"):
        fit_spec(series, np.empty(0, dtype=np.int64), clip=3.0, input_scale=7)


def test_samples__one_class__is_refused_only_where_something_is_to_be_learnt(closes: np.ndarray) -> None:
    calm = series_of(candles_of(100 * (closes / 100) ** 0.01))
    period = Period(WINDOW_MINUTES + 1, len(calm))
    spec = fit_spec(calm, usable_ends(calm, period, 60)[0], clip=3.0, input_scale=7)
    with pytest.raises(CandleFileInvalid, match="every window is low"):
        samples(calm, period, spec, every=7)
    assert not samples(calm, period, spec, every=7, to_train=False).high.any()


def test_samples__price_stands_still_afterwards__window_is_left_out_and_counted(closes: np.ndarray) -> None:
    halted = closes.copy()
    halted[12_000:12_500] = halted[11_999]
    stopped = series_of(candles_of(halted))
    period = Period(WINDOW_MINUTES + 1, len(stopped))
    spec = fit_spec(stopped, usable_ends(stopped, period, 60)[0], clip=3.0, input_scale=7)
    made = samples(stopped, period, spec, every=1)
    ends = (made.end_ms - START_MS) // MINUTE_MS
    # Returns of the minutes 12,000 to 12,499 are 0.
    lost = range(12_000, 12_500 - HORIZON_MINUTES + 1)
    assert not set(lost) & set(ends.tolist())
    assert made.left_out == len(lost)
    assert np.isfinite(made.ln_vol).all()
