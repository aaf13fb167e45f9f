from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from app.features.agreement import LOOK_BACK, SetAside, far_venues, same_market, set_aside
from app.types import MINUTE_MS, Candles, FloatArray

END_MS = 1_757_937_600_000
MINUTES = 90
Change = Callable[[FloatArray], FloatArray]


def venue(change: Change | None = None, seed: int = 0) -> Candles:
    """A venue of one market with noise of its own of half a basis point; ``change`` spoils its closes, NaN removes."""
    close = 60_000 * np.exp(np.cumsum(0.0005 * np.random.default_rng(99).normal(size=MINUTES)))
    close *= np.exp(0.00005 * np.random.default_rng(seed).normal(size=MINUTES))
    close = close if change is None else change(close)
    here = np.isfinite(close)
    times = (END_MS - MINUTE_MS * np.arange(MINUTES, 0, -1, dtype=np.int64))[here]
    return Candles(times, *[close[here]] * 4, np.ones(len(times)))


def beside_two_good_ones(change: Change) -> dict[str, Candles]:
    return {"binance": venue(seed=1), "coinbase": venue(seed=2), "kraken": venue(change, seed=3)}


def last(minutes: int, value: float | Change) -> Change:
    """Another value, or a function of those that are there, in the last minutes."""

    def change(close: FloatArray) -> FloatArray:
        close = close.copy()
        close[-minutes:] = value(close[-minutes:]) if callable(value) else value
        return close

    return change


def noise(size: float) -> Change:
    return lambda close: close * np.exp(size * np.random.default_rng(5).normal(size=len(close)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda close: close * 1.05, "its price was +5.0% from the median", id="price too high"),
        pytest.param(lambda close: close * 0.94, "its price was -6.0% from the median", id="price too low"),
        pytest.param(
            last(45, lambda close: close * 1.05), "its price was +5.0% from the median", id="too high of late"
        ),
        pytest.param(last(55, 60_000.0), "its price stood still in 54 of 60 minutes", id="frozen"),
        pytest.param(noise(0.003), "its minutes differ by 0.", id="noise"),
        pytest.param(lambda close: close * 100, "its price was +", id="another unit"),
    ],
)
def test_far_venues__a_venue_that_is_wrong_for_long__is_named_with_the_reason(change: Change, words: str) -> None:
    found = far_venues(beside_two_good_ones(change), END_MS)
    assert list(found) == ["kraken"]
    assert found["kraken"].startswith(words)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda close: close, id="none"),
        pytest.param(lambda close: close * 0.99, id="one per cent lower"),
        pytest.param(last(10, lambda close: close * 1.05), id="ten minutes too high"),
        pytest.param(last(10, 60_000.0), id="ten minutes frozen"),
        pytest.param(last(10, np.nan), id="ten minutes missing"),
        pytest.param(last(60, np.nan), id="an hour missing"),
        pytest.param(lambda close: np.round(close / 30) * 30, id="steps of five basis points"),
    ],
)
def test_far_venues__a_short_trouble_or_a_small_one__names_nobody(change: Change) -> None:
    assert far_venues(beside_two_good_ones(change), END_MS) == {}


@pytest.mark.parametrize("price", [60_000.0, 1.0])
def test_far_venues__two_venues_only__nobody_can_tell(price: float) -> None:
    assert far_venues({"binance": venue(), "kraken": venue(last(60, price))}, END_MS) == {}


def test_far_venues__less_than_half_an_hour_in_common__nobody_is_judged() -> None:
    candles = beside_two_good_ones(lambda close: close * 1.05) | {"binance": venue(last(31, np.nan))}
    assert far_venues(candles, END_MS) == {}


def test_far_venues__two_of_three_wrong_in_their_own_ways__are_both_named() -> None:
    candles = beside_two_good_ones(lambda close: close * 1.05) | {"coinbase": venue(lambda close: close * 0.95)}
    assert set(far_venues(candles, END_MS)) == {"coinbase", "kraken"}


def test_far_venues__a_fourth_without_candles__is_not_judged() -> None:
    candles = beside_two_good_ones(lambda close: close * 1.05) | {"okx": Candles.from_rows([])}
    assert list(far_venues(candles, END_MS)) == ["kraken"]


def test_far_venues__before_and_after_the_hour__does_not_matter() -> None:
    candles = beside_two_good_ones(lambda close: np.where(np.arange(MINUTES) < MINUTES - LOOK_BACK, 1.0, close))
    assert far_venues(candles, END_MS) == {}


def test_set_aside__frozen_and_jumping_minutes__are_counted_by_venue() -> None:
    candles = {
        "binance": venue(seed=1),
        "coinbase": venue(last(10, 60_000.0), seed=2),
        "kraken": venue(last(10, lambda close: close * 1.05), seed=3),
    }
    assert set_aside(candles, END_MS) == {
        "binance": SetAside(0, 0),
        "coinbase": SetAside(9, 0),
        "kraken": SetAside(0, 1),
    }


def test_set_aside__no_venue__is_nothing() -> None:
    assert set_aside({}, END_MS) == {}


@pytest.mark.parametrize(
    ("symbol", "same"),
    [
        ("BTC/USDT", True),
        ("BTC/USD", True),
        ("BTC/FDUSD", True),
        ("BTC/EUR", False),
        ("ETH/USDT", False),
        ("USDT/BTC", False),
        ("BTC", False),
    ],
)
def test_same_market__of_a_feed_in_tether__is_the_base_in_any_dollar(symbol: str, same: bool) -> None:
    assert same_market(symbol, "BTC/USDT") is same


def test_same_market__of_a_feed_in_euro__is_in_euro_only() -> None:
    assert [same_market(symbol, "BTC/EUR") for symbol in ("BTC/EUR", "BTC/USD")] == [True, False]
