"""What may not change an observation: the venues' order and price level, what lies outside, where floats come from."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.audit.bundle import make_bundle, parse_bundle
from app.candles.files import read_candles
from app.features.returns import NANO, log_ratio
from app.features.variation import CANDLES_NEEDED, VariationSpec, observe
from app.inference.release import ReleasedModel
from app.store.database import Database
from app.types import MINUTE_MS, Candles, CandlesByVenue, Feed, FloatArray, Observation, Prediction, Proof, Window

FEED = Feed("btc-usdt-4h", "BTC/USDT")
END_MS = 1_757_937_600_000
START_MS = END_MS - CANDLES_NEEDED * MINUTE_MS
MARKETS = {"binance": "BTC/USDT", "bitstamp": "BTC/USD", "kraken": "BTC/USD"}
NEAR_A_HALF = 1e-6
"""Nano. A factor moves a logarithm by less, so only a return that close to a half can be rounded the other way."""
factors = st.floats(0.5, 2.0) | st.floats(-1e-9, 1e-9).map(lambda tiny: 1.0 + tiny)
few = settings(max_examples=12, deadline=None)


Seen = Callable[[CandlesByVenue], Observation]


@pytest.fixture(scope="module")
def candles() -> dict[str, Candles]:
    """Three venues of one market with noise, a stuck price, gaps, a jump that is true and one that is not."""
    rng = np.random.default_rng(11)
    steps = 0.0005 * rng.normal(size=CANDLES_NEEDED)
    steps[-500] = 0.01
    path, found = 60_000 * np.exp(np.cumsum(steps)), {}
    for number, name in enumerate(MARKETS):
        close = np.round(path * (1 - 0.002 * number) * np.exp(0.0001 * rng.normal(size=CANDLES_NEEDED)), 2)
        if number == 1:
            close[-200:-150] = close[-200]
            close[-90] *= 1.05
        here = rng.random(CANDLES_NEEDED) > 0.002 * number
        here[[0, -2, -1]] = True
        times = START_MS + MINUTE_MS * np.arange(CANDLES_NEEDED, dtype=np.int64)
        volume = np.round(rng.gamma(2.0, 5.0, size=CANDLES_NEEDED), 5)
        found[name] = Candles(*(column[here] for column in (times, close, close + 0.5, close - 0.5, close, volume)))
    return found


@pytest.fixture(scope="module")
def seen(model: ReleasedModel) -> Seen:
    spec = VariationSpec.from_manifest(model.manifest["observation"])
    return lambda candles: observe(Window(FEED, END_MS, candles, quorum=2), spec)


def at_level(candles: Candles, factor: float) -> Candles:
    prices = (candles.open, candles.high, candles.low, candles.close)
    return Candles(candles.open_time_ms, *(column * factor for column in prices), candles.volume)


def near_a_half(close: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which returns lie so near the middle between two integers that rounding may take either."""
    exact = log_ratio(close[1:], close[:-1]) * NANO
    return np.abs(np.abs(exact - np.trunc(exact)) - 0.5) < NEAR_A_HALF


@few
@given(order=st.permutations(list(MARKETS)))
def test_observe__venues_permuted__is_the_same(candles: dict[str, Candles], seen: Seen, order: list[str]) -> None:
    assert seen({name: candles[name] for name in order}) == seen(candles)


@few
@given(venue=st.sampled_from(list(MARKETS)), power=st.integers(-30, 30))
def test_observe__a_venue_at_another_level_by_a_power_of_two__is_the_same(
    candles: dict[str, Candles], seen: Seen, venue: str, power: int
) -> None:
    moved = candles | {venue: at_level(candles[venue], 2.0**power)}
    assert seen(moved).values == seen(candles).values


@few
@given(venue=st.sampled_from(list(MARKETS)), factor=factors)
def test_observe__a_venue_at_another_level__is_the_same_unless_a_return_is_a_half(
    candles: dict[str, Candles], seen: Seen, venue: str, factor: float
) -> None:
    assume(not near_a_half(candles[venue].close).any())
    moved = candles | {venue: at_level(candles[venue], factor)}
    assert seen(moved).values == seen(candles).values


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), factor=factors)
def test_log_ratio__at_another_level__is_rounded_differently_near_a_half_only(seed: int, factor: float) -> None:
    """By one at most: the bound that is stated in docs/venues.md."""
    rng = np.random.default_rng(seed)
    close = np.round(60_000 * np.exp(np.cumsum(0.002 * rng.normal(size=10_000))), 2)
    here, there = (np.rint(log_ratio(c[1:], c[:-1]) * NANO) for c in (close, close * factor))
    assert not (here != there)[~near_a_half(close)].any()
    assert np.abs(here - there).max() <= 1


@few
@given(seed=st.integers(0, 2**32), before=st.integers(1, 300), after=st.integers(0, 300))
def test_observe__history_outside_the_window__does_not_matter(
    candles: dict[str, Candles], seen: Seen, seed: int, before: int, after: int
) -> None:
    rng = random.Random(seed)

    def any_prices(first_ms: int, minutes: int) -> list[list[float]]:
        return [[first_ms + t * MINUTE_MS, *[rng.uniform(1.0, 1e6)] * 4, 1.0] for t in range(minutes)]

    earlier, later = any_prices(START_MS - before * MINUTE_MS, before), any_prices(END_MS, after)
    longer = {name: Candles.from_rows([*earlier, *part.rows(), *later]) for name, part in candles.items()}
    assert seen(longer).values == seen(candles).values


def test_observe__floats_from_parquet__is_the_same(candles: dict[str, Candles], seen: Seen, tmp_path: Path) -> None:
    for name, part in candles.items():
        columns = {
            field: getattr(part, column)
            for field, column in zip(
                ("open_time", "open", "high", "low", "close", "volume"), Candles.__dataclass_fields__, strict=True
            )
        }
        pa_parquet.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    assert seen({name: read_candles(tmp_path / f"{name}.parquet") for name in candles}) == seen(candles)


def test_observe__floats_from_the_store__is_the_same(
    candles: dict[str, Candles],
    seen: Seen,
    sqlite_database: Database,
) -> None:
    with sqlite_database.unit_of_work() as store:
        for name, part in candles.items():
            store.candles.add(name, MARKETS[name], part)
    with sqlite_database.unit_of_work(write=False) as store:
        stored = store.candles.window(MARKETS, START_MS, END_MS)
    assert seen(stored) == seen(candles)


def test_observe__floats_from_a_bundle_over_http__is_the_same(
    candles: dict[str, Candles],
    seen: Seen,
    make_prediction: Callable[..., Prediction],
    make_proof: Callable[..., Proof],
) -> None:
    prediction = make_prediction(candles_sha256=seen(candles).candles_sha256)
    made = make_bundle(
        replace(prediction, sources=replace(prediction.sources, markets=MARKETS)),
        make_proof(),
        prediction.predicted_at_ms,
        candles,
        circuit_hash="ef" * 32,
        ezkl_version="23.0.5",
        srs_development=True,
    )
    read: Mapping[str, list[tuple[float, ...]]] = parse_bundle(made.model_dump_json().encode(), 2**24).candles
    assert seen({name: Candles.from_rows(rows) for name, rows in read.items()}) == seen(candles)
