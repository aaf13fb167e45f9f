"""Clients of the stream, as many as wanted, that count what they miss: in a process of their own.

``python -m app.bench.followers`` reads a `Crowd` as a line of JSON and prints one when all are connected; then it reads
when which event was committed, and prints, once everyone has the last one or the time is up, what they have seen.
"""

from __future__ import annotations

import array
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from app.bench.load import allow_files, run_in_loop, spread_ms

_LOOK_EVERY_S = 0.05
_CONNECT_LIMIT_S = 60.0
_AWAY_S = 0.5
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who follows. The first ``resuming`` of the clients go away once in the middle of ``events`` and come back."""

    host: str
    port: int
    clients: int
    resuming: int
    events: int


@dataclass(slots=True)
class Seen:
    """What all of them together have seen."""

    received: int = 0
    missed: int = 0
    repeated: int = 0
    resets: int = 0
    cut_off: int = 0
    resumed: int = 0
    refused: list[str] = field(default_factory=list)
    at: dict[int, array.array[float]] = field(default_factory=dict)
    """By event: when it came, at clients that were never away."""


class Follower(asyncio.Protocol):
    """One client; it outlives its connections."""

    def __init__(self, crowd: Crowd, number: int, seen: Seen) -> None:
        self.last: int | None = None
        self.over = False
        self._crowd = crowd
        self._seen = seen
        self._leaves_after = None if number >= crowd.resuming else _middle(crowd, number)
        self._stays = self._leaves_after is None
        self._received = 0
        self._held = b""
        self._in_body = False
        self._leaving = False
        self._returning: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, self._crowd.host, self._crowd.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._held, self._in_body, self._leaving = b"", False, False
        again = "" if self.last is None else f"Last-Event-ID: {self.last}\r\n"
        self._transport.write(f"GET /v1/stream HTTP/1.1\r\nHost: {self._crowd.host}\r\n{again}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._held += data
        if not self._in_body and not self._pass_head():
            return
        for chunk in self._chunks():
            for seq, kind in messages(chunk):
                self._take(seq, kind, now)
        if self._leaves_after is not None and self._received >= self._leaves_after:
            self._leaves_after = None
            self._seen.resumed += 1
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._seen.cut_off += not self._leaving
        if not self.over:
            self._returning = asyncio.ensure_future(self._come_back())

    def close(self) -> None:
        self._leaving = True
        if self._transport is not None:
            self._transport.abort()

    async def _come_back(self) -> None:
        """After a while, and again when nobody answers."""
        while not self.over:
            await asyncio.sleep(_AWAY_S)
            with suppress(OSError):
                await self.connect()
                return

    def _pass_head(self) -> bool:
        head, end, rest = self._held.partition(_HEAD_END)
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            self._seen.refused.append(head[:80].decode("latin-1"))
            self.close()
            return False
        self._held, self._in_body = rest, True
        return True

    def _chunks(self) -> Iterator[bytes]:
        """Whole chunks of the body; the server sends whole messages in each."""
        while (end := self._held.find(b"\r\n")) >= 0:
            begin, size = end + 2, int(self._held[:end], 16)
            if len(self._held) < begin + size + 2:
                return
            chunk, self._held = self._held[begin : begin + size], self._held[begin + size + 2 :]
            yield chunk

    def _take(self, seq: int, kind: str, now: float) -> None:
        if kind == "reset":
            self._seen.resets += 1
        elif kind == "" or self.last is None:
            self.last = seq if self.last is None else self.last
        elif seq <= self.last:
            self._seen.repeated += 1
        else:
            self._seen.missed += seq - self.last - 1
            self._seen.received += 1
            self._received += 1
            self.last = seq
            if self._stays:
                self._seen.at.setdefault(seq, array.array("d")).append(now)


def _middle(crowd: Crowd, number: int) -> int:
    """After how many events a client goes away: spread over the middle half."""
    return max(1, round(crowd.events * (0.25 + 0.5 * number / max(1, crowd.resuming))))


@lru_cache(maxsize=4_096)
def messages(chunk: bytes) -> tuple[tuple[int, str], ...]:
    """Number and kind of each message; a beginning has no kind. Everyone gets the same bytes, so they are read once."""
    found = []
    for block in chunk.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.split("\n") if line and not line.startswith(":"))
        if "id" in fields:
            found.append((int(fields["id"]), fields.get("event", "")))
    return tuple(found)


async def _main() -> None:
    crowd = Crowd(**json.loads(sys.stdin.readline()))
    if not allow_files(crowd.clients):
        raise SystemExit(f"{crowd.clients} connections are more files than the system allows: see ulimit -n")
    seen = Seen()
    followers = [Follower(crowd, number, seen) for number in range(crowd.clients)]
    await asyncio.gather(*(follower.connect() for follower in followers))
    if not await _until(lambda: all(follower.last is not None for follower in followers), _CONNECT_LIMIT_S):
        raise SystemExit(f"not all are connected after {_CONNECT_LIMIT_S:g} s: {seen.refused[:1]}")
    print(json.dumps({"connected": len(followers)}), flush=True)
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    committed = {int(seq): at for seq, at in told["committed"].items()}
    newest = max(committed)
    await _until(lambda: all((follower.last or 0) >= newest for follower in followers), told["limit_s"])
    print(json.dumps(_result(followers, seen, committed)), flush=True)


async def _until(condition: Callable[[], bool], limit_s: float) -> bool:
    limit = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > limit:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _result(followers: list[Follower], seen: Seen, committed: dict[int, float]) -> dict[str, Any]:
    newest = max(committed)
    delays = array.array("d", (at - committed[seq] for seq, times in seen.at.items() for at in times))
    for follower in followers:
        follower.over = True
        follower.close()
    return {
        "received": seen.received,
        "missed": seen.missed + sum(max(0, newest - (follower.last or 0)) for follower in followers),
        "repeated": seen.repeated,
        "resets": seen.resets,
        "cut_off": seen.cut_off,
        "resumed": seen.resumed,
        "refused": len(seen.refused),
        "delay_ms": spread_ms(delays) if delays else None,
        "client_cpu_s": round(time.process_time(), 2),
    }


if __name__ == "__main__":
    run_in_loop(_main)
