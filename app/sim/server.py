"""Runs the venues over HTTP on 127.0.0.1: world.py → here → the client in another process."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.errors import Misconfigured, PortInUse
from app.sim.interference import HANG_UP
from app.sim.world import World

HOST = "127.0.0.1"
STDIN = 0


def serve(world: World, *, port: int = 0, follow_stdin: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, or until stdin ends when it is followed; then Ctrl-C is left to the parent.

    Prints ``listening on http://127.0.0.1:PORT`` to stdout once requests are answered; a venue is under its name there.
    Port 0 is a free one. Raises `PortInUse`, and `BadInput` for a fault of a venue that is not there.
    """
    app = world.application()
    listener = _listen(port)
    address = f"http://{HOST}:{listener.getsockname()[1]}"
    world.warm_up()
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    with listener:
        server = _Server(config, lambda: print(f"listening on {address}", flush=True), follow_stdin, world.closing)
        if follow_stdin:
            threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


class _Protocol(H11Protocol):
    """Lets the application hang up without an answer, for which ASGI has no word."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        application = self.app

        async def with_hang_up(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[HANG_UP] = self.transport.close
            await application(scope, receive, send)

        self.app = with_hang_up


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], ignore_interrupt: bool, closing: asyncio.Event
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._ignore_interrupt = ignore_interrupt
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn would raise the signal once more when it has stopped; here it is the ordinary end, exit code 0.
        del frame
        if not (sig == signal.SIGINT and self._ignore_interrupt):
            self.should_exit = True


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's delay off only where it stands: 40 ms a request otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} is taken by another process") from error
        raise Misconfigured(f"port {port} cannot be used: {error.strerror}") from error
    return listener


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    # Not sys.stdin: its lock would be held here when the interpreter shuts down.
    try:
        while os.read(STDIN, 4_096):
            pass
    except OSError as error:
        print(f"stdin cannot be followed: {error.strerror}", file=sys.stderr)
    server.should_exit = True
