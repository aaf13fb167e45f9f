"""Around everything that is answered: how long until it began, and the id by which logs, traces and callers know it.

Plain ASGI, since the framework's own kind of middleware costs more than some of the answers.
"""

from __future__ import annotations

import random
import re
import time

from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs, tracing
from app.metrics import Metrics

_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS"))
_ERRORS = (500, 502)
"""What an operator should hear of; a 503 for a forecast that is too old is meant."""
_ID_HEADER = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""What is taken from a caller: it goes into logs."""


class Measured:
    def __init__(self, inner: ASGIApp, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._in_flight = 0
        self._kinds: dict[tuple[str, str, int], Histogram] = {}
        """Looking a label up each time would cost more than the rest; there are as many as there are routes."""
        metrics.requests_in_flight.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request_id = _request_id(scope)
        with logs.about(request=request_id.decode()), tracing.request(scope["headers"]) as answered:
            await self._answer(scope, receive, send, request_id, answered)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes, answered: tracing.Answered
    ) -> None:
        started, begun = time.perf_counter(), False

        async def send_more(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._count(scope, message["status"], started, answered)
                message["headers"] = [*message["headers"], (_ID_HEADER, request_id)]
            await send(message)

        self._in_flight += 1
        try:
            await self._inner(scope, receive, send_more)
        finally:
            self._in_flight -= 1
            if not begun:
                self._count(scope, 500, started, answered)

    def _count(self, scope: Scope, status: int, started: float, answered: tracing.Answered) -> None:
        """When the answer begins: a stream lasts as long as its client likes."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = _route(scope)
        key = (method, route, status)
        if key not in self._kinds:
            self._kinds[key] = self._metrics.http.labels(method, route, str(status))
        self._kinds[key].observe(time.perf_counter() - started)
        if status in _ERRORS:
            self._metrics.http_errors.inc()
        answered(method, route, status)


def _request_id(scope: Scope) -> bytes:
    """The caller's, where it is a sound one, else a new one."""
    sent: bytes = next((value for name, value in scope["headers"] if name == _ID_HEADER), b"")
    return sent if _ID.fullmatch(sent) else b"%016x" % random.getrandbits(64)


def _route(scope: Scope) -> str:
    """The route's pattern, not the path: a label must not grow with what strangers ask for."""
    return str(scope.get("route_pattern") or getattr(scope.get("route"), "path", "other"))
