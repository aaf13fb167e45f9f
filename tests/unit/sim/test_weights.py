from __future__ import annotations

from app.sim.weights import WeightMeter
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
