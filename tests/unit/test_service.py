from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from app.pipeline import TickOutcome
from app.service import Service

FEED = "btc-usdt-4h"


class SlowPipeline:
    """Ticks that take until they are let go."""

    def __init__(self, *outcomes: TickOutcome) -> None:
        self.feeds = {FEED: None}
        self.started, self.let_go = threading.Event(), threading.Event()
        self.outcomes = list(outcomes)
        self.ticks = 0

    def tick(self, feed: str, window_end_ms: int) -> TickOutcome:
        self.ticks += 1
        self.started.set()
        assert self.let_go.wait(10)
        return self.outcomes.pop(0)


def service_of(pipeline: SlowPipeline) -> Service:
    # The minute never ends, and the market's clock runs fast: the pause between two attempts is short.
    clock = SimpleNamespace(last_minute_ms=lambda: 60_000, speed=1000)
    application: Any = SimpleNamespace(pipeline=pipeline, clock=clock)
    return Service(application)


def test_tick__while_the_one_before_still_loads_history__is_left_out() -> None:
    pipeline = SlowPipeline(TickOutcome.PREDICTED)
    service = service_of(pipeline)
    first = threading.Thread(target=service._tick, args=(FEED,))
    first.start()
    assert pipeline.started.wait(10)
    service._tick(FEED)
    pipeline.let_go.set()
    first.join()
    assert pipeline.ticks == 1


@pytest.mark.parametrize(
    "trouble", [TickOutcome.VENUE_UNAVAILABLE, TickOutcome.WINDOW_INCOMPLETE, TickOutcome.FAILED], ids=str
)
def test_tick__in_trouble__is_tried_again_within_its_minute(trouble: TickOutcome) -> None:
    pipeline = SlowPipeline(trouble, trouble, TickOutcome.PREDICTED)
    pipeline.let_go.set()
    service_of(pipeline)._tick(FEED)
    assert pipeline.ticks == 3
