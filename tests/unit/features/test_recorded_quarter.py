"""Two real venues of one quarter, and three venues made of one of them: the figures that docs/venues.md states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from app.candles.files import read_candles
from app.features.agreement import far_venues
from app.features.returns import MISSING, NANO, OUTSIZED_MOST, absolute_returns, log_ratio, market_returns
from app.features.variation import CANDLES_NEEDED, VariationSpec, observe
from app.inference.network import Network
from app.inference.release import ReleasedModel
from app.types import MINUTE_MS, Candles, Feed, FloatArray, Forecast, IntArray, Window

RECORDED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
FILES = {"binance": "btcusdt_1m_binance_2019q4.parquet", "bitfinex": "btcusd_1m_bitfinex_2019q4.parquet"}
NOISE = 0.00005
"""Half a basis point, which makes a venue's minutes differ by 0.7 of one."""
TEN = 10

Closes = FloatArray
"""One row per venue, one column per minute, NaN where there is no candle."""
Disturbance = Callable[[FloatArray, int], None]


@pytest.fixture(scope="module")
def venues() -> dict[str, Candles]:
    missing = [name for name in FILES.values() if not (RECORDED / name).is_file()]
    if missing:
        pytest.skip(f"recorded candles are not at {RECORDED}: {', '.join(missing)}")
    return {venue: read_candles(RECORDED / name) for venue, name in FILES.items()}


@pytest.fixture(scope="module")
def span(venues: Mapping[str, Candles]) -> tuple[int, int]:
    """Open time of the first candle and close time of the last."""
    times = [int(part.open_time_ms[place]) for part in venues.values() for place in (0, -1)]
    return min(times), max(times) + MINUTE_MS


