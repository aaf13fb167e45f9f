"""Visitors who ask for different things as fast as they are answered, and how they fared: in a process of its own.

``python -m app.bench.visitors`` reads a `Visit` as a line of JSON and prints what it found as another. Unlike `load` it
goes on whatever the answers are, and counts them by status: what must not happen is to be seen, not to end the run.
"""

from __future__ import annotations

import array
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, cast

import httptools

from app.bench.load import allow_files, run_in_loop, spread_ms

_PATIENCE_S = 30.0
_LOST = "lost"
"""Counted where an answer never came."""


@dataclass(frozen=True, slots=True)
class Visit:
    """``paths`` are asked for in turn, over so many ``connections``, each again as soon as it has its answer.

    ``paced`` are asked for in turn as well, ``paced_per_second`` over a connection of their own.
    """

    host: str
    port: int
    paths: Sequence[str]
    connections: int
    seconds: float
    paced: Sequence[str] = ()
    paced_per_second: float = 1.0


@dataclass(slots=True)
class Met:
    """What all visitors met."""

    statuses: Counter[str] = field(default_factory=Counter)
    took: array.array[float] = field(default_factory=lambda: array.array("d"))
    bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Path and status of what was no 200."""


class Visitor(asyncio.Protocol):
    """One connection with one request at a time. ``again`` is called after each answer, unless it was lost."""

    def __init__(self, visit: Visit, met: Met, again: Callable[[Visitor], None]) -> None:
        self._visit = visit
        self._met = met
        self._again = again
        self._asked_at = 0.0
        self._path = ""
        self._parser: Any = None
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, self._visit.host, self._visit.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def ask(self, path: str) -> None:
        assert self._transport is not None  # noqa: S101  asked once it is connected
        self._path, self._asked_at = path, time.perf_counter()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: {self._visit.host}\r\nAccept: */*\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._met.bytes += len(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = str(self._parser.get_status_code())
        self._met.took.append(time.perf_counter() - self._asked_at)
        self._note(status)
        asyncio.get_running_loop().call_soon(self._again, self)  # not from within the parser

    def connection_lost(self, error: Exception | None) -> None:
        if self._path:
            self._note(_LOST)
            self._path = ""

    def close(self) -> None:
        self._path = ""
        if self._transport is not None:
            self._transport.abort()

    def _note(self, status: str) -> None:
        self._met.statuses[status] += 1
        if status != "200":
            self._met.refused[f"{self._path} {status}"] += 1


async def visited(visit: Visit) -> dict[str, Any]:
    """Answers by status, how long they took, and what was no 200."""
    met, over = Met(), False
    paths, paced = cycle(visit.paths), cycle(visit.paced or visit.paths)

    def again(visitor: Visitor) -> None:
        if not over:
            visitor.ask(next(paths))

    crowd = [Visitor(visit, met, again) for _ in range(visit.connections)]
    await asyncio.gather(*(visitor.connect() for visitor in crowd))
    begun = time.perf_counter()
    for visitor in crowd:
        again(visitor)
    if visit.paced:
        await _paced(visit, met, lambda: next(paced), begun)
    await asyncio.sleep(max(0.0, begun + visit.seconds - time.perf_counter()))
    over, seconds = True, time.perf_counter() - begun
    found = _told(met, seconds)
    for visitor in crowd:
        visitor.close()
    return found


async def _paced(visit: Visit, met: Met, path: Callable[[], str], begun: float) -> None:
    """One at a time until the time is over; where an answer takes longer than the pace, the next question waits."""
    answered = asyncio.Event()
    calm = Visitor(visit, met, lambda _: answered.set())
    await calm.connect()
    number = 0
    while max(begun + number / visit.paced_per_second, time.perf_counter()) < begun + visit.seconds:
        await asyncio.sleep(max(0.0, begun + number / visit.paced_per_second - time.perf_counter()))
        answered.clear()
        calm.ask(path())
        async with asyncio.timeout(_PATIENCE_S):
            await answered.wait()
        number += 1
    calm.close()


def _told(met: Met, seconds: float) -> dict[str, Any]:
    """An answer that is still under way counts for nothing."""
    answers = len(met.took)
    return {
        "seconds": round(seconds, 2),
        "answers": answers,
        "per_second": round(answers / seconds, 1),
        "mib_per_second": round(met.bytes / seconds / 2**20, 1),
        "statuses": dict(sorted(met.statuses.items())),
        "not_200": dict(met.refused.most_common(5)),
        "took_ms": {name: round(value, 2) for name, value in spread_ms(met.took).items()} if answers else None,
        "client_cpu_share": round(time.process_time() / seconds, 3),
    }


async def _main() -> None:
    visit = Visit(**json.loads(sys.stdin.readline()))
    allow_files(visit.connections)
    print(json.dumps(await visited(visit)), flush=True)


if __name__ == "__main__":
    run_in_loop(_main)
