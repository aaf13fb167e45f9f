"""uvicorn around the HTTP service, on a socket that was bound before anything else was started."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.errors import Misconfigured, PortInUse
from app.web.protocol import Bounds, GuardedProtocol

log = logging.getLogger(__name__)

_DRAIN_S = 5
_SPARE_FILES = 256
"""For the database, provers, venues, logs: what is open beside connections."""
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]
"""Of every answer, of refusals by the protocol as well. Pages of origins that CORS allows are not kept out by them."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortInUse`, or `Misconfigured` for a strange address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay off only for sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror):
            raise Misconfigured(f"{host!r} is not an address of this machine: see VERIREGIME_HOST") from error
        raise PortInUse(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or choose another with --port"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then let open requests finish and return."""
    _allow_files(_bounds(app).connections)
    # uvicorn raises the signal anew once it is done; the caller still has things to close, so it must not end us.
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server(app).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def server(app: FastAPI, **config: Any) -> uvicorn.Server:
    """The server that `run` runs, within `app.state.bounds`; ``config`` is uvicorn's."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    connection: Any = partial(GuardedProtocol, bounds=_bounds(app))
    plain = {
        "http": connection,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,  # whom to believe about clients is a setting: see `app.web.clients`
        "server_header": False,
        "headers": _HEADERS,
        "timeout_graceful_shutdown": _DRAIN_S,
    }
    return _Server(uvicorn.Config(app, **plain | config))


class _Server(uvicorn.Server):
    _loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Streams would never end by themselves, and the end would wait for them. Told again, nobody is waited for."""
        streams = getattr(getattr(self.config.app, "state", None), "streams", None)
        if streams is not None:
            streams.close()
        if not self.should_exit:
            super().handle_exit(sig, frame)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hang_up)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.hang_up()
        for task in list(self.server_state.tasks):
            task.cancel()


def _bounds(app: FastAPI) -> Bounds:
    found = getattr(app.state, "bounds", None)
    return found if isinstance(found, Bounds) else Bounds()


def _allow_files(connections: int) -> None:
    """As many as the connections want, where the system gives them: systems start with a thousand or less."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("%d open files are allowed: raise that limit, or lower VERIREGIME_MAX_CONNECTIONS", allowed)


def _is_news(record: logging.LogRecord) -> bool:
    """What the application raised it has logged itself, and requests that are cut off at the end are no bugs."""
    return not (record.exc_info and record.getMessage().startswith("Exception in ASGI application"))


def _ignore(number: int, frame: FrameType | None) -> None:
    """Does nothing: the signal was heard already."""
