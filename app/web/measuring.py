"""Around everything that is answered: how long until it began, and the headers that all answers carry.

Plain ASGI, since the framework's own kind of middleware costs more than some of the answers.
"""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics

_EVERYWHERE = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS"))


class Measured:
    def __init__(self, inner: ASGIApp, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        started, begun = time.perf_counter(), False

        async def send_more(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._count(scope, message["status"], started)
                message["headers"] = [*message["headers"], *_EVERYWHERE]
            await send(message)

        try:
            await self._inner(scope, receive, send_more)
        finally:
            if not begun:
                self._count(scope, 500, started)

    def _count(self, scope: Scope, status: int, started: float) -> None:
        """When the answer begins: a stream lasts as long as its client likes."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.http.labels(method, _route(scope), str(status)).observe(time.perf_counter() - started)


def _route(scope: Scope) -> str:
    """The route's pattern, not the path: a label must not grow with what strangers ask for."""
    return str(scope.get("route_pattern") or getattr(scope.get("route"), "path", "other"))
