"""Runs the venue over HTTP on 127.0.0.1: binance.py → here → the client in another process."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.clock import Clock
from app.errors import Misconfigured, PortInUse
from app.sim.binance import WEIGHT_LIMIT, binance_app
from app.sim.market import DAY_MS, Market

HOST = "127.0.0.1"
STDIN = 0


def serve(
    market: Market,
    clock: Clock,
    *,
    port: int = 0,
    follow_stdin: bool = False,
    weight_limit: int = WEIGHT_LIMIT,
) -> None:
    """Serve until SIGTERM or Ctrl-C, or until stdin ends when it is followed; then Ctrl-C is left to the parent.

    Prints ``listening on http://127.0.0.1:PORT`` to stdout once requests are answered. Port 0 is a free one. Raises
    `PortInUse`.
    """
    listener = _listen(port)
    address = f"http://{HOST}:{listener.getsockname()[1]}"
    _warm_up(market, clock)
    config = uvicorn.Config(
        binance_app(market, clock, weight_limit=weight_limit),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    with listener:
        server = _Server(config, lambda: print(f"listening on {address}", flush=True), follow_stdin)
        if follow_stdin:
            threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ignore_interrupt: bool) -> None:
        super().__init__(config)
        self._ready = ready
        self._ignore_interrupt = ignore_interrupt

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

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


def _warm_up(market: Market, clock: Clock) -> None:
    """Make the days that clients will ask for first, so that the first answer is as quick as the others."""
    now = clock.now_ms()
    for symbol in market.symbols:
        market.candles(symbol, now - 8 * DAY_MS, now)


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    # Not sys.stdin: its lock would be held here when the interpreter shuts down.
    try:
        while os.read(STDIN, 4_096):
            pass
    except OSError as error:
        print(f"stdin cannot be followed: {error.strerror}", file=sys.stderr)
    server.should_exit = True
