"""One venue's candles into the store, by a thread of its own: the venue → here → collect.py reads the window.

What was asked and answered is kept in the store as covered, so that after a pause only what is missing is asked for,
once. The minutes that came in live are looked at again within ten minutes: venues revise candles, and add late ones.
A venue that fails rests, longer each time, or as long as it asks for; the store keeps that too, so that a restart does
not ask a venue that has told us to wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from app.candles.venue import Page, Venue
from app.clock import Clock, wall_ms
from app.errors import Misconfigured, OracleError, StoreUnavailable, VenueUnavailable
from app.metrics import Metrics
from app.steps.venue_clock import VenueClock
from app.store.database import Database
from app.types import MINUTE_MS, VenueRest, iso

log = logging.getLogger(__name__)

_ASK_AGAIN_S = (0.25, 0.25, 0.5, 1.0, 2.0)
"""For a candle that is not there yet; the last one from then on. Seconds, shorter where the market runs faster."""
_LONGEST_REST_S = 60
_REST_MISCONFIGURED_S = 600
_LOOK_AGAIN_MINUTES = 5
"""How often, and how old a minute is at least when it is looked at for the last time."""
_HOLES_MINUTES = 60
_SETTLED_MS = 10 * MINUTE_MS
"""A minute that is still empty after so long stays empty: nothing was traded, or the venue lost it."""
_STOPPING = "the service is stopping"

Progress = Callable[[str, int, int], None]
"""Called with (venue, minutes fetched, minutes in all) after each page of candles."""


class VenueState(StrEnum):
    """How a venue stands, for operators and metrics."""

    UNKNOWN = "unknown"
    """Not asked yet."""
    LOADING = "loading"
    """On its way through a stretch of history."""
    FRESH = "fresh"
    LATE = "late"
    """It answers, but the newest closed minute is not there."""
    RESTING = "resting"
    """It failed, or asked us to slow down: it is asked again when its rest is over."""
    OFF_TIME = "off-time"
    """Its clock and this machine's are too far apart."""


@dataclass(frozen=True, slots=True)
class VenueHealth:
    """What is known of a venue now. ``reason`` is in words where it is not fresh; times are the wall's, in ms."""

    state: VenueState
    reason: str | None = None
    rests_until_ms: int | None = None
    skew_ms: int | None = None
    """The venue's clock minus ours."""


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """``late_candle_s`` is how long a newest candle is waited for, ``max_skew_s`` what a venue's clock may be off."""

    late_candle_s: float
    max_skew_s: float


@dataclass(slots=True)
class _Want:
    symbol: str
    start_ms: int
    end_ms: int
    give_up: float
    """On the monotonic clock, as `due`."""
    due: float
    answer: Future[bool]
    tries: int = 0


