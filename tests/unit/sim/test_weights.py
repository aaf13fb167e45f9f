from __future__ import annotations

import pytest

from app.sim.coinbase import REQUESTS_PER_SECOND as COINBASE_PACE
from app.sim.kraken import BURST
from app.sim.kraken import REQUESTS_PER_SECOND as KRAKEN_PACE
from app.sim.weights import DecayingCounter, WeightMeter
from app.types import MINUTE_MS


class Wall:
    def __init__(self) -> None:
        self.now_ms = 100 * MINUTE_MS

    def __call__(self) -> int:
        return self.now_ms


def test_meter__requests_of_a_client__add_up_until_the_limit_is_exceeded() -> None:
    meter = WeightMeter(5, Wall())
    assert not meter.charge("10.0.0.1", 2).exceeded
    assert meter.charge("10.0.0.1", 3).used == 5
    assert meter.charge("10.0.0.1", 1).exceeded


def test_meter__clients__are_counted_apart() -> None:
    meter = WeightMeter(5, Wall())
    meter.charge("10.0.0.1", 9)
    assert not meter.charge("10.0.0.2", 5).exceeded


def test_meter__next_minute__starts_again() -> None:
    wall = Wall()
    meter = WeightMeter(5, wall)
    wall.now_ms += 59_001
    assert meter.charge("10.0.0.1", 6).seconds_left == 1
    wall.now_ms += 1_000
    usage = meter.charge("10.0.0.1", 5)
    assert not usage.exceeded
    assert usage.seconds_left == 60


def test_counter__burst__is_admitted_up_to_the_most_and_recovers() -> None:
    wall = Wall()
    counter = DecayingCounter(15, 1, wall)
    assert [counter.admits("10.0.0.1") for _ in range(17)] == [True] * 15 + [False] * 2
    assert counter.admits("10.0.0.2")
    wall.now_ms += 2_000
    assert [counter.admits("10.0.0.1") for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("most", "per_second", "ccxt_pause_ms"),
    [(COINBASE_PACE, COINBASE_PACE, 102), (BURST, KRAKEN_PACE, 1_000)],
)
def test_counter__pace_of_ccxts_own_limiter__is_always_admitted_and_a_faster_one_is_not(
    most: int, per_second: int, ccxt_pause_ms: int
) -> None:
    def admitted(pause_ms: int) -> bool:
        wall = Wall()
        counter = DecayingCounter(most, per_second, wall)
        steps = []
        for _ in range(300):
            steps.append(counter.admits("10.0.0.1"))
            wall.now_ms += pause_ms
        return all(steps)

    assert admitted(ccxt_pause_ms)
    assert not admitted(ccxt_pause_ms * 9 // 10)
