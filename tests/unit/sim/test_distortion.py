"""What a venue shows under faults, through `visible` and `Exchange`, as the protocols see it."""

from __future__ import annotations

import numpy as np
import pytest

from app.clock import Clock, wall_ms
from app.sim.exchange import Exchange
from app.sim.faults import Fault, FaultBook
from app.sim.klines import visible
from app.sim.market import SimulatedMarket
from app.sim.recorded import RecordedMarket
from app.types import MINUTE_MS, Candles, parse_time

BTC = "BTC/USDT"
NOON = parse_time("2025-09-15T12:00:00Z")
FROM = NOON + 10 * MINUTE_MS
MARKET = SimulatedMarket(1)
WHOLE = MARKET.candles(BTC, NOON, NOON + 30 * MINUTE_MS)
LONG_AFTER = NOON + 600 * MINUTE_MS


def at(minute: int, second: float = 0) -> int:
    return NOON + minute * MINUTE_MS + round(second * 1_000)


def fault(kind: str, **values: float) -> Fault:
    """For five minutes from the tenth."""
    return Fault.of("kraken", kind, FROM, minutes=5, **values)  # type: ignore[arg-type]


def seen(*faults: Fault, now_ms: int = LONG_AFTER) -> Candles:
    """The half hour from noon."""
    book = FaultBook(["kraken"], faults)
    return visible(MARKET, BTC, NOON, NOON + 30 * MINUTE_MS, now_ms, book.of_candles("kraken"))


def opened(candles: Candles) -> list[int]:
    return [(time - NOON) // MINUTE_MS for time in candles.open_time_ms.tolist()]


def outside(candles: Candles) -> list[list[float]]:
    return [row for row in candles.rows() if not FROM <= row[0] < FROM + 5 * MINUTE_MS]


def is_possible(candles: Candles) -> bool:
    body = np.stack((candles.open, candles.close))
    return bool((candles.low <= body.min(axis=0)).all() and (candles.high >= body.max(axis=0)).all())


def test_missing__minutes__are_never_there() -> None:
    left = [*range(10), *range(15, 30)]
    assert opened(seen(fault("missing"))) == left
    assert seen(fault("missing")).rows() == outside(WHOLE)


def test_late__candle__comes_seconds_after_its_minute() -> None:
    late = fault("late")
    assert opened(seen(late, now_ms=at(12, 24.9)))[-1] == 10
    assert opened(seen(late, now_ms=at(12, 25)))[-1] == 11
    assert opened(seen(late, now_ms=at(15, 30)))[-2:] == [14, 15]
    assert seen(late).rows() == WHOLE.rows()


def test_revised__close__is_off_until_seconds_after_its_minute() -> None:
    before = seen(fault("revised"), now_ms=at(13, 29.9))
    ratio = before.close[10:13] / WHOLE.close[10:13]
    assert ratio[0] == pytest.approx(1.0)
    assert ratio[1:] == pytest.approx([0.998, 1.002], abs=1e-6)
    assert is_possible(before)
    assert seen(fault("revised"), now_ms=at(13, 30)).close[11] == WHOLE.close[11]
    assert seen(fault("revised")).rows() == WHOLE.rows()


def test_frozen__candles__show_the_last_price_before_with_volume_for_ever() -> None:
    held = seen(fault("frozen"))
    price = WHOLE.close[9]
    for column in (held.open, held.high, held.low, held.close):
        assert (column[10:15] == price).all()
    assert (held.volume == WHOLE.volume).all()
    assert outside(held) == outside(WHOLE)


def test_frozen__nothing_before__is_the_first_price() -> None:
    late_start = RecordedMarket(BTC, WHOLE.between(FROM, LONG_AFTER))
    frozen = visible(late_start, BTC, NOON, LONG_AFTER, LONG_AFTER, [fault("frozen")])
    assert (frozen.close[:5] == WHOLE.open[10]).all()


def test_frozen__gap_of_days_before__is_the_last_price_of_then() -> None:
    rows = [[NOON - 3 * 1_440 * MINUTE_MS, 90.0, 91.0, 89.0, 90.5, 1.0], [FROM, 100.0, 101.0, 99.0, 100.5, 1.0]]
    frozen = visible(RecordedMarket(BTC, Candles.from_rows(rows)), BTC, FROM, LONG_AFTER, LONG_AFTER, [fault("frozen")])
    assert frozen.close.tolist() == [90.5]


def test_wrong_price__candles__are_off_for_ever() -> None:
    wrong = seen(fault("wrong-price"))
    assert wrong.close[10:15] / WHOLE.close[10:15] == pytest.approx([1.05] * 5, abs=1e-6)
    assert np.array_equal(wrong.close.round(2), wrong.close)
    assert is_possible(wrong)
    assert outside(wrong) == outside(WHOLE)


def test_faults__at_once__all_leave_their_mark() -> None:
    both = seen(fault("late"), fault("wrong-price"), fault("frozen"), now_ms=at(12, 20))
    assert opened(both) == list(range(11))
    assert both.close[10] == pytest.approx(1.05 * WHOLE.close[9], abs=0.01)


def test_faults__minute_that_forms__is_under_them_too() -> None:
    forming = seen(fault("wrong-price"), now_ms=at(10, 30))
    plain = seen(now_ms=at(10, 30))
    assert forming.close[-1] == pytest.approx(1.05 * plain.close[-1], abs=0.01)


@pytest.mark.parametrize(("seconds", "newest"), [(-90.0, 8), (90.0, 11)])
def test_clock_skew__venue__closes_by_its_own_clock(seconds: float, newest: int) -> None:
    stopped = Clock(at(10, 20), wall_ms(), speed=1e-9)
    book = FaultBook(["kraken"], [fault("clock-skew", seconds=seconds)])
    exchange = Exchange("kraken", MARKET, stopped, book)
    assert exchange.now_ms() == at(10, 20) + seconds * 1_000
    assert opened(exchange.page(BTC, MINUTE_MS, NOON, None, 500))[-1] == newest


def test_book_of_requests__answered_candles__are_noted_with_their_range() -> None:
    exchange = Exchange("kraken", MARKET, Clock(at(10, 20), wall_ms(), speed=1e-9))
    exchange.record(BTC, MINUTE_MS, WHOLE)
    exchange.record(BTC, MINUTE_MS, Candles.from_rows([]))
    full, empty = exchange.log.all()
    assert full == ("kraken", BTC, NOON, NOON + 30 * MINUTE_MS, 30, at(10, 20))
    assert empty[2:5] == (None, None, 0)
