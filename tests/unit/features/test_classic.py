from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from app.features.classic import (
    CLIP,
    INDICATORS,
    INPUTS,
    WARM_UP,
    WINDOW_MINUTES,
    classic_minutes,
    complete_windows,
    standardise,
    windows,
)
from app.types import MINUTE_MS, Candles, FloatArray

MINUTES = 1500


@pytest.fixture
def candles(make_candles: Callable[..., Candles]) -> Candles:
    return make_candles(MINUTES)


def start_of(candles: Candles) -> int:
    return int(candles.open_time_ms[0])


def end_of(candles: Candles) -> int:
    return int(candles.open_time_ms[-1]) + MINUTE_MS


def without(candles: Candles, *rows: int) -> Candles:
    return Candles.from_rows([row for number, row in enumerate(candles.rows()) if number not in rows])


def at_the_end(candles: Candles, name: str) -> float:
    table, valid = classic_minutes(candles, end_of(candles) - MINUTE_MS, end_of(candles))
    assert valid.tolist() == [True]
    return float(table[0, INDICATORS.index(name)])


def slow_ema(values: FloatArray, span: int) -> list[float]:
    """The textbook recursion, from the first value on."""
    averages = [float(values[0])]
    for value in values[1:].tolist():
        averages.append(averages[-1] + 2 / (span + 1) * (value - averages[-1]))
    return averages


def slow_rsi(close: FloatArray) -> float:
    """Wilder's: plain means of the first 14 changes, then 13/14 of the old and 1/14 of the new."""
    changes = np.diff(close).tolist()
    gain = sum(max(change, 0) for change in changes[:14]) / 14
    loss = sum(max(-change, 0) for change in changes[:14]) / 14
    for change in changes[14:]:
        gain = (13 * gain + max(change, 0)) / 14
        loss = (13 * loss + max(-change, 0)) / 14
    return 100 - 100 / (1 + gain / loss)


def test_input__is_240_minutes_of_seven_indicators() -> None:
    assert (WINDOW_MINUTES, len(INDICATORS), INPUTS) == (240, 7, 1680)


@pytest.mark.parametrize("span", [9, 21, 50])
def test_ema__is_the_recursion_relative_to_the_close(candles: Candles, span: int) -> None:
    expected = slow_ema(candles.close, span)[-1] / candles.close[-1] - 1
    assert at_the_end(candles, f"ema_{span}") == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_rsi__is_wilders_recursion(candles: Candles) -> None:
    assert at_the_end(candles, "rsi_14") == pytest.approx(slow_rsi(candles.close), rel=1e-5)


def test_macd_and_signal__are_the_recursions_divided_by_the_close(candles: Candles) -> None:
    macd = np.subtract(slow_ema(candles.close, 12), slow_ema(candles.close, 26))
    close = candles.close[-1]
    assert at_the_end(candles, "macd") == pytest.approx(macd[-1] / close, rel=1e-4, abs=1e-8)
    assert at_the_end(candles, "macd_signal") == pytest.approx(slow_ema(macd, 9)[-1] / close, rel=1e-4, abs=1e-8)


def test_volume__is_the_logarithm_of_its_mean(candles: Candles) -> None:
    assert at_the_end(candles, "volume_20") == pytest.approx(math.log(1 + candles.volume[-20:].mean()), rel=1e-6)


def test_rsi__price_standing_still__is_fifty() -> None:
    times = MINUTE_MS * np.arange(20_000_000, 20_000_000 + WARM_UP + 1, dtype=np.int64)
    still = Candles(times, *[np.full(len(times), 100.0)] * 4, np.zeros(len(times)))
    assert at_the_end(still, "rsi_14") == 50.0
    assert at_the_end(still, "volume_20") == 0.0


def test_indicators__at_another_price_level__are_the_same(candles: Candles) -> None:
    dear = Candles(candles.open_time_ms, *(1e4 * p for p in (candles.open, candles.high, candles.low, candles.close)),
                   candles.volume)  # fmt: skip
    here, _ = classic_minutes(candles, start_of(candles), end_of(candles))
    there, _ = classic_minutes(dear, start_of(dear), end_of(dear))
    assert np.abs(here - there).max() < 1e-5


def test_indicators__of_a_recording_that_begins_later__are_the_same_bits(candles: Candles) -> None:
    later = candles.between(start_of(candles) + 333 * MINUTE_MS, end_of(candles))
    from_ms = start_of(later) + WARM_UP * MINUTE_MS
    whole, _ = classic_minutes(candles, from_ms, end_of(candles))
    part, valid = classic_minutes(later, from_ms, end_of(candles))
    assert valid.all()
    assert whole.tobytes() == part.tobytes()


def test_indicators__do_not_look_ahead(candles: Candles) -> None:
    cut_ms = end_of(candles) - 300 * MINUTE_MS
    known, _ = classic_minutes(candles.between(0, cut_ms), start_of(candles), cut_ms)
    whole, _ = classic_minutes(candles, start_of(candles), cut_ms)
    assert known.tobytes() == whole.tobytes()


def test_valid__begins_after_the_warm_up(candles: Candles) -> None:
    _, valid = classic_minutes(candles, start_of(candles), end_of(candles))
    assert valid.tolist() == [minute >= WARM_UP for minute in range(MINUTES)]


def test_valid__after_a_missing_minute__begins_anew(candles: Candles) -> None:
    gap = 600
    table, valid = classic_minutes(without(candles, gap), start_of(candles), end_of(candles))
    whole, _ = classic_minutes(candles, start_of(candles), end_of(candles))
    assert valid.tolist() == [WARM_UP <= m < gap or m > gap + WARM_UP for m in range(MINUTES)]
    assert np.isfinite(table).all()
    assert table[valid].tobytes() == whole[valid].tobytes()


def test_complete_windows__all_but_one_minute__is_not_complete() -> None:
    valid = np.ones(1000, dtype=np.bool_)
    valid[500] = False
    ends = np.asarray([239, 240, 500, 501, 740, 741, 1000, 1001, -1])
    assert complete_windows(valid, ends).tolist() == [False, True, True, False, False, True, True, False, False]


def test_complete_windows__fewer_minutes_than_a_window__are_none() -> None:
    assert complete_windows(np.ones(239, dtype=np.bool_), np.asarray([239, 240])).tolist() == [False, False]


def test_windows__are_the_minutes_before_the_end_oldest_first() -> None:
    minutes = np.arange(300 * 7, dtype=np.float32).reshape(300, 7)
    [found] = windows(minutes, np.asarray([250]))
    assert found.tolist() == minutes[10:250].tolist()


def test_standardise__takes_mean_off_and_deviation_out_and_clips() -> None:
    row = np.asarray([[3.0, 1.0, -1.0, 99.0, -99.0, 0.0, 0.0]], dtype=np.float32)
    found = standardise(row, [1.0] * 7, [2.0] * 7)
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 0.0, -1.0, CLIP, -CLIP, -0.5, -0.5]]
