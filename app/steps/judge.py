"""A proved forecast meets what the market did: once its hours have passed, their volatility is stored beside it.

The volatility is the label that `veriregime evaluate` gives the same window, from the stored candles of the venues that
stood behind the forecast. It is worked out once and never again, whatever a venue revises later.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.clock import Clock
from app.features.realised import THRESHOLD, market_series, volatility
from app.metrics import Metrics
from app.steps.served import ServedFeed
from app.store.database import Database
from app.store.outcomes import Due, Origin, Outcome
from app.store.repository import Store
from app.types import DAY_MS, MINUTE_MS, Candles, EventKind, iso

log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Windows of one call: after a long pause a minute's tick does not wait for all of them."""
_PATIENCE_MS = 15 * MINUTE_MS
"""Of market time, in which a missing minute of the horizon may still come."""
_LATE_MS = 2 * DAY_MS
"""Windows that end longer ago are looked for once, after the start: a proof is hardly ever later than that."""
_PAST_MINUTES = 240
_ALMOST_ONE = 1 - 2**-53


class JudgedAs(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The stored candles by (venue, symbol) around several windows, and when each market's oldest candle opened."""

    candles: Mapping[tuple[str, str], Candles]
    oldest_ms: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Deviations of one-minute log returns after a window's end and before it, or why there are none."""

    realised: float | None = None
    past_60: float | None = None
    past_240: float | None = None
    missing: str | None = None
    may_come: bool = False
    """Whether what is missing could still be shown by a venue."""


class JudgeStep:
    def __init__(self, feeds: Mapping[str, ServedFeed], database: Database, clock: Clock, metrics: Metrics) -> None:
        self._feeds = feeds
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._begun_ms: dict[str, int] = {}
        """When each feed was first looked at: what was missed while nobody ran may be loading just then."""
        self._judged_to_ms: dict[str, int] = {}

    def next(self, feed: str, now_window_end_ms: int) -> list[Outcome]:
        """Judge the oldest forecasts whose hours have passed by ``now_window_end_ms``; gives the outcomes stored.

        Call it when the window that ends then has been collected: with it came the last minute of the hours.
        """
        horizon = self._feeds[feed].feed.horizon_minutes
        last_ms = now_window_end_ms - horizon * MINUTE_MS
        with self._database.unit_of_work(write=False) as store:
            due = store.outcomes.due(feed, self._judged_to_ms.get(feed, 0), last_ms, _AT_ONCE)
            stretch = _read(store, due, horizon)
        since_ms = now_window_end_ms - _PATIENCE_MS
        just_begun = self._begun_ms.setdefault(feed, now_window_end_ms) > since_ms
        judged, waiting = [], []
        for one in due:
            measured = _measure(one, stretch, horizon)
            patient = just_begun or one.window_end_ms + horizon * MINUTE_MS > since_ms
            if measured.may_come and patient:
                waiting.append(one)
            else:
                judged.append(self._outcome(one, measured))
        self._move_on(feed, last_ms, due, waiting)
        return self._store(judged)

    def _outcome(self, one: Due, measured: _Measured) -> Outcome:
        return Outcome(
            feed=one.feed,
            origin=Origin.LIVE,
            model_id=one.model_id,
            window_end_ms=one.window_end_ms,
            prediction_id=one.prediction_id,
            p_high=one.p_high,
            score=_log_odds(one.p_high),
            high_said=one.high_said,
            vol_annualised=one.vol_annualised,
            realised=measured.realised,
            past_60=measured.past_60,
            past_240=measured.past_240,
            missing=measured.missing,
            judged_at_ms=self._clock.now_ms(),
        )

    def _move_on(self, feed: str, last_ms: int, due: Sequence[Due], waiting: Sequence[Due]) -> None:
        """Where the next call begins to look: behind nothing that waits, nor that was only left for later."""
        left = [one.window_end_ms for one in (*waiting, *due[_AT_ONCE - 1 :])]
        self._judged_to_ms[feed] = max(self._judged_to_ms.get(feed, 0), min([last_ms - _LATE_MS, *left]))

    def _store(self, judged: list[Outcome]) -> list[Outcome]:
        if not judged:
            return []
        with self._database.unit_of_work() as store:
            added = store.outcomes.add(judged)
            for one in added:
                if one.prediction_id:
                    store.events.note(EventKind.OUTCOME, one.prediction_id, high=_was_high(one))
        for one in added:
            self._metrics.outcomes.labels(one.feed, _judged_as(one)).inc()
            if one.missing:
                log.info("%s at %s: its outcome cannot be told: %s", one.feed, iso(one.window_end_ms), one.missing)
        return added


def _read(store: Store, due: Sequence[Due], horizon: int) -> _Stretch:
    """All candles that the windows' hours need, each market in one query."""
    markets = {market for one in due for market in one.markets.items()}
    if not markets:
        return _Stretch({}, {})
    start_ms = due[0].window_end_ms - (_PAST_MINUTES + 1) * MINUTE_MS
    end_ms = due[-1].window_end_ms + horizon * MINUTE_MS
    ranges = {market: store.candles.range(*market) for market in markets}
    return _Stretch(
        candles={market: store.candles.between(*market, start_ms, end_ms) for market in markets},
        oldest_ms={market: stored[0] if stored else math.inf for market, stored in ranges.items()},
    )


def _measure(one: Due, stretch: _Stretch, horizon: int) -> _Measured:
    """Returns are compared over the hours of this window alone, so that it does not matter what is judged with it."""
    start_ms = one.window_end_ms - _PAST_MINUTES * MINUTE_MS
    # Its first return takes the candle before it.
    reaching = [market for market in one.markets.items() if stretch.oldest_ms[market] < start_ms]
    if len(reaching) < max(one.quorum, 1):
        return _Measured(missing="the candles of its hours are no longer stored")
    by_venue = {venue: stretch.candles[venue, symbol] for venue, symbol in one.markets.items()}
    series = market_series(by_venue, start_ms, one.window_end_ms + horizon * MINUTE_MS, one.quorum)
    end = np.asarray([_PAST_MINUTES])
    (realised,), (known,) = (part.tolist() for part in volatility(series, end + horizon, horizon))
    if known < horizon:
        return _Measured(missing=f"{horizon - known} of the {horizon} minutes after it have no return", may_come=True)
    if realised == 0:
        return _Measured(missing=f"the price stood still for {horizon} minutes: there was no volatility to forecast")
    past_60, past_240 = (float(volatility(series, end, minutes)[0][0]) for minutes in (60, _PAST_MINUTES))
    return _Measured(realised=realised, past_60=past_60, past_240=past_240)


def _log_odds(p_high: float) -> float:
    """The difference of the logits that the probability was made of; finite also where it was rounded to 0 or 1."""
    p = min(max(p_high, 2**-1022), _ALMOST_ONE)
    return math.log(p) - math.log1p(-p)


def _was_high(outcome: Outcome) -> bool | None:
    return None if outcome.realised is None else outcome.realised >= THRESHOLD


def _judged_as(outcome: Outcome) -> JudgedAs:
    high = _was_high(outcome)
    if high is None:
        return JudgedAs.MISSING
    return JudgedAs.RIGHT if high == outcome.high_said else JudgedAs.WRONG
