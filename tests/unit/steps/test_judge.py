"""Forecasts meet what the market did, from candles whose volatility can be told by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from app.clock import Clock
from app.metrics import Metrics
from app.steps.judge import JudgeStep
from app.steps.served import ServedFeed
from app.store.database import Database
from app.store.outcomes import Outcome
from app.types import DAY_MS, MINUTE_MS, Candles, EventKind, Prediction, Regime, Sources, Status

FEED = "btc-usdt-4h"
HORIZON_MS = 240 * MINUTE_MS
BEFORE, AFTER = 0.0002, 0.0008
"""Deviations of the minutes before `window_end_ms` and after it."""
Predict = Callable[..., Prediction]


def swinging(window_end_ms: int, minutes: int = 720, *, after: float = AFTER, without: tuple[int, ...] = ()) -> Candles:
    """Prices that go up and down by the same step every minute, smaller before the window's end than ``after`` it.

    ``without`` are minutes that are not there, counted from the window's end.
    """
    step = np.where(np.arange(minutes) < minutes // 2, BEFORE, after)
    close = 100 * np.exp(step * (np.arange(minutes) % 2 - 0.5))
    times = window_end_ms + MINUTE_MS * (np.arange(minutes) - minutes // 2)
    keep = ~np.isin(np.arange(minutes) - minutes // 2, without)
    return Candles(times[keep], *(close[keep] for _ in range(4)), np.ones(int(keep.sum())))


@pytest.fixture
def add_candles(sqlite_database: Database) -> Callable[..., None]:
    def add(candles: Candles, *venues: str) -> None:
        with sqlite_database.unit_of_work() as store:
            for venue in venues or ("binance",):
                store.candles.add(venue, "BTC/USDT", candles)

    return add


@pytest.fixture
def judge(sqlite_database: Database, served: ServedFeed, metrics: Metrics, window_end_ms: int) -> JudgeStep:
    clock = Clock(market_start_ms=window_end_ms + HORIZON_MS + 1_500, speed=0)
    return JudgeStep({FEED: served}, sqlite_database, clock, metrics)


@pytest.fixture
def forecast(predict: Predict, window_end_ms: int) -> Predict:
    """A proved one of so many minutes after the first, from as many venues as are named."""

    def make(minute: int = 0, *venues: str, quorum: int = 1, **fields: object) -> Prediction:
        markets = dict.fromkeys(venues or ("binance",), "BTC/USDT")
        own = {"status": Status.PROVED, "quorum": quorum, "sources": Sources(markets, {}, as_of=1)}
        return predict(window_end_ms=window_end_ms + minute * MINUTE_MS, **(own | fields))

    return make


def counted(metrics: Metrics) -> dict[str, float]:
    results = {
        result: metrics.registry.get_sample_value("veriregime_outcomes_total", {"feed": FEED, "result": result})
        for result in ("right", "wrong", "missing")
    }
    return {result: value for result, value in results.items() if value}


def stored(database: Database, *predictions: Prediction) -> list[Outcome]:
    with database.unit_of_work(write=False) as store:
        found = store.outcomes.of([one.id for one in predictions])
    return [found[one.id] for one in predictions]


def test_next__hours_have_passed__stores_their_volatility_beside_the_forecast(
    judge: JudgeStep,
    forecast: Predict,
    add_candles: Callable[..., None],
    sqlite_database: Database,
    metrics: Metrics,
    window_end_ms: int,
) -> None:
    add_candles(swinging(window_end_ms))
    made = forecast(regime=Regime.HIGH, p_high=0.75, vol_annualised=0.5)
    [found] = judge.next(FEED, window_end_ms + HORIZON_MS)
    assert [found] == stored(sqlite_database, made)
    # The first return leads from the smaller swing to the larger one.
    returns = [(BEFORE + AFTER) / 2, *[AFTER] * 239] * np.tile([-1, 1], 120)
    assert found.realised == pytest.approx(float(returns.std()), rel=1e-6)
    assert (found.past_60, found.past_240) == (pytest.approx(BEFORE, rel=1e-5), pytest.approx(BEFORE, rel=1e-5))
    assert found.score == pytest.approx(np.log(3))
    assert (found.p_high, found.high_said, found.vol_annualised, found.missing) == (0.75, True, 0.5, None)
    assert found.judged_at_ms == window_end_ms + HORIZON_MS + 1_500
    assert counted(metrics) == {"right": 1}
    with sqlite_database.unit_of_work(write=False) as store:
        [event] = [one for one in store.events.after(0, 10) if one.kind is EventKind.OUTCOME]
    assert '"realised_regime":"high","right":true' in event.data


def test_next__hours_not_over_or_judged_before__stores_nothing(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], metrics: Metrics, window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms))
    forecast(regime=Regime.LOW)
    forecast(1, status=Status.PROVING)
    assert judge.next(FEED, window_end_ms + HORIZON_MS - MINUTE_MS) == []
    assert len(judge.next(FEED, window_end_ms + HORIZON_MS + MINUTE_MS)) == 1
    assert judge.next(FEED, window_end_ms + HORIZON_MS + 2 * MINUTE_MS) == []
    assert counted(metrics) == {"wrong": 1}


def test_next__missing_minute__is_waited_for_and_then_told(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], metrics: Metrics, window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms, without=(239,)))
    forecast()
    assert judge.next(FEED, window_end_ms + HORIZON_MS) == []
    assert judge.next(FEED, window_end_ms + HORIZON_MS + 14 * MINUTE_MS) == []
    [found] = judge.next(FEED, window_end_ms + HORIZON_MS + 15 * MINUTE_MS)
    assert (found.realised, found.missing) == (None, "1 of the 240 minutes after it have no return")
    assert counted(metrics) == {"missing": 1}


def test_next__minute_that_came_late__counts(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms, without=(239,)))
    forecast()
    assert judge.next(FEED, window_end_ms + HORIZON_MS) == []
    add_candles(swinging(window_end_ms))
    [found] = judge.next(FEED, window_end_ms + HORIZON_MS + 10 * MINUTE_MS)
    assert found.realised is not None


def test_next__first_look_after_a_pause__gives_minutes_that_are_being_loaded_their_time(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms, without=(100, 101)))
    forecast()
    started_ms = window_end_ms + HORIZON_MS + 3 * DAY_MS
    assert judge.next(FEED, started_ms) == []
    assert judge.next(FEED, started_ms + 14 * MINUTE_MS) == []
    assert len(judge.next(FEED, started_ms + 15 * MINUTE_MS)) == 1


def test_next__price_stood_still__has_nothing_to_forecast(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms, after=0.0))
    forecast(1)
    [found] = judge.next(FEED, window_end_ms + HORIZON_MS + MINUTE_MS)
    assert found.missing == "the price stood still for 240 minutes: there was no volatility to forecast"


def test_next__candles_pruned__says_so_at_once(
    judge: JudgeStep,
    forecast: Predict,
    add_candles: Callable[..., None],
    sqlite_database: Database,
    window_end_ms: int,
) -> None:
    add_candles(swinging(window_end_ms))
    forecast()
    with sqlite_database.unit_of_work() as store:
        store.candles.prune(window_end_ms - 100 * MINUTE_MS)
    [found] = judge.next(FEED, window_end_ms + HORIZON_MS)
    assert found.missing == "the candles of its hours are no longer stored"


def test_next__three_venues__takes_their_median_and_needs_its_quorum(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms), "binance", "coinbase")
    add_candles(swinging(window_end_ms, after=0.0004, without=(50,)), "kraken")
    of_three, of_all = (
        forecast(0, "binance", "coinbase", "kraken", quorum=2),
        forecast(1, "binance", "kraken", quorum=2),
    )
    found = {one.prediction_id: one for one in judge.next(FEED, window_end_ms + HORIZON_MS + 20 * MINUTE_MS)}
    assert found[of_three.id].realised == pytest.approx(AFTER, rel=1e-2)
    assert of_all.id not in found, "a minute that one of two lacks may still come"


def test_next__many_due__are_judged_a_stretch_at_a_time(
    judge: JudgeStep,
    forecast: Predict,
    add_candles: Callable[..., None],
    window_end_ms: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.steps.judge._AT_ONCE", 3)
    monkeypatch.setattr("app.steps.judge._LATE_MS", 0)
    add_candles(swinging(window_end_ms, without=(241,)))
    made = [forecast(minute) for minute in range(7)]
    now_ms = window_end_ms + HORIZON_MS + 7 * MINUTE_MS
    judged = [[one.prediction_id for one in judge.next(FEED, now_ms)] for _ in range(3)]
    # The minute that is missing is part of the hours of all but the first two.
    assert judged == [[made[0].id, made[1].id], [], []]
    add_candles(swinging(window_end_ms))
    assert [len(judge.next(FEED, now_ms)) for _ in range(3)] == [3, 2, 0]


def test_next__proved_long_after_its_hours__is_judged_all_the_same(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], window_end_ms: int
) -> None:
    add_candles(swinging(window_end_ms))
    forecast(1)
    assert len(judge.next(FEED, window_end_ms + HORIZON_MS + DAY_MS)) == 1
    late = forecast(0)
    assert [one.prediction_id for one in judge.next(FEED, window_end_ms + HORIZON_MS + DAY_MS)] == [late.id]


@pytest.mark.parametrize("p_high", [0.0, 1.0, 1e-320])
def test_next__probability_without_doubt__has_a_finite_score(
    judge: JudgeStep, forecast: Predict, add_candles: Callable[..., None], window_end_ms: int, p_high: float
) -> None:
    add_candles(swinging(window_end_ms))
    forecast(p_high=p_high)
    [found] = judge.next(FEED, window_end_ms + HORIZON_MS)
    assert np.isfinite(found.score)
    assert (found.score > 0) == (p_high > 0.5)
