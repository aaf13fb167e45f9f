"""`latest`, ready to send: the body is made once per event, and only the age is written in for each request.

The route in `feed_routes` checks what is asked for and remembers how it reads; `ReadyFirst` stands before the router
and answers a request that reads the same at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from app.clock import Clock
from app.errors import ForecastStale
from app.types import MINUTE_MS, Event
from app.web.caching import REVALIDATE, is_current
from app.web.watching import EventWatcher

_AGE_MARK = b'"age_seconds":-1.0'
_MOST_REMEMBERED = 4_096
_LONGEST_REMEMBERED = 200
"""Bytes of a query: what strangers make up must not fill the memory."""
_NEVER_READY = frozenset(("calldata", "attempts"))
"""The one depends on who may sign, which the chain says; the other may be told of late. No event tells of either."""

Header = tuple[bytes, bytes]
LATEST = "/v1/feeds/{feed}/latest"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for `latest` that was found to be in form."""

    feed: str
    parts: frozenset[str] = frozenset()
    proved: bool = True
    max_age_s: float | None = None

    @property
    def may_be_ready(self) -> bool:
        """Not for unproved forecasts: that a proof has begun is no event."""
        return self.proved and not self.parts & _NEVER_READY


@dataclass(frozen=True, slots=True)
class Ready:
    """A body with the place where its age goes, and what the headers hang on."""

    head: bytes
    tail: bytes
    etag: str
    window_end_ms: int
    quiet_after_s: float
    """From this age on nothing more is expected to happen to it before the next one comes."""
    seq: int
    """Of the newest event when it was read."""
    now_ms: int = 0
    """Market time of the answer: all of it is told as of this moment."""

    @property
    def age_s(self) -> float:
        return (self.now_ms - self.window_end_ms) / 1000

    @classmethod
    def of(cls, body: bytes, etag: str, window_end_ms: int, *, quiet_after_s: float, seq: int) -> Ready:
        """``body`` is JSON with an age of -1.0."""
        head, mark, tail = body.partition(_AGE_MARK)
        if not mark:
            raise ValueError("the body has no age to write in")
        return cls(head + _AGE_MARK[:-4], tail, etag, window_end_ms, quiet_after_s, seq)


Make = Callable[[Asked], Ready]


class ReadyForecasts:
    """The newest forecasts as they are sent. Lives in the event loop, but for `Make`, which reads the database."""

    def __init__(self, make: Make, clock: Clock, watcher: EventWatcher, settle_s: float) -> None:
        self._make = make
        self._clock = clock
        self._watcher = watcher
        self._settle_s = settle_s
        self._asked: dict[tuple[str, bytes], Asked] = {}
        self._ready: dict[tuple[str, frozenset[str]], Ready] = {}
        self._newest: dict[str, int] = {}
        self._making: dict[tuple[str, frozenset[str]], asyncio.Lock] = {}
        watcher.subscribe(self._outdate)

    def at_once(self, path: str, query: bytes) -> tuple[Asked, Ready] | None:
        """What a request is answered with that needs neither reading nor the database."""
        asked = self._asked.get((path, query))
        held = self._held(asked) if asked else None
        if asked is None or held is None:
            return None
        ready = self._as_of_now(held)
        return (asked, ready) if _is_young(asked, ready) else None

    def remember(self, path: str, query: bytes, asked: Asked) -> None:
        """This request reads like that: the next one needs no reading."""
        if not asked.may_be_ready or len(query) > _LONGEST_REMEMBERED:
            return
        if len(self._asked) >= _MOST_REMEMBERED:
            self._asked.pop(next(iter(self._asked)))
        self._asked[path, query] = asked

    async def get(self, asked: Asked) -> Ready:
        """The forecast asked for, made unless it is here. Raises `ForecastStale`, and what making it raises."""
        ready = self._as_of_now(self._held(asked) or await self._made(asked))
        if not _is_young(asked, ready):
            raise ForecastStale(
                f"the newest forecast is {ready.age_s:.0f} s old, the request allows {asked.max_age_s:g} s",
                retry_after_s=self._until_next_tick_s(ready.now_ms),
            )
        return ready

    async def _made(self, asked: Asked) -> Ready:
        """Made once, however many ask at the same time."""
        if not asked.may_be_ready:
            return await run_in_threadpool(self._make, asked)
        key = (asked.feed, asked.parts)
        async with self._making.setdefault(key, asyncio.Lock()):
            held = self._held(asked)
            if held is None:
                held = self._ready[key] = await run_in_threadpool(self._make, asked)
            return held

    def body(self, ready: Ready) -> bytes:
        return b"%s%.3f%s" % (ready.head, ready.age_s, ready.tail)

    def cache_control(self, asked: Asked, ready: Ready) -> str:
        """Nothing new comes before the next tick once this minute's forecast is all the way through; until then it may.

        A cache must not stretch the caller's ``max_age`` either.
        """
        if not ready.quiet_after_s <= ready.age_s < MINUTE_MS / 1000:
            return REVALIDATE
        seconds: float = self._until_next_tick_s(ready.now_ms)
        if asked.max_age_s is not None:
            seconds = min(seconds, max(0.0, asked.max_age_s - ready.age_s))
        return f"public, max-age={int(seconds)}"

    def _held(self, asked: Asked) -> Ready | None:
        """What is ready and still true; nothing while nobody knows whether it is."""
        ready = self._ready.get((asked.feed, asked.parts)) if asked.may_be_ready else None
        if ready is None or ready.seq < self._newest.get(asked.feed, 0) or not self._watcher.is_current:
            return None
        return ready

    def _as_of_now(self, ready: Ready) -> Ready:
        return replace(ready, now_ms=self._clock.now_ms())

    def _until_next_tick_s(self, now_ms: int) -> int:
        to_next_s = (MINUTE_MS - now_ms % MINUTE_MS) / 1000
        return max(1, int(to_next_s / self._clock.speed + self._settle_s))

    def _outdate(self, found: Sequence[Event]) -> None:
        for event in found:
            self._newest[event.feed] = event.seq

    def headers(self, asked: Asked, ready: Ready) -> list[Header]:
        cache_control = self.cache_control(asked, ready)
        return [(b"etag", ready.etag.encode()), (b"cache-control", cache_control.encode())]


def _is_young(asked: Asked, ready: Ready) -> bool:
    return asked.max_age_s is None or ready.age_s <= asked.max_age_s


class ReadyFirst:
    """Answers from what is ready, before the router; whatever is not goes on to ``inner``."""

    def __init__(self, inner: ASGIApp, forecasts: ReadyForecasts) -> None:
        self._inner = inner
        self._forecasts = forecasts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "GET":
            found = self._forecasts.at_once(scope["path"], scope["query_string"])
        if found is None:
            await self._inner(scope, receive, send)
            return
        scope["route_pattern"] = LATEST
        held = next((value for name, value in scope["headers"] if name == b"if-none-match"), None)
        await self._send(*found, None if held is None else held.decode("latin-1"), send)

    async def _send(self, asked: Asked, ready: Ready, if_none_match: str | None, send: Send) -> None:
        headers, status, body = self._forecasts.headers(asked, ready), 304, b""
        if not is_current(if_none_match, ready.etag):
            status, body = 200, self._forecasts.body(ready)
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
