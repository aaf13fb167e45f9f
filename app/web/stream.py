"""Server-sent events: every event once and in order, to as many clients as there are.

A client is first told what it has missed, from the database, and then what comes, from `EventWatcher`. One that reads
more slowly than things happen is cut off: it comes back with `Last-Event-ID` and has lost nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from app.errors import StoreUnavailable
from app.store.database import Database
from app.types import Event, EventKind
from app.web.protocol import HANG_UP
from app.web.rates import Places
from app.web.watching import EventWatcher

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
MOST_WAITING = 1_000
"""Events that wait for a client's connection, before it counts as too slow."""
_RETRY_MS = 2_000
_PAGE = 500
_LAST_WORD_S = 1.0
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # or a proxy keeps events until it has a bufferful
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a client asked for; empty means all."""

    feeds: frozenset[str]
    kinds: frozenset[EventKind]

    def has(self, event: Event) -> bool:
        return (not self.feeds or event.feed in self.feeds) and (not self.kinds or event.kind in self.kinds)


class Client:
    """What waits for one connection. Lives in the event loop."""

    def __init__(self, wanted: Wanted, seq: int) -> None:
        self.wanted = wanted
        self.seq = seq
        """Events after this one are passed on live."""
        self.too_slow = asyncio.Event()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._something = asyncio.Event()

    def put(self, seq: int, message: bytes) -> None:
        if self.too_slow.is_set():  # it must not get what comes after the gap
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self.too_slow.set()
            return
        self._waiting.append((seq, message))
        self._something.set()

    def has_up_to(self, seq: int) -> None:
        """It was told of these elsewhere: by a process that hears of things a moment sooner."""
        self.seq = max(self.seq, seq)

    async def take(self) -> bytes:
        """All that waits; nothing when nothing has come for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                await self._something.wait()
        self._something.clear()
        found = b"".join(message for seq, message in self._waiting if seq > self.seq)
        self._waiting.clear()
        return found


class Streams:
    """All connections of this process."""

    def __init__(self, database: Database, watcher: EventWatcher, places: Places) -> None:
        self.places = places
        self._database = database
        self._watcher = watcher
        self._clients: set[Client] = set()
        self._closing: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        watcher.subscribe(self._pass_on)

    def __len__(self) -> int:
        return len(self._clients)

    def open(self, asker: str, wanted: Wanted, last_event_id: int | None) -> EventStream:
        """Raises `StoreUnavailable` while nobody knows what is new."""
        if not self._watcher.is_current:
            raise StoreUnavailable("events cannot be read just now", retry_after_s=2)
        return EventStream(self, asker, wanted, last_event_id)

    def close(self) -> None:
        """End all streams, from any thread: clients come back to whoever serves next."""
        if self._loop is not None and self._closing is not None:
            with suppress(RuntimeError):  # the loop has ended: so have they
                self._loop.call_soon_threadsafe(self._closing.set)

    def enter(self, wanted: Wanted) -> tuple[Client, asyncio.Event]:
        if self._closing is None:
            self._closing, self._loop = asyncio.Event(), asyncio.get_running_loop()
        client = Client(wanted, self._watcher.seq)
        self._clients.add(client)
        return client, self._closing

    def heartbeat(self, client: Client) -> bytes:
        """A sign of life, and the place up to which a client has all that it wants, however long ago that last came."""
        return f": heartbeat\nid: {max(client.seq, self._watcher.seq)}\n\n".encode()

    def leave(self, client: Client) -> None:
        self._clients.discard(client)

    async def missed(self, client: Client, last_event_id: int) -> AsyncIterator[bytes]:
        """What happened after ``last_event_id`` and before the client came, page by page."""
        kept_after, newest = await run_in_threadpool(self._kept)
        known = kept_after <= last_event_id <= newest
        if known:
            client.has_up_to(last_event_id)
        while known and last_event_id < client.seq:
            page = await run_in_threadpool(self._page, last_event_id, client.seq)
            known = bool(page) and page[-1].seq - last_event_id == len(page)
            if known:
                last_event_id = page[-1].seq
                yield b"".join(_of_event(event) for event in page if client.wanted.has(event))
        if not known:  # or not any more: pruned meanwhile
            yield _message(client.seq, "reset", json.dumps({"oldest": kept_after + 1, "newest": client.seq}))

    def _kept(self) -> tuple[int, int]:
        """The events after the one number and up to the other are there."""
        with self._database.unit_of_work(write=False) as store:
            newest, oldest = store.events.last(), store.events.oldest()
        return (newest if oldest is None else oldest - 1), newest

    def _page(self, after: int, up_to: int) -> list[Event]:
        with self._database.unit_of_work(write=False) as store:
            return store.events.after(after, _PAGE, up_to)

    def _pass_on(self, found: Sequence[Event]) -> None:
        for event in found:
            message = _of_event(event)
            for client in self._clients:
                if event.seq > client.seq and client.wanted.has(event):
                    client.put(event.seq, message)


class EventStream:
    """One connection, as an ASGI application. Raises what `Places.taken` raises before it has begun."""

    def __init__(self, streams: Streams, asker: str, wanted: Wanted, last_event_id: int | None) -> None:
        self._streams = streams
        self._asker = asker
        self._wanted = wanted
        self._last_event_id = last_event_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.places.taken(self._asker):
            client, closing = self._streams.enter(self._wanted)
            try:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                ends = _until_gone(receive), client.too_slow.wait(), closing.wait()
                await _until_first(self._write(client, send), *ends)
                await _end(scope, send)
            finally:
                self._streams.leave(client)

    async def _write(self, client: Client, send: Send) -> None:
        begins_at = client.seq if self._last_event_id is None else self._last_event_id
        # An id without data is no event, but a client that is cut off before the first one knows where it was.
        await _body(send, f"retry: {_RETRY_MS}\nid: {begins_at}\n\n".encode())
        if self._last_event_id is not None:
            try:
                async for part in self._streams.missed(client, self._last_event_id):
                    await _body(send, part)
            except StoreUnavailable as error:
                log.warning("a stream ends, to be resumed: %s", error)
                return
        while True:
            await _body(send, await client.take() or self._streams.heartbeat(client))


async def _body(send: Send, part: bytes) -> None:
    if part:
        await send({"type": "http.response.body", "body": part, "more_body": True})


async def _end(scope: Scope, send: Send) -> None:
    """To a client that does not read, not even the last word gets through; the connection is then ended under it."""
    try:
        async with asyncio.timeout(_LAST_WORD_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except TimeoutError:
        hang_up = scope.get("extensions", {}).get(HANG_UP)
        if hang_up is not None:
            hang_up()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_first(*awaitables: object) -> None:
    """Wait until one of them ends, and end the others. What the one raised is raised."""
    tasks = [asyncio.ensure_future(one) for one in awaitables]  # type: ignore[call-overload]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _of_event(event: Event) -> bytes:
    return _message(event.seq, event.kind, event.data)


def _message(seq: int, kind: str, data: str) -> bytes:
    return f"id: {seq}\nevent: {kind}\ndata: {data}\n\n".encode()
