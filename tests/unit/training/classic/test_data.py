from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.errors import CandleFileInvalid
from app.features.classic import WARM_UP, WINDOW_MINUTES, classic_minutes, standardise
from app.training.classic.data import LEAST_SAMPLES, ClassicData, classic_data, split
from app.types import MINUTE_MS, Candles, IntArray

MINUTES = 9_000
USABLE = MINUTES - WARM_UP - WINDOW_MINUTES - 240 + 1


@pytest.fixture(scope="module")
def candles() -> Candles:
    return random_walk(MINUTES)


@pytest.fixture(scope="module")
def data(candles: Candles) -> ClassicData:
    return classic_data(candles, 10**9)


def random_walk(minutes: int) -> Candles:
    rng = np.random.default_rng(3)
    sigma = np.repeat(0.0005 * np.exp(0.5 * rng.normal(size=minutes // 300 + 1)), 300)[:minutes]
    close = 1000 * np.exp(np.cumsum(sigma * rng.normal(size=minutes)))
    times = MINUTE_MS * np.arange(20_000_000, 20_000_000 + minutes, dtype=np.int64)
    return Candles(times, *[close] * 4, rng.gamma(2.0, 5.0, size=minutes))


def ends_of(data: ClassicData) -> list[int]:
    return sorted(int(end) for part in data.parts().values() for end in data.end_ms(part))


def test_classic_data__no_gap__uses_every_minute_with_history_and_future(candles: Candles, data: ClassicData) -> None:
    ends = ends_of(data)
    assert (data.samples, data.left_out) == (USABLE, 0)
    assert ends[0] == candles.open_time_ms[0] + (WARM_UP + WINDOW_MINUTES) * MINUTE_MS
    assert ends[-1] == candles.open_time_ms[-1] + MINUTE_MS - 240 * MINUTE_MS


def test_classic_data__labels__are_the_deviation_of_the_returns_to_come(candles: Candles, data: ClassicData) -> None:
    returns = np.diff(np.log(candles.close))
    for part in data.parts().values():
        for at in (0, 7, len(part) - 1):
            first = (int(data.end_ms(part)[at]) - int(candles.open_time_ms[0])) // MINUTE_MS
            ahead, past = returns[first - 1 : first + 239].std(), returns[first - 61 : first - 1].std()
            assert part.high[at] == (ahead >= 0.0005)
            assert part.past[60][at] == pytest.approx(past, rel=1e-4)


def test_classic_data__windows__are_the_indicators_before_their_end(candles: Candles, data: ClassicData) -> None:
    end_ms = int(data.end_ms(data.validation)[5])
    raw, valid = classic_minutes(candles, end_ms - WINDOW_MINUTES * MINUTE_MS, end_ms)
    end = int(data.validation.ends[5])
    assert valid.all()
    assert data.minutes[end - WINDOW_MINUTES : end].tobytes() == standardise(raw, data.mean, data.deviation).tobytes()


def test_classic_data__wanted__are_the_last_windows(candles: Candles, data: ClassicData) -> None:
    fewer = classic_data(candles, 6_000)
    assert fewer.samples == 6_000
    assert ends_of(fewer)[-1] == ends_of(data)[-1]
    assert (ends_of(fewer)[-1] - ends_of(fewer)[0]) // MINUTE_MS == 5_999


def test_classic_data__missing_minute__leaves_out_every_window_that_sees_it(candles: Candles) -> None:
    gap = 5_000
    rest = Candles.from_rows([row for number, row in enumerate(candles.rows()) if number != gap])
    data = classic_data(rest, 10**9)
    # Ends up to 239 before it have it in the label; so many after it still have it in window or warm-up. The minute
    # after the gap has no return either, but the windows that need it are among those.
    touched = 240 + WINDOW_MINUTES + WARM_UP
    assert (data.samples, data.left_out) == (USABLE - touched, touched)


def test_classic_data__mean_and_deviation__are_of_the_training_period(candles: Candles, data: ClassicData) -> None:
    later = candles.open_time_ms >= data.end_ms(data.train)[-1]
    louder = classic_data(replace(candles, volume=np.where(later, 100.0, 1.0) * candles.volume), 10**9)
    assert louder.mean.tolist() == data.mean.tolist()
    assert louder.deviation.tolist() == data.deviation.tolist()
    seen = data.minutes[: data.train.ends[-1]]
    assert np.abs(seen.mean(axis=0)).max() < 0.05
    assert np.abs(seen.std(axis=0) - 1).max() < 0.1


def test_classic_data__constant_volume__is_zero_in_every_window(candles: Candles) -> None:
    data = classic_data(replace(candles, volume=np.full(MINUTES, 0.1)), 10**9)
    assert np.abs(data.minutes[:, 6]).max() < 1e-6


def test_classic_data__too_few_windows__says_what_is_needed() -> None:
    with pytest.raises(CandleFileInvalid, match=rf"too few: .* 4999 windows .* {LEAST_SAMPLES} are needed"):
        classic_data(random_walk(LEAST_SAMPLES + MINUTES - USABLE - 1), 10**9)


def test_classic_data__far_too_short__is_refused_alike(make_candles: Callable[..., Candles]) -> None:
    with pytest.raises(CandleFileInvalid, match="hold 0 windows"):
        classic_data(make_candles(50), 10**9)


def test_classic_data__one_class_only__is_refused(candles: Candles) -> None:
    calm = np.sqrt(np.sqrt(candles.close))
    calm = 1000 + (calm - calm.mean()) / 1000
    with pytest.raises(CandleFileInvalid, match="all low"):
        classic_data(Candles(candles.open_time_ms, *[calm] * 4, candles.volume), 10**9)


def test_split__is_70_15_15_with_labels_known_before_the_next_part() -> None:
    ends: IntArray = np.arange(100_000, dtype=np.int64)
    train, validation, test = split(ends)
    assert (train[0], validation[0], test[0], test[-1]) == (0, 70_000, 85_000, 99_999)
    assert (train[-1], validation[-1]) == (70_000 - 240, 85_000 - 240)
