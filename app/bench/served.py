"""A web server in a process of its own, for the benches to ask: the product's, or a bare one beside it.

Both run under `app.web.server.run`, so with the same uvicorn, event loop and HTTP parser. Started as
``python -m app.bench.served product CLOCK…`` or ``… bare FOLDER``; it ends with its standard input.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from fastapi import FastAPI, Response

from app.bench.load import allow_files
from app.clock import Clock, wall_ms
from app.processes import running
from app.settings import Settings
from app.web.application import create_web
from app.web.server import address, listen, run
from app.wiring import api

_ANNOUNCES = "serving "
_STDIN = 0
_MOST_CONNECTIONS = 4_096
_YOUNG_MS = 20_000
_NEARLY_STILL = 0.01


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    host: str
    port: int
    pid: int

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def product(settings: Settings, window_end_ms: int, folder: Path) -> Iterator[Server]:
    """The HTTP side alone on the database of the settings, without a chain. ``folder`` is where it is run.

    Its clock nearly stands: the forecast of ``window_end_ms`` stays as young as it is in service.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("VERIREGIME_")} | {
        "VERIREGIME_VAR_DIR": str(settings.var_dir),
        "VERIREGIME_MODELS_DIR": str(settings.models_dir),
        "VERIREGIME_DATABASE_URL": settings.store_url(),
        "VERIREGIME_FEEDS": ",".join(settings.feeds),
        "VERIREGIME_TRUSTED_SRS": ",".join(settings.trusted_srs),
        "VERIREGIME_USE_SRS": ",".join(settings.use_srs),
    }
    times = [str(value) for value in (window_end_ms + _YOUNG_MS, wall_ms(), _NEARLY_STILL)]
    with running(_command("product", *times), announces=_ANNOUNCES, env=env, cwd=folder) as word:
        yield _server(word)


@contextmanager
def bare(bodies: Mapping[str, bytes], folder: Path) -> Iterator[Server]:
    """A route for each body, ``/NAME``, that gives it as JSON and does nothing else. ``folder`` is to pass them on."""
    given = folder / "bodies"
    given.mkdir()
    for name, body in bodies.items():
        (given / name).write_bytes(body)
    with running(_command("bare", str(given)), announces=_ANNOUNCES) as word:
        yield _server(word)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.bench.served", *arguments]


def _server(word: str) -> Server:
    url, pid = word.split()
    host, _, port = url.removeprefix("http://").rpartition(":")
    return Server(url, host, int(port), int(pid))


def _serve_product(times: list[str]) -> None:
    market_start_ms, wall_start_ms, speed = times
    clock = Clock(int(market_start_ms), int(wall_start_ms), float(speed))
    with api(Settings(), clock=clock) as role:
        _serve(create_web(role))


def bare_web(folder: Path) -> FastAPI:
    """Without the routes that FastAPI brings: those would be looked through before its own."""
    web = FastAPI(openapi_url=None)
    for file in sorted(folder.iterdir()):
        _add_bare_route(web, file.name, file.read_bytes())
    return web


def _add_bare_route(web: FastAPI, name: str, body: bytes) -> None:
    @web.get(f"/{name}")
    async def answer() -> Response:
        return Response(body, media_type="application/json")


def _serve(web: FastAPI) -> None:
    listener = listen("127.0.0.1", 0)
    _announce(listener)
    run(web, listener)


def _announce(listener: socket.socket) -> None:
    """From here on a client can connect; it is answered a moment later, when the loop runs."""
    print(f"{_ANNOUNCES}{address(listener)} {os.getpid()}", flush=True)


def _end_with_stdin() -> None:
    while os.read(_STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _main(kind: str, *arguments: str) -> None:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    allow_files(_MOST_CONNECTIONS)
    if kind == "product":
        _serve_product(list(arguments))
    else:
        _serve(bare_web(Path(arguments[0])))


if __name__ == "__main__":
    _main(*sys.argv[1:])
