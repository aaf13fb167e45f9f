"""`latest` from what is ready: never older than the caller accepts, never older than what has happened."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Any, cast

import pytest

from app.clock import Clock
from app.errors import ForecastStale
from app.types import Event, EventKind
from app.web import ready
from app.web.ready import Asked, Ready, ReadyForecasts
from app.web.watching import Deliver, EventWatcher

FEED = "btc-usdt-4h"
PATH = f"/v1/feeds/{FEED}/latest"
END_MS = 1_757_937_600_000
SETTLE_S = 2.0


class Watcher:
    """What `ReadyForecasts` needs of a watcher."""

    def __init__(self) -> None:
        self.is_current = True
        self.deliver: list[Deliver] = []

    def subscribe(self, deliver: Deliver) -> None:
        self.deliver.append(deliver)

    def happens(self, seq: int, feed: str = FEED) -> None:
        for deliver in self.deliver:
            deliver([Event(seq, EventKind.PROOF, feed, "{}")])


class Ages:
    """A clock that shows these ages in ms, one each time that it is looked at, the last one again and again."""

    speed = 1.0

    def __init__(self, ages: Iterable[int]) -> None:
        self._coming = list(ages)

    def now_ms(self) -> int:
        return END_MS + (self._coming.pop(0) if len(self._coming) > 1 else self._coming[0])


class Desk:
    """Forecasts around a make that counts, whose newest event was ``seq``."""

    def __init__(self, *ages_ms: int, quiet_after_s: float = 0.0) -> None:
        self.watcher, self.made, self.seq, self.quiet_after_s = Watcher(), 0, 1, quiet_after_s
        clock, watcher = cast(Clock, Ages(ages_ms)), cast(EventWatcher, self.watcher)
        self.forecasts = ReadyForecasts(self.make, clock, watcher, SETTLE_S)

    def make(self, asked: Asked) -> Ready:
        self.made += 1
        body = json.dumps({"made": self.made, "age_seconds": -1.0, "id": "x"}, separators=(",", ":")).encode()
        return Ready.of(body, f'"{self.made}"', END_MS, quiet_after_s=self.quiet_after_s, seq=self.seq)

    def ask(self, asked: Asked = Asked(FEED)) -> dict[str, Any]:  # noqa: B008  frozen
        return json.loads(self.forecasts.body(asyncio.run(self.forecasts.get(asked))))

    def cache_control(self, asked: Asked = Asked(FEED)) -> str:  # noqa: B008  frozen
        return self.forecasts.cache_control(asked, asyncio.run(self.forecasts.get(asked)))


def test_body__is_made_once_and_tells_its_age_each_time() -> None:
    desk = Desk(1_000, 2_500)
    assert [desk.ask(), desk.ask()] == [
        {"made": 1, "age_seconds": 1.0, "id": "x"},
        {"made": 1, "age_seconds": 2.5, "id": "x"},
    ]


def test_body__asked_for_by_many_at_once__is_made_once() -> None:
    desk = Desk(1_000)

    async def many() -> None:
        await asyncio.gather(*(desk.forecasts.get(Asked(FEED)) for _ in range(20)))

    asyncio.run(many())
    assert desk.made == 1


def test_body__after_an_event_of_its_feed__is_made_anew() -> None:
    desk = Desk(0)
    desk.ask()
    desk.seq = 2
    desk.watcher.happens(2)
    assert [desk.ask()["made"], desk.ask()["made"]] == [2, 2]


def test_body__after_an_event_of_another_feed_or_one_that_it_has__stays() -> None:
    desk = Desk(0)
    desk.ask()
    desk.watcher.happens(2, feed="eth-usdt-4h")
    desk.watcher.happens(1)
    assert desk.ask()["made"] == 1


def test_body__while_nobody_knows_what_is_new__is_made_each_time() -> None:
    desk = Desk(0)
    desk.ask()
    desk.watcher.is_current = False
    assert [desk.ask()["made"], desk.ask()["made"]] == [2, 3]


@pytest.mark.parametrize(
    "asked",
    [Asked(FEED, frozenset({"calldata"})), Asked(FEED, frozenset({"proof", "attempts"})), Asked(FEED, proved=False)],
)
def test_body__that_no_event_tells_the_change_of__is_made_each_time(asked: Asked) -> None:
    desk = Desk(0)
    desk.forecasts.remember(PATH, b"q", asked)
    assert [desk.ask(asked)["made"], desk.ask(asked)["made"]] == [1, 2]
    assert desk.forecasts.at_once(PATH, b"q") is None


def test_body__with_other_parts__is_another() -> None:
    desk = Desk(0)
    parts = (frozenset({"proof"}), frozenset({"observation"}), frozenset[str](), frozenset({"proof"}))
    assert [desk.ask(Asked(FEED, part))["made"] for part in parts] == [1, 2, 3, 1]


def test_max_age__right_at_the_edge__is_served() -> None:
    assert Desk(60_000).ask(Asked(FEED, max_age_s=60))["age_seconds"] == 60


def test_max_age__a_moment_later__is_refused_with_when_to_ask_again() -> None:
    with pytest.raises(ForecastStale, match="the request allows 60 s") as caught:
        Desk(60_001).ask(Asked(FEED, max_age_s=60))
    assert caught.value.retry_after_s == 59 + int(SETTLE_S)


def test_max_age__clock_that_goes_on_meanwhile__never_makes_a_stale_answer() -> None:
    """Every look at the clock shows a millisecond more: what was young enough is told as it was then."""
    asked = Asked(FEED, max_age_s=60)
    for first in range(59_990, 60_001):
        assert Desk(*range(first, first + 20)).ask(asked)["age_seconds"] <= 60


def test_at_once__is_for_a_request_that_was_read_before_and_is_ready() -> None:
    desk = Desk(0)
    assert desk.forecasts.at_once(PATH, b"") is None
    desk.forecasts.remember(PATH, b"", Asked(FEED))
    assert desk.forecasts.at_once(PATH, b"") is None
    desk.ask()
    assert desk.forecasts.at_once(PATH, b"") is not None
    desk.watcher.happens(2)
    assert desk.forecasts.at_once(PATH, b"") is None


def test_at_once__too_old_for_the_caller__is_left_to_the_route() -> None:
    desk = Desk(60_000, 60_001)
    asked = Asked(FEED, max_age_s=60)
    desk.forecasts.remember(PATH, b"max_age=60", asked)
    desk.ask(asked)
    assert desk.forecasts.at_once(PATH, b"max_age=60") is None


def test_remembered__are_the_last_few_short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "_MOST_REMEMBERED", 3)
    desk = Desk(0)
    desk.ask()
    queries = [b"max_age=%d" % number for number in range(5)] + [b"x" * 10_000]
    for query in queries:
        desk.forecasts.remember(PATH, query, Asked(FEED))
    assert [desk.forecasts.at_once(PATH, query) is not None for query in queries] == [False, False, *[True] * 3, False]


@pytest.mark.parametrize(
    ("age_ms", "said"),
    [
        (0, "public, max-age=62"),
        (15_000, "public, max-age=47"),
        (59_999, "public, max-age=2"),
        (60_000, "no-cache"),
        (-1, "no-cache"),
    ],
)
def test_cache_control__all_the_way_through__is_until_the_next_tick(age_ms: int, said: str) -> None:
    assert Desk(age_ms).cache_control() == said


@pytest.mark.parametrize(("age_ms", "said"), [(14_999, "no-cache"), (15_000, "public, max-age=47")])
def test_cache_control__something_may_still_happen__is_none(age_ms: int, said: str) -> None:
    assert Desk(age_ms, quiet_after_s=15.0).cache_control() == said


def test_cache_control__never_stretches_what_the_caller_accepts() -> None:
    assert Desk(10_000).cache_control(Asked(FEED, max_age_s=15.5)) == "public, max-age=5"


def test_cache_control__as_the_minute_turns__is_of_one_moment() -> None:
    """A clock that is looked at twice could show the old forecast as new for the whole next minute."""
    for start in range(59_995, 60_001):
        ages = itertools.chain(range(start, 60_010), [60_010])
        seconds = Desk(*ages).cache_control().removeprefix("public, max-age=")
        assert seconds in ("no-cache", "2")
