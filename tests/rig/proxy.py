"""A stretch of network that can be cut: every way from the product to somebody else's service leads through one."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum
from typing import Any, Self

_CHUNK = 65_536
_SLOW_S = 0.3
_CALL_LIMIT_S = 10.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time at all: closing sends RST."""


class Way(StrEnum):
    """What becomes of those who come this way."""

    OPEN = "open"
    REFUSED = "refused"
    """Nobody listens; who was connected is cut off."""
    HANGING = "hanging"
    """Taken, and never answered while it lasts; who was connected hears nothing more until it is over."""
    RESET = "reset"
    """Taken, and cut off at once."""
    FAILING = "failing"
    """HTTP 500 to everything."""
    GARBAGE = "garbage"
    """HTTP 200 with something that is no JSON."""
    SLOW = "slow"


_ANSWERS = {
    Way.FAILING: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops",
    Way.GARBAGE: b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: close\r\n\r\n<html>hello</html",
}


class FaultProxy:
    """Listens on the loopback address and passes on to ``upstream_port`` there, as `way` says; lives in a thread.

    Start it with `start`, or as a context; ``port`` stays the same for its life.
    """

    def __init__(self, upstream_port: int) -> None:
        self.port = 0
        self._upstream_port = upstream_port
        self._way = Way.OPEN
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._may_pass = asyncio.Event()

    @property
    def way(self) -> Way:
        return self._way

    def start(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def set(self, way: Way) -> None:
        """From now on, for those who come and for those who are connected."""
        self._call(self._set(way))

    def cut(self) -> None:
        """Reset all connections there are; who comes next is let through as before."""
        self._call(self._cut())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_LIMIT_S)

    async def _listen(self) -> None:
        self._may_pass.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, way: Way) -> None:
        before, self._way = self._way, way
        if way is Way.HANGING:
            self._may_pass.clear()
        else:
            self._may_pass.set()
        if way not in (Way.OPEN, Way.HANGING, Way.SLOW):
            await self._cut()
        if way is Way.REFUSED and self._server is not None:
            self._server.close()
            self._server = None
        elif before is Way.REFUSED and way is not Way.REFUSED:
            await self._listen()

    async def _cut(self) -> None:
        for writer in list(self._connections):
            _reset(writer)

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections.add(writer)
        try:
            await self._treat(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._connections.discard(writer)
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _treat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._way is Way.RESET:
            _reset(writer)
            return
        if answer := _ANSWERS.get(self._way):
            await reader.read(_CHUNK)
            writer.write(answer)
            await writer.drain()
            return
        await self._may_pass.wait()
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        self._connections.add(their_writer)
        ways = [
            asyncio.create_task(self._pass(reader, their_writer)),
            asyncio.create_task(self._pass(their_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ways:
                one.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._connections.discard(their_writer)
            with suppress(OSError, RuntimeError):
                their_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._may_pass.wait()
            if self._way is Way.SLOW:
                await asyncio.sleep(_SLOW_S)
            writer.write(chunk)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, AttributeError, RuntimeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError, RuntimeError):
        writer.transport.abort()
