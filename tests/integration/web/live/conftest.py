"""The HTTP side over real connections, on SQLite and on PostgreSQL. Nothing is proved, so no keys have to be built."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import pytest
import uvicorn
from fastapi import FastAPI

from app.audit.checks import Auditor
from app.clock import Clock, wall_ms
from app.inference.network import forecast_from
from app.inference.release import ReleasedModel
from app.metrics import Metrics
from app.proving.pool import Limits, ProverPool
from app.settings import Settings
from app.steps.served import ServedFeed
from app.store.database import Database
from app.types import Feed, Prediction, Proof
from app.web.application import create_web
from app.web.server import listen, server
from app.wiring import ApiRole
from tests.integration.store.conftest import migrations as migrations

FEEDS = ("btc-usdt-4h", "eth-usdt-4h")


@pytest.fixture
def make_role(
    models: dict[str, ReleasedModel], serve: Callable[..., ServedFeed], window_end_ms: int
) -> Callable[..., ApiRole]:
    """The API of two feeds on a database, 20 s after the first window's end, as often as it is asked."""
    btc = serve()

    def make(database: Database, **fields: Any) -> ApiRole:
        unlimited = {"verify_rate": "", "bundle_rate": ""}
        settings = Settings(_env_file=None, feeds=FEEDS, settle_s=2.0, **unlimited)  # type: ignore[call-arg]
        plain = ApiRole(
            settings=settings,
            clock=Clock(market_start_ms=window_end_ms + 20_000, wall_start_ms=wall_ms()),
            database=database,
            models=models,
            feeds={FEEDS[0]: btc, FEEDS[1]: replace(btc, feed=Feed(name=FEEDS[1], symbol="ETH/USDT"))},
            target=None,
            pool=ProverPool(0, Limits(threads=1)),
            auditor=cast(Auditor, None),
            metrics=Metrics(),
        )
        return replace(plain, **fields)

    return make


@dataclass(frozen=True, slots=True)
class Served:
    """One API process, as far as anybody outside can tell. Connections last until they are closed, or it is."""

    web: FastAPI
    port: int
    server: uvicorn.Server
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def ask(self, path: str, **headers: str) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        """The answer, as far as its headers, and the connection, which it has to itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        self.connections.append(connection)
        connection.request("GET", path, headers=headers)
        return connection.getresponse(), connection

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        return self.ask(path, **headers)[0]

    def json(self, path: str, **headers: str) -> Any:
        answer, connection = self.ask(path, **headers)
        found = json.loads(answer.read())
        connection.close()
        return found

    def status(self, path: str) -> int:
        answer, connection = self.ask(path)
        connection.close()
        return answer.status

    def stream(self, query: str = "", **headers: str) -> Stream:
        answer, connection = self.ask(f"/v1/stream{query}", **headers)
        assert answer.status == 200, answer.read()
        return Stream(answer, connection)

    def end(self) -> None:
        self.web.state.streams.close()
        for connection in self.connections:
            connection.close()


Heard = tuple[int, str, dict[str, Any]]
"""Number, kind and data of an event."""


class Lines(Protocol):
    def readline(self) -> bytes: ...


class Stream:
    """Server-sent events as a client reads them: what has no blank line after it has not happened."""

    def __init__(self, answer: Lines, connection: http.client.HTTPConnection | None = None) -> None:
        self.answer = answer
        self.connection = connection
        self.last_id: str | None = None
        self.comments = 0
        self._fields: dict[str, str] = {}

    def lines(self) -> Iterator[bytes]:
        with suppress(http.client.IncompleteRead, ConnectionError):
            while line := self.answer.readline():
                yield line

    def hear(self, line: bytes) -> Heard | None:
        """One more line; gives the event that it ends."""
        text = line.decode()
        assert text.endswith("\n")
        self.comments += text.startswith(":")
        if text != "\n":
            name, _, value = text.rstrip("\n").partition(": ")
            self._fields[name] = value
            return None
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", self.last_id)
        return (int(fields["id"]), fields["event"], json.loads(fields["data"])) if "data" in fields else None

    def events(self) -> Iterator[Heard]:
        for line in self.lines():
            if (found := self.hear(line)) is not None:
                yield found

    def take(self, how_many: int) -> list[Heard]:
        return [event for _, event in zip(range(how_many), self.events(), strict=False)]

    def hang_up(self) -> None:
        """At once, whatever is on its way."""
        assert self.connection is not None
        self.connection.close()


@pytest.fixture
def served() -> Iterator[Callable[[ApiRole], Served]]:
    """Start an API on a port of its own; it is ended with the test."""
    with ExitStack() as stack:
        yield lambda role: stack.enter_context(_serving(role))


@contextmanager
def _serving(role: ApiRole) -> Iterator[Served]:
    web = create_web(role)
    listener = listen("127.0.0.1", 0)
    serving_it = server(web, log_level="error", timeout_graceful_shutdown=1)
    thread = threading.Thread(target=serving_it.run, kwargs={"sockets": [listener]})
    thread.start()
    serving = Served(web, listener.getsockname()[1], serving_it)
    try:
        wait_until(lambda: serving.status("/v1/stream") == 200)
        wait_until(lambda: not len(web.state.streams.places))
        yield serving
    finally:
        serving.end()
        serving_it.should_exit = True
        thread.join()


def wait_until(is_so: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)


@pytest.fixture
def prove(make_proof: Callable[..., Proof]) -> Callable[..., None]:
    """Prove the newest window that waits, in form only."""

    def finish(database: Database) -> None:
        with database.unit_of_work() as store:
            job = store.jobs.lease("me", 0, 1_000, 5)
            assert job is not None
            assert store.jobs.finish(job.prediction_id, "me", make_proof(), forecast_from((1.0, 0.0, -2.0)), 77)

    return finish


@pytest.fixture
def add(make_prediction: Callable[..., Prediction], window_end_ms: int) -> Callable[..., Prediction]:
    """Store the forecast of so many minutes after the first window."""

    def store_one(database: Database, minute: int = 0, **fields: Any) -> Prediction:
        made = make_prediction(window_end_ms=window_end_ms + minute * 60_000, **fields)
        with database.unit_of_work() as store:
            assert store.predictions.add(made)
        return made

    return store_one
