"""Streams of many clients, and of clients that never read: within bounds, and never in the way of the end."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.store.database import Database
from app.types import Prediction
from app.web import stream
from app.wiring import ApiRole
from tests.integration.web.live.conftest import Served, wait_until

Start = Callable[..., Served]


@pytest.fixture
def start(sqlite_database: Database, make_role: Callable[..., ApiRole], served: Callable[[ApiRole], Served]) -> Start:
    """An API with settings of the test's own."""

    def begin(**settings: Any) -> Served:
        role = make_role(sqlite_database)
        return served(replace(role, settings=role.settings.model_copy(update=settings)))

    return begin


def refusal(answer: http.client.HTTPResponse) -> tuple[int, str, str | None]:
    return answer.status, json.loads(answer.read())["type"], answer.headers["retry-after"]


def test_streams__of_one_client__are_so_many_and_no_more(start: Start) -> None:
    api = start(max_streams_per_client=3)
    streams = [api.stream() for _ in range(3)]
    assert refusal(api.get("/v1/stream")) == (429, "too-many-requests", "5")
    streams[0].hang_up()
    wait_until(lambda: len(api.web.state.streams) == 2)
    api.stream().answer.readline()


def test_streams__of_clients_behind_a_proxy__are_counted_by_client(start: Start) -> None:
    api = start(max_streams=2, max_streams_per_client=1, trusted_proxies=("127.0.0.1",))
    api.stream(**{"X-Forwarded-For": "9.9.9.1"})
    assert refusal(api.get("/v1/stream", **{"X-Forwarded-For": "9.9.9.1"})) == (429, "too-many-requests", "5")
    api.stream(**{"X-Forwarded-For": "9.9.9.2"})
    assert refusal(api.get("/v1/stream", **{"X-Forwarded-For": "9.9.9.3"})) == (503, "busy", "5")


def test_client__that_never_reads__is_hung_up_on_and_keeps_nothing_from_ending(
    start: Start,
    sqlite_database: Database,
    add: Callable[..., Prediction],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reasons of failures that it does not read are longer than what the system keeps for it."""
    monkeypatch.setattr(stream, "_LAST_WORD_S", 0.1)
    api = start()
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        silent.connect(("127.0.0.1", api.port))
        silent.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        streams = api.web.state.streams
        wait_until(lambda: len(streams) == 1)
        for minute in range(80):
            add(sqlite_database, minute)
        with sqlite_database.unit_of_work() as store:
            store.jobs.shed(0, "x" * 100_000, ["ab" * 32], "me", 5)
        time.sleep(0.3)
        started = time.monotonic()
        streams.close()
        wait_until(lambda: len(streams) == 0)
        wait_until(lambda: not api.server.server_state.connections)
        assert time.monotonic() - started < 2
        with pytest.raises((ConnectionError, AssertionError)):
            drain(silent)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def drain(silent: socket.socket) -> None:
    """Raises where the stream is not ended as one that is complete."""
    found = b""
    while piece := silent.recv(1 << 20):
        found += piece
    assert found.endswith(b"0\r\n\r\n")
