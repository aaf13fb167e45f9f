"""Faults of requests, played before the venue sees them: server → here → binance.py, coinbase.py, kraken.py."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.sim.exchange import Exchange
from app.sim.faults import Fault, FaultKind

HANG_UP = "veriregime.hang_up"
"""Where the server puts, among the extensions of a scope, what closes the connection without an answer."""

UNAVAILABLE = """<html>
<head><title>503 Service Temporarily Unavailable</title></head>
<body><center><h1>503 Service Temporarily Unavailable</h1></center><hr><center>simulated</center></body>
</html>
"""
MAINTENANCE = """<!DOCTYPE html>
<html lang="en">
<head><title>Scheduled maintenance</title></head>
<body><h1>We'll be right back</h1><p>Trading is closed for scheduled maintenance.</p></body>
</html>
"""


class Interference:
    """An ASGI application that answers in the venue's place while a fault of requests holds."""

    def __init__(self, app: ASGIApp, exchange: Exchange, too_many: Mapping[str, Any], closing: asyncio.Event) -> None:
        """``too_many`` is what the venue says in a 429; ``closing`` is set when the server stops."""
        self._app = app
        self._exchange = exchange
        self._too_many = too_many
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._exchange.request_fault()
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind is FaultKind.TIMEOUT:
            await self._hold(fault.seconds, scope, receive)
        else:
            await self._answer(fault)(scope, receive, send)

    def _answer(self, fault: Fault) -> Response:
        if fault.kind is FaultKind.RATE_LIMIT:
            return JSONResponse(self._too_many, 429, {"Retry-After": str(math.ceil(fault.seconds))})
        if fault.kind is FaultKind.SERVER_ERROR:
            return HTMLResponse(UNAVAILABLE, 503)
        return HTMLResponse(MAINTENANCE)

    async def _hold(self, seconds: float, scope: Scope, receive: Receive) -> None:
        """Until the time is over, the client has gone, or the server stops."""
        ends = [asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(self._closing.wait())]
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        scope["extensions"][HANG_UP]()
        await _gone(receive)


async def _gone(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
