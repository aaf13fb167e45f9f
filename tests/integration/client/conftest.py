"""Both clients over real connections: every fact here holds for the one and the other."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.client import AsyncVeriRegime, VeriRegime

Reply = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def service() -> Iterator[Any]:
    """A service that gives the replies that a test puts into its list, the last one again and again."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server: Any = self.server
            server.asked.append((self.path, dict(self.headers)))
            (server.replies.pop(0) if len(server.replies) > 1 else server.replies[0])(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked, server.replies = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def reply() -> Callable[..., Reply]:
    """A whole answer."""

    def make(status: int, body: Any, **headers: str) -> Reply:
        raw = json.dumps(body).encode()

        def send(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, text in ({"Content-Length": str(len(raw))} | headers).items():
                handler.send_header(name.replace("_", "-"), text)
            handler.end_headers()
            handler.wfile.write(raw)

        return send

    return make


@pytest.fixture
def hang_up() -> Reply:
    """The connection is lost before an answer."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    return send


@pytest.fixture
def sends() -> Callable[..., Reply]:
    """Pieces of an event stream, and then the connection is lost."""

    def make(*pieces: str) -> Reply:
        def send(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for piece in pieces:
                raw = piece.encode()
                handler.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
                handler.wfile.flush()
            handler.close_connection = True

        return send

    return make


@pytest.fixture(params=["blocking", "asynchronous"])
def ask(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Ask a client of each kind: the results of the questions, in a list; of what iterates, the first ``take``."""

    def blocking(url: str, *questions: tuple[Any, ...], take: int | None = None, **options: Any) -> list[Any]:
        with VeriRegime(url, **options) as client:
            return [_taken(getattr(client, name)(*given), take) for name, *given in questions]

    async def both(url: str, *questions: tuple[Any, ...], take: int | None = None, **options: Any) -> list[Any]:
        async with AsyncVeriRegime(url, **options) as client:
            return [await _awaited(getattr(client, name)(*given), take) for name, *given in questions]

    return blocking if request.param == "blocking" else lambda *given, **options: asyncio.run(both(*given, **options))


def _taken(answer: Any, take: int | None) -> Any:
    return list(itertools.islice(answer, take)) if isinstance(answer, Iterator) else answer


async def _awaited(answer: Any, take: int | None) -> Any:
    if inspect.isawaitable(answer):
        return await answer
    found: list[Any] = []
    async for item in answer:
        found.append(item)
        if len(found) == take:
            break
    await answer.aclose()
    return found
