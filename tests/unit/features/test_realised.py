"""What the market did, from one venue's candles or several."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.features.realised import HORIZON_MINUTES, Series, is_high, market_series, series_of, volatility
from app.features.returns import MISSING, NANO, absolute_returns
from app.types import MINUTE_MS, Candles, parse_time

START_MS = parse_time("2024-03-04T00:00:00Z")
DAYS = 10
MINUTES = 12
BEFORE_MS = START_MS - MINUTE_MS
END_MS = START_MS + MINUTES * MINUTE_MS


def candles_of(closes: np.ndarray, keep: np.ndarray | None = None, start_ms: int = START_MS) -> Candles:
    times = start_ms + MINUTE_MS * np.arange(len(closes), dtype=np.int64)
    keep = np.ones(len(closes), dtype=bool) if keep is None else keep
    prices = [closes[keep].copy() for _ in range(4)]
    return Candles(times[keep], *prices, np.ones(int(keep.sum())))


def venue(*returns: float | None) -> Candles:
    """A venue with these log returns in basis points, one a minute from `START_MS` on; None is a missing candle."""
    closes = 100 * np.exp(np.cumsum([0.0, *((one or 0.0) / 1e4 for one in returns)]))
    return candles_of(closes, np.asarray([True, *(one is not None for one in returns)]), BEFORE_MS)


def series_from(*venues: Candles, quorum: int = 1) -> Series:
    return market_series({f"venue{n}": one for n, one in enumerate(venues)}, START_MS, END_MS, quorum)


def basis_points(series: Series) -> list[float | None]:
    pairs = zip(series.signed.tolist(), series.present.tolist(), strict=True)
    return [round(value / NANO * 1e4, 3) if known else None for value, known in pairs]


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


def test_is_high__at_the_threshold__is_high() -> None:
    assert is_high(np.asarray([0.0004999, 0.0005, 0.0005001])).tolist() == [False, True, True]


def test_market_series__one_venue__has_its_own_returns_gaps_and_all(closes: np.ndarray) -> None:
    keep = np.random.default_rng(1).random(3_000) > 0.02
    keep[[0, -1]] = True
    # Nothing of it may be set aside, whatever it shows: a price that stands still, or jumps.
    shown = closes[:3_000].copy()
    shown[500:520] = shown[500]
    shown[900] *= 1.2
    alone = candles_of(shown, keep)
    own = series_of(alone)
    found = market_series({"binance": alone}, own.start_ms, own.end_ms, quorum=1)
    for name in ("absolute", "signed", "present"):
        assert np.array_equal(getattr(found, name), getattr(own, name)), name
    assert found.start_ms == own.start_ms


def test_market_series__three_venues__takes_the_signed_median_minute_by_minute() -> None:
    found = series_from(
        venue(1, -2, 3, 0.5, 1, 1, 1, 1, 1, 1, 1, 1),
        venue(2, -3, -1, 0.4, 1, 1, 1, 1, 1, 1, 1, 1),
        venue(-1, -4, 2, 0.1, 1, 1, 1, 1, 1, 1, 1, 1),
    )
    assert basis_points(found)[:5] == [1, -3, 2, 0.4, 1]
    assert found.absolute[:2].tolist() == [100_000, 300_000], "the size is what observations are made of"


def test_market_series__two_venues__are_averaged_with_their_signs() -> None:
    found = series_from(venue(*[2] * 11, -3), venue(*[1] * 11, 1))
    assert basis_points(found)[-2:] == [1.5, -1]


def test_market_series__fewer_than_the_quorum__is_missing() -> None:
    found = series_from(venue(*[1] * 12), venue(*[1] * 5, None, *[1] * 6), venue(*[1] * 12), quorum=3)
    # Without its candle, a venue has no return of that minute nor of the next.
    assert basis_points(found) == [*[1.0] * 5, None, None, *[1.0] * 5]
    assert (found.absolute == MISSING).tolist() == (~found.present).tolist()


def test_market_series__jump_of_one_venue__is_set_aside() -> None:
    found = series_from(venue(*[1] * 12), venue(*[1] * 6, 80, *[1] * 5), venue(*[1] * 6, 1.2, *[1] * 5))
    assert basis_points(found)[6] == 1.1


def test_market_series__stuck_price__is_set_aside() -> None:
    found = series_from(venue(*[1] * 12), venue(*[1] * 3, 0, 0, 0, 4, *[1] * 5), venue(*[2] * 12))
    assert basis_points(found)[3:7] == [1.5] * 4, "and so is the return that makes up for it"


def test_market_series__jump_that_others_deny__is_disputed_and_missing() -> None:
    found = series_from(venue(*[1] * 6, 90, *[1] * 5), venue(*[1] * 6, 90, *[1] * 5), venue(*[1] * 12))
    assert basis_points(found)[6] is None
    assert volatility(found, np.asarray([MINUTES]), MINUTES)[1].tolist() == [MINUTES - 1]
