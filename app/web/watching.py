"""Hears of every event, of this process or another on the same database, and passes it on in order."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from app.errors import OracleError
from app.store.database import Database
from app.types import Event

log = logging.getLogger(__name__)

Deliver = Callable[[Sequence[Event]], None]

_LOOK_EVERY_S = 0.1
_AFTER_FAILURE_S = 1.0
_AT_ONCE = 500
_CURRENT_FOR_S = 2.0


class EventWatcher:
    """A thread that looks for new events, at once when this process has written some, else ten times a second.

    `deliver` is called in the event loop that `start` was called from.
    """

    def __init__(self, database: Database) -> None:
        self.seq = 0
        """Number of the newest event that was passed on. Read and written in the event loop only."""
        self._database = database
        self._deliver: list[Deliver] = []
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._looked_at = -_CURRENT_FOR_S
        self._thread: threading.Thread | None = None

    def subscribe(self, deliver: Deliver) -> None:
        self._deliver.append(deliver)

    @property
    def is_current(self) -> bool:
        """Whether what happened up to two seconds ago was surely passed on; not while the database is away."""
        return time.monotonic() - self._looked_at < _CURRENT_FOR_S

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, args=(loop,), daemon=True, name="event watcher")
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        unlisten = self._database.on_events(self._wake.set)
        seen: int | None = None
        try:
            while not self._stopping.is_set() and not loop.is_closed():
                seen = self._look(loop, seen)
        finally:
            unlisten()

    def _look(self, loop: asyncio.AbstractEventLoop, seen: int | None) -> int | None:
        """One look; gives the number of the newest event that was seen."""
        started = time.monotonic()
        try:
            with self._database.unit_of_work(write=False) as store:
                found = [] if seen is None else store.events.after(seen, _AT_ONCE)
                newest = store.events.last() if seen is None else found[-1].seq if found else seen
        except OracleError as error:  # also of the commit: what was found is looked for again
            log.warning("events: %s", error)
            self._stopping.wait(_AFTER_FAILURE_S)
            return seen
        except Exception:  # without this thread nobody would hear of anything any more
            log.exception("looking for events met a bug")
            self._stopping.wait(_AFTER_FAILURE_S)
            return seen
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._pass_on, newest, found, started)
        if len(found) < _AT_ONCE:
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()
        return newest

    def _pass_on(self, seq: int, found: Sequence[Event], looked_at: float) -> None:
        self.seq = seq
        for deliver in self._deliver if found else ():
            deliver(found)
        self._looked_at = looked_at
