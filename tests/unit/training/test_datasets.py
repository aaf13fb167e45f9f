from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import CandleFileInvalid
from app.features.returns import absolute_returns
from app.features.variation import INPUTS, WINDOW_MINUTES, observe
from app.training.datasets import (
    HORIZON_MINUTES,
    LEAST_SAMPLES,
    Period,
    Series,
    calendar_split,
    fit_spec,
    is_high,
    samples,
    series_of,
    share_split,
    usable_ends,
    volatility,
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


def test_volatility__against_a_direct_loop__is_the_deviation_of_log_returns(closes: np.ndarray, series: Series) -> None:
    ends = np.asarray([300, 5_000, 14_400])
    found, count = volatility(series, ends, HORIZON_MINUTES)
    for end, value in zip(ends, found, strict=True):
        returns = [math.log(closes[t] / closes[t - 1]) for t in range(end - HORIZON_MINUTES, end)]
        mean = sum(returns) / len(returns)
        direct = math.sqrt(sum((r - mean) ** 2 for r in returns) / len(returns))
        assert value == pytest.approx(direct, rel=1e-6)
    assert count.tolist() == [HORIZON_MINUTES] * 3


def test_series__absolute_returns__are_those_that_serving_uses(closes: np.ndarray, series: Series) -> None:
    served = absolute_returns(candles_of(closes), START_MS + MINUTE_MS, START_MS + len(closes) * MINUTE_MS)
    assert np.array_equal(series.absolute[1:], served)
    assert np.array_equal(np.abs(series.signed[1:]), served)


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


def test_is_high__at_the_threshold__is_high() -> None:
    assert is_high(np.asarray([0.0004999, 0.0005, 0.0005001])).tolist() == [False, True, True]


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


@settings(max_examples=20, deadline=None)
@given(days=st.integers(35, 70), share=st.floats(0, 1), every=st.sampled_from([1, 5, 7]))
def test_split__any_length__no_label_window_reaches_into_the_next_period(days: int, share: float, every: int) -> None:
    minutes = days * 1440 + round(share * 1440)
    flat = np.ones(minutes, dtype=np.int64)
    series = Series(START_MS, flat, flat, flat.astype(bool))
    split = share_split(series)
    ordered = [usable_ends(series, part, every)[0] for part in (split.train, split.validation, split.test)]
    for earlier, later in itertools.pairwise(ordered):
        last_label_minute = earlier.max() + HORIZON_MINUTES
        assert later.min() - last_label_minute >= HORIZON_MINUTES
    assert ordered[-1].max() + HORIZON_MINUTES <= len(series)


def test_calendar_split__whole_months__tests_on_the_last_six() -> None:
    start, end = parse_time("2022-01-01T00:00:00Z"), parse_time("2024-07-01T00:00:00Z")
    minutes = np.zeros((end - start) // MINUTE_MS, dtype=np.int64)
    split = calendar_split(Series(start, minutes, minutes, minutes.astype(bool)))
    assert start + split.test.start * MINUTE_MS == parse_time("2024-01-01T00:00:00Z")
    assert start + split.validation.start * MINUTE_MS == parse_time("2023-07-01T00:00:00Z")
    assert split.validation.start - split.train.end == HORIZON_MINUTES


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
