"""The window of a feed: every venue is asked at once, and what the store then holds is the window."""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from app.clock import Clock
from app.errors import Misconfigured, NoQuorum, StoreUnavailable, VenueUnavailable
from app.features.agreement import far_venues, set_aside
from app.features.variation import CANDLES_NEEDED, MAX_MISSING_SHARE
from app.metrics import Metrics
from app.steps.fetch import Fetcher
from app.steps.served import ServedFeed
from app.store.database import Database
from app.store.retention import prune_candles
from app.types import MINUTE_MS, Candles, Sources, Window, iso

log = logging.getLogger(__name__)

_LOADING_S = 30.0
"""How long the first window waits for venues that are loading their history, once a quorum is there."""
_GLANCE_S = 0.05
"""What a venue gets that came late the minute before: it may have been only a moment slower than the others now."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A window, and where it came from."""

    window: Window
    sources: Sources


class Collector:
    """Windows from the venues of a feed. Venues that are away or late hold nobody up once enough others are there."""

    def __init__(
        self,
        fetchers: Mapping[str, Fetcher],
        database: Database,
        clock: Clock,
        metrics: Metrics,
        *,
        straggler_s: float,
        retention_ms: int,
    ) -> None:
        self.fetchers = fetchers
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._straggler_s = straggler_s
        self._retention_ms = retention_ms
        self._late: set[tuple[str, str]] = set()
        """(feed, venue) whose last answer came later than stragglers are waited for."""
        self._told: set[tuple[str, str]] = set()
        self._guard = threading.Lock()

    def window(self, served: ServedFeed, end_ms: int) -> Collected:
        """The candles of the week before ``end_ms`` from all venues that can be trusted with it.

        Raises `NoQuorum`, with what each venue lacks, when too few have the last minute.
        """
        start_ms = end_ms - CANDLES_NEEDED * MINUTE_MS
        trouble = self._bring(served, start_ms, end_ms)
        with self._database.unit_of_work(write=False) as store:
            as_of = store.candles.seq()
            stored = store.candles.window(served.markets, start_ms, end_ms, as_of)
        left_out = self._left_out(served, stored, end_ms)
        # A venue without a single return has no part in the window, nor in its bundle.
        candles = {name: part for name, part in stored.items() if name not in left_out and len(part) > 1}
        left_out |= {
            name: trouble.get(name, "it has no candles for this window")
            for name in served.markets
            if name not in candles and name not in left_out
        }
        self._tell(served, left_out)
        self._count_set_aside(served, candles, end_ms)
        self._require_quorum(served, candles, end_ms, trouble | left_out)
        return Collected(
            Window(feed=served.feed, end_ms=end_ms, candles=candles, quorum=served.quorum),
            Sources(markets={name: served.markets[name] for name in sorted(candles)}, left_out=left_out, as_of=as_of),
        )

    def prefetch(self, served: ServedFeed, end_ms: int) -> None:
        """Let the venues begin with the week before ``end_ms`` while other things are being made ready."""
        for name, symbol in served.markets.items():
            self.fetchers[name].bring(symbol, end_ms - CANDLES_NEEDED * MINUTE_MS, end_ms)

    def prune(self) -> int:
        """Forget the candles that no bundle is made from any more; gives how many."""
        pruned = prune_candles(self._database, self._clock.now_ms() - self._retention_ms)
        if pruned:
            log.info("%d candles are past their retention and were pruned", pruned)
        return pruned

    def stop(self) -> None:
        """Whoever waits for a window hears at once that none comes."""
        for fetcher in self.fetchers.values():
            fetcher.stop()

    def join(self, timeout_s: float) -> None:
        """After `stop`: until nobody is asked any more, ``timeout_s`` at most where a venue hangs."""
        give_up = time.monotonic() + timeout_s
        for fetcher in self.fetchers.values():
            fetcher.join(max(0.0, give_up - time.monotonic()))

    def skew_s(self) -> float | None:
        """The venues' clocks against this machine's, the median in seconds; none while no venue has told its time."""
        known = [one.health.skew_ms for one in self.fetchers.values()]
        skews = [skew_ms for skew_ms in known if skew_ms is not None]
        return statistics.median(skews) / 1000 if skews else None

    def _bring(self, served: ServedFeed, start_ms: int, end_ms: int) -> dict[str, str]:
        """Ask every venue at once; says what is wrong with those that do not have the last minute in time.

        Once a quorum has it the others get a moment more, and only a glance where they came late the minute before.
        """
        asked = {self.fetchers[name].bring(symbol, start_ms, end_ms): name for name, symbol in served.markets.items()}
        waiting, enough_at = set(asked), None
        trouble: dict[str, str] = {}
        while waiting:
            if enough_at is None and len(asked) - len(waiting) - len(trouble) >= served.quorum:
                enough_at = time.monotonic()
            left_s = None
            if enough_at is not None:
                left_s = max(0.0, enough_at + self._patience_s(served, waiting, asked) - time.monotonic())
            done, waiting = wait(waiting, timeout=left_s, return_when=FIRST_COMPLETED)
            trouble |= {asked[one]: words for one in done if (words := _trouble(one)) is not None}
            if not done and left_s == 0:  # where it was more, one of them may have begun to load its history meanwhile
                break
        for one in waiting:
            self._judge((served.feed.name, asked[one]), enough_at or 0.0, one)
        for name in set(asked.values()) - {asked[one] for one in waiting}:
            self._count((served.feed.name, name), in_time=name not in trouble)
        return trouble | {asked[one]: "it did not answer in time" for one in waiting}

    def _patience_s(self, served: ServedFeed, waiting: set[Future[bool]], asked: Mapping[Future[bool], str]) -> float:
        """What the others get once there are enough: a glance where all of them came late the last time."""
        names = {asked[one] for one in waiting}
        if any(self.fetchers[name].loads_history for name in names):
            return _LOADING_S
        with self._guard:
            late = all((served.feed.name, name) in self._late for name in names)
        return min(_GLANCE_S, self._straggler_s) if late else self._straggler_s / self._clock.haste

    def _judge(self, key: tuple[str, str], enough_at: float, answer: Future[bool]) -> None:
        """Late by now, or judged by when it comes: who was not waited for may have been only a moment slower."""
        limit_s = self._straggler_s / self._clock.haste
        if time.monotonic() - enough_at >= limit_s:
            self._count(key, in_time=False)
            return

        def came(answer: Future[bool]) -> None:
            fresh = answer.exception() is None and answer.result()
            self._count(key, in_time=fresh and time.monotonic() - enough_at <= limit_s)

        answer.add_done_callback(came)

    def _count(self, key: tuple[str, str], *, in_time: bool) -> None:
        with self._guard:
            (self._late.discard if in_time else self._late.add)(key)

    def _left_out(self, served: ServedFeed, stored: Mapping[str, Candles], end_ms: int) -> dict[str, str]:
        """Venues far from the others for long; none where the week is not known well enough without their history.

        So it is for a week after the start where a venue gives only its last hours. Those that agree have the quorum of
        every new minute then, and outvote the far one.
        """
        far = far_venues(stored, end_ms)
        agreeing = [part for name, part in stored.items() if name not in far]
        here = sum(_has_minute(part, end_ms) for part in agreeing)
        whole = sum(len(part) >= (1 - MAX_MISSING_SHARE) * CANDLES_NEEDED for part in agreeing)
        return {} if whole < served.quorum <= here else far

    def _tell(self, served: ServedFeed, left_out: Mapping[str, str]) -> None:
        for name in served.markets:
            key = (served.feed.name, name)
            if name in left_out and key not in self._told:
                log.warning("%s: %s is left out: %s", *key, left_out[name])
            (self._told.add if name in left_out else self._told.discard)(key)
            self._metrics.venue_left_out.labels(*key).set(name in left_out)

    def _count_set_aside(self, served: ServedFeed, candles: Mapping[str, Candles], end_ms: int) -> None:
        for name, aside in set_aside(candles, end_ms).items():
            for why, minutes in (("frozen", aside.frozen), ("outlying", aside.outlying)):
                self._metrics.set_aside.labels(served.feed.name, name, why).set(minutes)

    def _require_quorum(
        self, served: ServedFeed, candles: Mapping[str, Candles], end_ms: int, trouble: Mapping[str, str]
    ) -> None:
        off_time = {name: told for name in served.markets if (told := self.fetchers[name].off_time)}
        here = [name for name, part in candles.items() if _has_minute(part, end_ms) and name not in off_time]
        if len(here) >= served.quorum:
            return
        why = {**trouble, **off_time}
        words = [f"{name}: {why.get(name, 'it lacks that minute')}" for name in served.markets if name not in here]
        several = len(off_time) == len(served.markets) > 1
        ours = " (more likely ours is off: set this machine's clock, by NTP)" if several else ""
        raise NoQuorum(
            f"{len(here)} of {len(served.markets)} venues {'has' if len(here) == 1 else 'have'} the minute to "
            f"{iso(end_ms)}, {served.quorum} must: {'; '.join(words)}{ours}"
        )


def _has_minute(candles: Candles, end_ms: int) -> bool:
    """Whether the minute before ``end_ms`` is there."""
    return len(candles) > 0 and int(candles.open_time_ms[-1]) >= end_ms - MINUTE_MS


def _trouble(answer: Future[bool]) -> str | None:
    """Why a venue does not have the last minute; none when it does. Raises what is not the venue's."""
    try:
        return None if answer.result() else "its newest minute is late"
    except StoreUnavailable:
        raise
    except (VenueUnavailable, Misconfigured) as error:
        return str(error)