@pytest.fixture(scope="module")
def closes(venues: Mapping[str, Candles], span: tuple[int, int]) -> Closes:
    table = np.full((len(venues), (span[1] - span[0]) // MINUTE_MS), np.nan)
    for row, part in enumerate(venues.values()):
        table[row, (part.open_time_ms - span[0]) // MINUTE_MS] = part.close
    return table


@pytest.fixture(scope="module")
def returns(venues: Mapping[str, Candles], span: tuple[int, int]) -> dict[str, IntArray]:
    return {name: absolute_returns(part, span[0] + MINUTE_MS, span[1]) for name, part in venues.items()}


def sizes(closes: FloatArray) -> IntArray:
    found = np.rint(np.abs(log_ratio(closes[1:], closes[:-1])) * NANO)
    return np.where(np.isnan(found), MISSING, found).astype(np.int64)


def by_returns(closes: Closes) -> IntArray:
    return market_returns({str(row): sizes(own) for row, own in enumerate(closes)}, 1).returns


def by_levels(closes: Closes) -> IntArray:
    """What must not be done: the returns of the median price of the venues that are there."""
    here = np.isfinite(closes)
    total = np.where(here, closes, 0.0).sum(axis=0)
    return sizes(np.where(here.any(axis=0), total / np.maximum(here.sum(axis=0), 1), np.nan))


def hourly(returns: IntArray) -> FloatArray:
    """Mean absolute return of each hour, NaN where less than half of it is known."""
    hours = returns[: len(returns) // 60 * 60].reshape(-1, 60)
    known = (hours != MISSING).sum(axis=1)
    mean: FloatArray = np.where(hours != MISSING, hours, 0).sum(axis=1) / np.maximum(known, 1)
    return np.where(known >= 30, mean, np.nan)


def switched(closes: Closes, mean_minutes: int, seed: int) -> Closes:
    """Each venue on and off in turn for random times, and both on where both would be off."""
    rng, on = np.random.default_rng(seed), np.ones(closes.shape, dtype=np.bool_)
    for row in on:
        ends = np.cumsum(rng.geometric(1 / mean_minutes, size=4 * len(row) // mean_minutes))
        row[:] = np.searchsorted(ends, np.arange(len(row)), side="right") % 2 == rng.integers(2)
    on[:, ~on.any(axis=0)] = True
    return np.where(on, closes, np.nan)


def changes(series: Callable[[Closes], IntArray], closes: Closes, mean_minutes: int) -> tuple[float, float, float]:
    """Relative change of hourly variation against both venues always on: median, 99 % and largest."""
    change = np.abs(hourly(series(switched(closes, mean_minutes, seed=1))) / hourly(series(closes)) - 1)
    median, most, largest = np.nanquantile(change, [0.5, 0.99, 1.0]).tolist()
    return median, most, largest


def test_hourly_variation__venues_switched_at_random__return_median_changes_far_less_than_level_median(
    closes: Closes,
) -> None:
    ours, theirs = changes(by_returns, closes, 15), changes(by_levels, closes, 15)
    assert all(found < bound for found, bound in zip(ours, (0.075, 0.45, 0.8), strict=True)), ours
    assert all(found > bound for found, bound in zip(theirs, (0.35, 1.8, 2.5), strict=True)), theirs


def test_hourly_variation__venues_switched_every_hour_or_so__return_median_changes_half_as_much(closes: Closes) -> None:
    ours, theirs = changes(by_returns, closes, 60), changes(by_levels, closes, 60)
    assert ours[0] < 0.6 * theirs[0]
    assert ours[1] < 0.8 * theirs[1]
    assert ours[2] < 0.6 * theirs[2]


def test_market_returns__of_the_quarter__set_aside_what_the_documentation_says(returns: dict[str, IntArray]) -> None:
    found = market_returns(returns, quorum=2)
    both = (returns["binance"] != MISSING) & (returns["bitfinex"] != MISSING)
    outsized = both & ((returns["binance"] + returns["bitfinex"]) // 2 >= OUTSIZED_MOST)
    counts = (int(outsized.sum()), int((found.disputed != MISSING).sum()), int(found.outlying.sum()))
    assert counts == (1143, 54, 0)
    assert found.frozen.mean(axis=1) == pytest.approx([0.0001, 0.102], abs=0.0005)


def test_far_venues__a_thin_real_venue_beside_two_good_ones__is_never_far(
    venues: dict[str, Candles], span: tuple[int, int]
) -> None:
    two = {"binance": venues["binance"], "copy": copy_of(venues["binance"], seed=4)}
    ends = range(span[0] + 120 * MINUTE_MS, span[1], 3 * 60 * MINUTE_MS)
    assert [end for end in ends if far_venues(two | {"bitfinex": venues["bitfinex"]}, end)] == []


def copy_of(candles: Candles, seed: int) -> Candles:
    noise = np.exp(NOISE * np.random.default_rng(seed).normal(size=len(candles)))
    return with_closes(candles, candles.close * noise)


def with_closes(candles: Candles, close: FloatArray) -> Candles:
    here = np.isfinite(close)
    return Candles(candles.open_time_ms[here], *[close[here]] * 4, candles.volume[here])


def times(factor: float, minutes: int = TEN) -> Disturbance:
    def disturb(close: FloatArray, at: int) -> None:
        close[at : at + minutes] *= factor

    return disturb


def missing(close: FloatArray, at: int) -> None:
    close[at : at + TEN] = np.nan


def frozen(close: FloatArray, at: int) -> None:
    close[at : at + TEN] = close[at - 1]


@pytest.fixture(scope="module")
def forecast(model: ReleasedModel) -> Callable[[Mapping[str, Candles], int], Forecast]:
    network, spec = Network(model), VariationSpec.from_manifest(model.manifest["observation"])
    feed = Feed("btc-usdt-4h", "BTC/USDT")
    return lambda candles, end_ms: network.forecast(observe(Window(feed, end_ms, candles, 2), spec).values)


@pytest.fixture(scope="module")
def windows(
    venues: dict[str, Candles],
    span: tuple[int, int],
    forecast: Callable[[Mapping[str, Candles], int], Forecast],
) -> list[tuple[int, dict[str, Candles], Forecast]]:
    """Weeks all over the quarter as three venues of one market tell them, with what is forecast from them."""
    found = []
    for number in range(60):
        end_ms = span[0] + (CANDLES_NEEDED + 97 + 1_987 * number) * MINUTE_MS
        week = venues["binance"].between(end_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)
        three = {name: copy_of(week, seed=3 * number + i) for i, name in enumerate(("binance", "coinbase", "kraken"))}
        found.append((end_ms, three, forecast(three, end_ms)))
    return found


@pytest.mark.parametrize(
    ("disturb", "volatility", "probability"),
    [
        pytest.param(times(1.05), 0.01, 0.01, id="five per cent too high for ten minutes"),
        pytest.param(missing, 0.02, 0.02, id="ten minutes missing"),
        pytest.param(frozen, 0.02, 0.02, id="ten minutes frozen"),
        pytest.param(times(1.002, minutes=1), 0.02, 0.02, id="one candle revised by 0.2 per cent"),
    ],
)
def test_forecast__one_of_three_venues_misbehaves__hardly_moves(
    windows: list[tuple[int, dict[str, Candles], Forecast]],
    forecast: Callable[[Mapping[str, Candles], int], Forecast],
    disturb: Disturbance,
    volatility: float,
    probability: float,
) -> None:
    moved = []
    for end_ms, three, undisturbed in windows:
        for minutes_before_end in (3, TEN, 15, 600):
            close = three["kraken"].close.copy()
            disturb(close, len(close) - minutes_before_end)
            found = forecast(three | {"kraken": with_closes(three["kraken"], close)}, end_ms)
            change = abs(found.vol_annualised / undisturbed.vol_annualised - 1)
            moved.append((change, abs(found.p_high - undisturbed.p_high)))
    largest = np.max(moved, axis=0).tolist()
    assert largest[0] < volatility
    assert largest[1] < probability
