"""A connection: uvicorn's own, with bounds on what a stranger may send and on how long anything may take.

Before the application sees a request its head is complete, short and in time. Whatever is refused here is answered with
problem+json and the connection ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANG_UP = "veriregime.hang_up"
"""Extension of the scope: ends the connection at once, whatever the client has not read yet."""
_LINGER_S = 1.0
"""A refused client may read why before the connection is reset under what it is still sending."""
_FULL_MARGIN = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections may take. Sizes in bytes, times in seconds of the wall."""

    connections: int = 4_000
    request_line: int = 8 * 1024
    head: int = 32 * 1024
    headers: int = 100
    pipelined: int = 16
    """Requests that wait while one is answered."""
    body: int = 64 * 1024
    bodies: Mapping[str, int] = field(default_factory=dict)
    """Of the routes that read longer ones, by path; they refuse what is too long by themselves."""
    head_s: float = 10.0
    body_s: float = 30.0
    unread_s: float = 30.0
    """For the client to take what was written, 48 KiB at least."""
    ending_s: float = 2.0
    """The same, and for the rest of a request, once the process is to end."""

    def message(self, path: str) -> int:
        """Most that is taken of one request, counted as it comes; chunks of a body bring their own lengths."""
        own = self.bodies.get(path)
        return self.head + (self.body if own is None else 2 * own)


class _Stage(Enum):
    """What of the request is on its way."""

    HEAD = auto()
    BODY = auto()
    DONE = auto()


class _RefusedError(Exception):
    """Leaves the parser; the reason is kept on the connection."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. uvicorn makes it; ``bounds`` are given beforehand."""

    def __init__(self, *args: Any, bounds: Bounds, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._stage = _Stage.DONE
        self._received = 0
        self._most = bounds.head
        self._why: tuple[HTTPStatus, str] | None = None
        self._refused = self._full = self._ending = False
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._extensions: dict[str, Any] = {HANG_UP: self.hang_up}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        above = len(self.connections) - self._bounds.connections
        self._full = above > 0
        if above > _FULL_MARGIN:
            transport.abort()
        else:
            self._late = self.loop.call_later(self._bounds.head_s, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        self._has_read()
        self._extensions = {}
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._full:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: come back later")
            return
        self._unset_keepalive_if_required()
        self._received += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # to what we do not speak: it was taken as a plain request
            pass
        except httptools.HttpParserError:
            self._refuse(*(self._why or (HTTPStatus.BAD_REQUEST, "this is no HTTP request")))
            return
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._most = _Stage.HEAD, self._bounds.head
        self.scope["extensions"] = self._extensions

    def on_headers_complete(self) -> None:
        self._why = self._objection()
        if self._why is not None:
            raise _RefusedError
        super().on_headers_complete()
        self._stage, self._most = _Stage.BODY, self._bounds.message(self.scope["path"])
        self._in_time()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stage, self._received = _Stage.DONE, 0
        self._in_time()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            within_s = self._bounds.ending_s if self._ending else self._bounds.unread_s
            self._unread = self.loop.call_later(within_s, self.hang_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._has_read()

    def shutdown(self) -> None:
        super().shutdown()
        self._ending = True
        self.loop.call_later(self._bounds.ending_s, self._end_unless_at_work)

    def hang_up(self) -> None:
        """End the connection now. What was not sent is dropped, and the application is told that the client left."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.abort()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _objection(self) -> tuple[HTTPStatus, str] | None:
        """Why a complete head is refused. Headers are measured only where they may be too long: it costs."""
        bounds = self._bounds
        if len(self.url) > bounds.request_line:
            return HTTPStatus.REQUEST_URI_TOO_LONG, f"at most {bounds.request_line:,} bytes of the address are read"
        if len(self.headers) > bounds.headers:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {bounds.headers} headers are read"
        if self._received > bounds.head and self._head_bytes() > bounds.head:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {bounds.head:,} bytes of headers are read"
        if len(self.pipeline) >= bounds.pipelined:
            return HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once on one connection"
        return None

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _watch(self) -> None:
        """After every piece: is it too much, and until when must the rest be here."""
        if self._stage is _Stage.DONE and self._answering:
            return
        if self._received > self._most:
            if self._stage is _Stage.BODY:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is larger than is read here")
            else:
                detail = f"at most {self._bounds.head:,} bytes of headers are read"
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        elif self._late is None:
            within_s = self._bounds.body_s if self._stage is _Stage.BODY else self._bounds.head_s
            self._late = self.loop.call_later(within_s, self._too_late)

    def _too_late(self) -> None:
        self._late = None
        if self._stage is _Stage.BODY:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the whole request has to be here in {self._bounds.body_s:g} s")
        else:
            self.hang_up()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _has_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _end_unless_at_work(self) -> None:
        """An answer that is being made is waited for; a client that does not send or read is not."""
        if not self._answering or self.flow.write_paused or self._stage is _Stage.BODY:
            self.hang_up()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Say why and end the connection; where an answer is on its way already, only end it."""
        begun = self._answering and (self._stage is not _Stage.BODY or self.cycle.response_started)
        if begun or (self._stage is _Stage.BODY and not self._answering):
            self.hang_up()
            return
        self._refused = True
        self._in_time()
        if self._answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write(self._problem(status, detail))
        self.transport.write_eof()
        self._late = self.loop.call_later(_LINGER_S, self.transport.abort)

    def _problem(self, status: HTTPStatus, detail: str) -> bytes:
        told = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
        body = json.dumps(told).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            headers.append((b"retry-after", b"5"))
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % header for header in headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body