class Fetcher:
    """Brings the store up to date with one venue, one request at a time. `start` it, and `stop` it when done."""

    def __init__(
        self,
        venue: Venue,
        database: Database,
        clock: Clock,
        metrics: Metrics,
        policy: FetchPolicy,
        progress: Progress | None = None,
    ) -> None:
        self.name = venue.name
        self._venue = venue
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._policy = policy
        self._progress = progress
        self._wants: list[_Want] = []
        self._current: _Want | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._state = VenueState.UNKNOWN
        self._reason: str | None = None
        self._rest: VenueRest | None = None
        self._rest_ms = 0
        self._venue_clock = VenueClock(venue, lambda: self._clock, policy.max_skew_s)
        self._live_from_ms: dict[str, int] = {}
        self._doubtful_from_ms: dict[str, int] = {}
        self._loading: set[str] = set()
        self._thread = threading.Thread(target=self._keep_going, name=f"venue-{venue.name}", daemon=True)

    def start(self) -> None:
        """Raises `StoreUnavailable`: how long the venue still rests is in the store."""
        with self._database.unit_of_work(write=False) as store:
            self._rest = store.venues.rest(self.name)
        self._rest_ms = self._rest.until_ms - wall_ms() if self._rest else 0
        self._thread.start()

    def stop(self) -> None:
        """A request under way is left to its time limit: nobody waits for what it brings, and nothing is stored."""
        with self._changed:
            self._stopping = True
            wants = [*self._wants, *([self._current] if self._current else [])]
            self._wants = []
            self._changed.notify()
        for want in wants:
            _answer(want, VenueUnavailable(_STOPPING))

    def join(self, timeout_s: float) -> None:
        """After `stop`: until its thread has ended, but no longer where it waits for a venue that hangs."""
        self._thread.join(timeout_s)

    def bring(self, symbol: str, start_ms: int, end_ms: int) -> Future[bool]:
        """Fetch what the store lacks of ``[start_ms, end_ms)``; answers whether its last minute is there.

        The answer may be an `OracleError`; a venue that rests or is off time answers at once with `VenueUnavailable`.
        """
        now = time.monotonic()
        give_up = now + self._policy.late_candle_s / self._clock.haste
        want = _Want(symbol, start_ms, end_ms, give_up, now, Future())
        with self._changed:
            if self._stopping:
                _answer(want, VenueUnavailable(_STOPPING))
            elif (rest := self._resting()) and _ends(rest) > give_up:
                _answer(want, VenueUnavailable(_in_words(rest)))
            else:
                self._wants.append(want)
                self._changed.notify()
        return want.answer

    @property
    def loads_history(self) -> bool:
        """Whether it is on its way through a long stretch: worth waiting for at the first start."""
        return bool(self._loading)

    @property
    def health(self) -> VenueHealth:
        skew_ms = self._venue_clock.skew_ms
        rest = self._rest  # once: its own thread may take it away meanwhile
        if rest is not None:
            return VenueHealth(VenueState.RESTING, rest.reason, rest.until_ms, skew_ms)
        if self.off_time:
            return VenueHealth(VenueState.OFF_TIME, self.off_time, None, skew_ms)
        return VenueHealth(self._state, self._reason, None, skew_ms)

    @property
    def off_time(self) -> str | None:
        """Why its candles cannot be trusted to be of the minutes that they say; none when they can."""
        return self._venue_clock.trouble

    def _keep_going(self) -> None:
        while (want := self._next()) is not None:
            try:
                self._serve(want)
                if not (self._wants or self._resting()):  # nobody waits for the venue now, and it may be asked
                    self._compare_clocks()
            except Exception as error:  # whoever waits must hear of a bug as well
                if not isinstance(error, OracleError):
                    log.exception("%s: the fetcher met a bug and goes on", self.name)
                elif want.answer.done():
                    log.warning("%s: %s", self.name, error)
                _answer(want, error)
            finally:
                self._current = None

    def _next(self) -> _Want | None:
        """The first want that is due, once it is; none at the end."""
        with self._changed:
            while not self._stopping:
                if self._wants:
                    want = min(self._wants, key=lambda one: one.due)
                    wait_s = want.due - time.monotonic()
                    if wait_s <= 0:
                        self._wants.remove(want)
                        self._current = want
                        return want
                    self._changed.wait(wait_s)
                else:
                    self._changed.wait()
        return None

    def _serve(self, want: _Want) -> None:
        """One try. A candle that is not there yet is asked for again while there is time, as after a short rest."""
        try:
            if rest := self._resting():
                raise VenueUnavailable(_in_words(rest))
            if self._is_off_time():
                self._metrics.venue_answers.labels(self.name, "off-time").inc()
                self._metrics.venue_up.labels(self.name).set(0)
                _answer(want, VenueUnavailable(self.off_time))
                return
            fresh = self._refresh(want)
        except VenueUnavailable as error:
            if not (self._resting() or self._stopping):
                self._take_rest(error, vars(error).get("retry_after_s"))
            self._again(want, _ends(self._resting()), error)
            return
        except Misconfigured as error:
            if not isinstance(error, StoreUnavailable):  # that is not the venue's fault
                self._take_rest(error, _REST_MISCONFIGURED_S)
            raise
        self._wake_from_rest()
        if fresh:
            self._state, self._reason = VenueState.FRESH, None
            self._finish(want, fresh=True)
        else:
            self._state, self._reason = VenueState.LATE, f"the minute to {iso(want.end_ms)} is not there yet"
            pause_s = _ASK_AGAIN_S[min(want.tries, len(_ASK_AGAIN_S) - 1)] / self._clock.haste
            self._again(want, time.monotonic() + pause_s, None)

    def _finish(self, want: _Want, *, fresh: bool) -> None:
        self._metrics.venue_answers.labels(self.name, "fresh" if fresh else "late").inc()
        self._metrics.venue_up.labels(self.name).set(fresh)
        _answer(want, fresh)

    def _is_off_time(self) -> bool:
        """What a venue shows by a clock that is off is not stored: it is asked for its time until they agree."""
        if self.off_time:
            self._compare_clocks()
        return self.off_time is not None

    def _again(self, want: _Want, due: float, error: VenueUnavailable | None) -> None:
        """Put the want back until ``due``, or answer it when that is too late for whoever waits."""
        if due <= want.give_up:
            want.due, want.tries = due, want.tries + 1
            with self._changed:
                if not self._stopping:
                    self._wants.append(want)
                    return
            error = VenueUnavailable(_STOPPING)
        if error is None:
            self._finish(want, fresh=False)
        else:
            _answer(want, error)

    def _refresh(self, want: _Want) -> bool:
        """Ask for what is not covered; whether the last minute is there afterwards."""
        try:
            for start_ms, end_ms in self._missing(want):
                asked_ms = start_ms
                for page in self._venue.pages(want.symbol, start_ms, end_ms):
                    if self._stopping:
                        raise VenueUnavailable(_STOPPING)
                    if self._venue_clock.ours_was_set:
                        raise VenueUnavailable("our clock was set while it answered")
                    asked_ms = self._keep(want.symbol, asked_ms, start_ms, page)
                    if want.end_ms - asked_ms > _HOLES_MINUTES * MINUTE_MS:
                        self._loading.add(want.symbol)
                        self._state, self._reason = VenueState.LOADING, f"its history is there up to {iso(asked_ms)}"
        finally:
            self._loading.discard(want.symbol)
        self._doubtful_from_ms.pop(want.symbol, None)
        with self._database.unit_of_work(write=False) as store:
            covered = store.candles.covered(self.name, want.symbol)
        return covered is not None and covered[1] >= want.end_ms

    def _missing(self, want: _Want) -> list[tuple[int, int]]:
        """The stretches to ask for, newest last. Only the newest minutes that came in live are asked for again."""
        symbol, start_ms, end_ms, newest_ms = want.symbol, want.start_ms, want.end_ms, want.end_ms - MINUTE_MS
        with self._database.unit_of_work(write=False) as store:
            covered = store.candles.covered(self.name, symbol)
            if covered is None or covered[1] < start_ms:
                self._live_from_ms[symbol] = newest_ms
                return [(start_ms, end_ms)]
            older = [(start_ms, covered[0])] if covered[0] > start_ms else []
            live_from_ms = self._live_from_ms.setdefault(symbol, newest_ms)
            if end_ms - covered[1] > _LOOK_AGAIN_MINUTES * MINUTE_MS:
                live_from_ms = self._live_from_ms[symbol] = newest_ms
            since_ms = min(covered[1], max(covered[0], self._doubtful_from_ms.get(symbol, covered[1])))
            if covered[1] < end_ms and want.tries == 0 and end_ms // MINUTE_MS % _LOOK_AGAIN_MINUTES == 0:
                again_ms = end_ms - 2 * _LOOK_AGAIN_MINUTES * MINUTE_MS
                holes = store.candles.gaps(self.name, symbol, end_ms - _HOLES_MINUTES * MINUTE_MS, end_ms)
                late_ms = min((first_ms for first_ms, _ in holes if first_ms >= live_from_ms), default=again_ms)
                since_ms = min(since_ms, max(live_from_ms, min(again_ms, late_ms)))
        return older + ([(since_ms, end_ms)] if since_ms < end_ms else [])

    def _keep(self, symbol: str, asked_ms: int, start_ms: int, page: Page) -> int:
        """Store a page and what it covers; gives where the next one begins."""
        reached_ms = start_ms + page.done * MINUTE_MS
        covers_ms = reached_ms
        if reached_ms > self._clock.now_ms() - _SETTLED_MS:
            last = int(page.candles.open_time_ms[-1]) + MINUTE_MS if len(page.candles) else asked_ms
            covers_ms = self._venue_clock.closed(last)
        with self._database.unit_of_work() as store:
            added = store.candles.add(self.name, symbol, page.candles.between(asked_ms, covers_ms))
            store.candles.cover(self.name, symbol, asked_ms, covers_ms)
        if added.revised:
            self._metrics.candle_revisions.labels(self.name).inc(added.revised)
            log.warning("%s revised %d candle(s) of %s", self.name, added.revised, symbol)
        self._metrics.candles.labels(self.name).inc(added.new)
        if self._progress:
            self._progress(self.name, page.done, page.total)
        return max(asked_ms, covers_ms)

    def _compare_clocks(self) -> None:
        """Now and then, when nobody waits for it."""
        known_ms = self._venue_clock.compare()
        if self._venue_clock.skew_ms is not None:
            self._metrics.venue_skew.labels(self.name).set(self._venue_clock.skew_ms / 1000)
        if known_ms is not None:
            log.error("%s: %s: its candles are left alone until they agree", self.name, self.off_time)
            # It may have gone wrong before we noticed, so that what came since then was not closed.
            doubtful_ms = known_ms - _LOOK_AGAIN_MINUTES * MINUTE_MS
            self._doubtful_from_ms = dict.fromkeys(self._live_from_ms, doubtful_ms)

    def _resting(self) -> VenueRest | None:
        """Its rest, unless that is over, or longer by now than it was: then our clock has been set back."""
        rest = self._rest
        return rest if rest is not None and 0 < rest.until_ms - wall_ms() <= self._rest_ms else None

    def _take_rest(self, error: OracleError, asked_s: int | None) -> None:
        failures = self._rest.failures + 1 if self._rest else 1
        rest_s = max(min(2 ** (failures - 1), _LONGEST_REST_S), asked_s or 0)
        since_ms = self._rest.since_ms if self._rest else wall_ms()
        self._rest_ms = 1000 * rest_s
        self._rest = VenueRest(self.name, failures, wall_ms() + self._rest_ms, str(error), since_ms)
        self._metrics.venue_answers.labels(self.name, "limited" if asked_s else "failed").inc()
        self._metrics.venue_up.labels(self.name).set(0)
        if failures == 1 or rest_s >= _LONGEST_REST_S:
            log.warning("%s: %s; it rests for %d s", self.name, error, rest_s)
        with self._database.unit_of_work() as store:
            store.venues.set_rest(self._rest)

    def _wake_from_rest(self) -> None:
        if self._rest is None:
            return
        log.info("%s answers again after %d failure(s)", self.name, self._rest.failures)
        self._rest = None
        with self._database.unit_of_work() as store:
            store.venues.clear(self.name)


def _ends(rest: VenueRest | None) -> float:
    """On the monotonic clock; now where there is none."""
    return time.monotonic() + (max(0, rest.until_ms - wall_ms()) / 1000 if rest else 0)


def _in_words(rest: VenueRest) -> str:
    return f"{rest.reason}; asked again in {max(1, (rest.until_ms - wall_ms()) // 1000)} s"


def _answer(want: _Want, answer: bool | Exception) -> None:
    """To whoever waits; the first answer counts: `stop` gives one while a request is under way."""
    with suppress(InvalidStateError):
        if isinstance(answer, Exception):
            want.answer.set_exception(answer)
        else:
            want.answer.set_result(answer)
