"""Asks one address over connections that stay open: a process of its own, as fast as it is answered, or at a set pace.

Its request is bytes made once, and of an answer it reads status and length only: it takes a small part of the time that
answering takes, so that what is measured is the server. ``python -m app.bench.load`` reads a `Load` as a line of JSON
and prints what it found as another.
"""

from __future__ import annotations

import array
import asyncio
import json
import math
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import psutil

_WARM_UP_S = 0.3
_LAST_ANSWERS_S = 10.0
_TICK_S = 0.001
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_SPARE_FILES = 100


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask. Without ``per_second`` each connection asks again as soon as it has its answer."""

    host: str
    port: int
    path: str
    server_pid: int
    connections: int
    seconds: float
    per_second: float | None = None


class Connection(asyncio.Protocol):
    """One request at a time; ``answered`` is called after each answer, ``failed`` when there will be none."""

    def __init__(self, load: Load, answered: Callable[[Connection], None], failed: Callable[[str], None]) -> None:
        self.due = 0.0
        """When the request under way was to be sent."""
        self._request = f"GET {load.path} HTTP/1.1\r\nHost: {load.host}:{load.port}\r\nAccept: */*\r\n\r\n".encode()
        self._answered = answered
        self._failed = failed
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        end = held.find(_HEAD_END)
        if end < 0 or len(held) < end + len(_HEAD_END) + _length(held):
            self._held = held
            return
        self._held = b""
        if not held.startswith(b"HTTP/1.1 200"):
            self._failed(f"not a 200: {held[:80]!r}")
        else:
            self._answered(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._failed("the server closed a connection")

    def ask(self, due: float) -> None:
        assert self._transport is not None  # noqa: S101  asked once it is connected
        self.due = due
        self._transport.write(self._request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _length(head: bytes) -> int:
    at = head.index(_LENGTH) + len(_LENGTH)
    return int(head[at : head.index(b"\r\n", at)])


class Flood:
    """As much as is answered."""

    def __init__(self) -> None:
        self.answers = 0

    def answered(self, connection: Connection) -> None:
        self.answers += 1
        connection.ask(0.0)

    async def run(self, load: Load, connections: list[Connection]) -> dict[str, Any]:
        for connection in connections:
            connection.ask(0.0)
        await asyncio.sleep(min(_WARM_UP_S, load.seconds))
        mark = _Mark(load.server_pid)
        before = self.answers
        await asyncio.sleep(load.seconds)
        return mark.since(self.answers - before)


class Pace:
    """Requests at set times, whether or not earlier ones were answered; one that finds no free connection waits.

    The latency counts from the set time, so that a slow answer also counts for those that it held up.
    """

    def __init__(self) -> None:
        self._free: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._latencies = array.array("d")
        self._late = array.array("d")
        self._sent = 0
        """How many requests there are in all, once that is known."""
        self._all_answered = asyncio.Event()

    def answered(self, connection: Connection) -> None:
        self._latencies.append(time.perf_counter() - connection.due)
        if len(self._latencies) == self._sent:
            self._all_answered.set()
        if self._waiting:
            connection.ask(self._waiting.popleft())
        else:
            self._free.append(connection)

    async def run(self, load: Load, connections: list[Connection]) -> dict[str, Any]:
        self._free.extend(connections)
        mark, sent, due_s = _Mark(load.server_pid), 0, 0.0
        per_second, begun = load.per_second or 1.0, time.perf_counter()
        while due_s < load.seconds:
            now = time.perf_counter()
            while begun + due_s <= now and due_s < load.seconds:
                self._late.append(now - begun - due_s)
                self._send(begun + due_s)
                sent += 1
                # At whole ticks: timers are no finer, and that is not to be blamed on the server.
                due_s = math.ceil(sent / per_second / _TICK_S) * _TICK_S
            await asyncio.sleep(_TICK_S)
        await self._drain(sent)
        return mark.since(sent) | {
            "latency_ms": spread_ms(self._latencies),
            "sent_late_ms": spread_ms(self._late),
        }

    async def _drain(self, sent: int) -> None:
        self._sent = sent
        if len(self._latencies) < sent:
            async with asyncio.timeout(_LAST_ANSWERS_S):
                await self._all_answered.wait()

    def _send(self, due: float) -> None:
        if self._free:
            self._free.pop().ask(due)
        else:
            self._waiting.append(due)


class _Mark:
    """Where the clocks stood when measuring began."""

    def __init__(self, server_pid: int) -> None:
        self._server = psutil.Process(server_pid)
        self._server_s = self._server_cpu_s()
        self._client_s = time.process_time()
        self._begun = time.perf_counter()

    def since(self, answers: int) -> dict[str, Any]:
        return {
            "answers": answers,
            "seconds": time.perf_counter() - self._begun,
            "client_cpu_s": time.process_time() - self._client_s,
            "server_cpu_s": self._server_cpu_s() - self._server_s,
        }

    def _server_cpu_s(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)


def spread_ms(seconds: array.array[float]) -> dict[str, float]:
    """Median, 99th percentile by nearest rank and largest, in milliseconds; ``seconds`` has one at least."""
    found = sorted(seconds)
    rank = {"median": -(-50 * len(found) // 100), "p99": -(-99 * len(found) // 100), "largest": len(found)}
    return {name: 1e3 * found[place - 1] for name, place in rank.items()}


def allow_files(wanted: int) -> bool:
    """Let this process have that many connections; False when the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE_FILES
    if soft not in (resource.RLIM_INFINITY, hard) and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft == resource.RLIM_INFINITY or soft >= needed


def run_in_loop(main: Callable[[], Any]) -> None:
    """Run a coroutine function in the loop that uvicorn takes, too."""
    if sys.platform == "win32":
        asyncio.run(main())
    else:
        import uvloop

        uvloop.run(main())


async def measure(load: Load) -> dict[str, Any]:
    """Answers, seconds, CPU seconds of both sides; at a set pace latencies too. Exits with a line when one fails."""
    flow: Flood | Pace = Pace() if load.per_second else Flood()
    loop, connections = asyncio.get_running_loop(), []
    failed: asyncio.Future[str] = loop.create_future()

    def fail(why: str) -> None:
        if not failed.done():
            failed.set_result(why)

    for _ in range(load.connections):
        connections.append(
            (await loop.create_connection(lambda: Connection(load, flow.answered, fail), load.host, load.port))[1]
        )
    running = asyncio.create_task(flow.run(load, connections))
    await asyncio.wait((running, failed), return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        running.cancel()
        raise SystemExit(failed.result())
    for connection in connections:
        connection.close()
    return running.result()


async def _main() -> None:
    load = Load(**json.loads(sys.stdin.readline()))
    allow_files(load.connections)
    print(json.dumps(await measure(load)), flush=True)


if __name__ == "__main__":
    run_in_loop(_main)
