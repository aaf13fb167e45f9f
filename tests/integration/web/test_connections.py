"""Connections of strangers: what is too long, too slow, too much or never read ends, and says why where it can."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from textwrap import dedent

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from app.web import problems
from app.web.protocol import Bounds
from app.web.server import listen, server

SHORT = Bounds(connections=12, head_s=0.4, body_s=0.5, unread_s=0.5, ending_s=0.3, bodies={"/long": 200_000})
GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True, slots=True)
class Door:
    """A running server, and raw connections to it."""

    port: int
    server: uvicorn.Server
    stack: ExitStack

    def connect(self) -> socket.socket:
        return self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=10))

    def say(self, *pieces: bytes) -> socket.socket:
        connection = self.connect()
        for piece in pieces:
            connection.sendall(piece)
        return connection

    def answer(self, *pieces: bytes) -> Answer:
        return read(self.say(*pieces))

    def wait_until_empty(self, limit_s: float = 3.0) -> None:
        deadline = time.monotonic() + limit_s
        while self.server.server_state.connections:
            assert time.monotonic() < deadline, "a connection is still there"
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        told = json.loads(self.body)
        assert (self.headers["content-type"], told["status"]) == ("application/problem+json", self.status)
        return str(told["detail"])


def read(connection: socket.socket) -> Answer:
    """One answer; nothing is status 0."""
    with connection.makefile("rb") as lines:
        first = lines.readline()
        if not first:
            return Answer(0, {}, b"")
        headers = {}
        while line := lines.readline().rstrip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        body = lines.read(int(headers["content-length"])) if "content-length" in headers else lines.readline()
        return Answer(int(first.split()[1]), headers, body)


def web() -> FastAPI:
    app = FastAPI()
    problems.install(app)

    @app.get("/hello")
    async def hello(request: Request) -> str:
        return str(request.client.host if request.client else "")

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "done"

    @app.get("/much")
    async def much() -> Response:
        return Response(b"x" * 30_000_000)

    @app.post("/short")
    @app.post("/long")
    async def body(request: Request) -> int:
        return len(await request.body())

    return app


@pytest.fixture
def open_door() -> Iterator[Callable[..., Door]]:
    with ExitStack() as stack:

        def opened(bounds: Bounds = SHORT) -> Door:
            app = web()
            app.state.bounds = bounds
            listener = stack.enter_context(closing(listen("127.0.0.1", 0)))
            running = server(app, log_level="warning")
            thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, running, "should_exit", True)
            while not running.started:
                time.sleep(0.005)
            return Door(listener.getsockname()[1], running, stack)

        yield opened


@pytest.fixture
def door(open_door: Callable[..., Door]) -> Door:
    return open_door()


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (GET + b"X: " + b"a" * 40_000, 431, "32,768 bytes"),
        (GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431, "32,768 bytes"),
        (GET + b"a:b\r\n" * 120 + b"\r\n", 431, "100 headers"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", 414, "8,192 bytes"),
        (b"GET /" + b"a" * 40_000, 431, "32,768 bytes"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40, 400, "no HTTP"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no HTTP"),
        (b"GET /hello HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "no HTTP"),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no HTTP"),
    ],
    ids=["unending", "long", "many", "address", "unending-address", "tls", "no-ascii", "two-lengths", "connect"],
)
def test_head__out_of_bounds__is_refused_as_a_problem(door: Door, head: bytes, status: int, words: str) -> None:
    connection = door.say(head)
    answer = read(connection)
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert words in answer.detail
    assert connection.recv(1) == b""


def test_head__within_bounds__is_answered_however_it_is_cut(door: Door) -> None:
    head = GET + b"A: " + b"a" * 30_000 + b"\r\n" + b"b:c\r\n" * 90 + b"\r\n"
    connection = door.say(head[:3], head[3:20_000], head[20_000:])
    assert read(connection).status == 200
    connection.sendall(GET + b"\r\n")
    assert read(connection).status == 200


@pytest.mark.parametrize("drop", [b"", b"\r\n", b"a"], ids=["silent", "empty lines", "a letter at a time"])
def test_head__that_does_not_end__is_closed_in_time(door: Door, drop: bytes) -> None:
    connection = door.say(GET if drop == b"a" else b"")
    started = time.monotonic()
    try:
        while time.monotonic() - started < 3 and door.server.server_state.connections | {None}:
            connection.sendall(drop)
            time.sleep(0.02)
            connection.settimeout(0.01)
            try:
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
    except ConnectionError:
        pass
    assert 0.3 < time.monotonic() - started < 2


@pytest.mark.parametrize("begun", [b"GET", b"\r\n"], ids=["begun", "empty line"])
def test_head__too_slow_on_a_connection_that_was_good__is_closed_as_well(door: Door, begun: bytes) -> None:
    connection = door.say(GET + b"\r\n")
    assert read(connection).status == 200
    started = time.monotonic()
    connection.sendall(begun)
    assert connection.recv(1) == b""
    assert time.monotonic() - started < 2


def test_body__too_slow__is_refused(door: Door) -> None:
    answer = door.answer(b"POST /long HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
    assert (answer.status, "0.5 s" in answer.detail) == (408, True)


def chunk(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b"x" * size)


CHUNKED = b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_body__of_a_route_that_reads_long_ones__is_read(door: Door) -> None:
    assert door.answer(CHUNKED % b"/long", *[chunk(10_000)] * 20, b"0\r\n\r\n").body == b"200000"


@pytest.mark.parametrize("path", [b"/short", b"/long"])
def test_body__larger_than_its_route_reads__is_refused(door: Door, path: bytes) -> None:
    answer = door.answer(CHUNKED % path, *[chunk(10_000)] * (12 if path == b"/short" else 50))
    assert (answer.status, "larger" in answer.detail) == (413, True)


def test_trailers__without_end__are_refused(door: Door) -> None:
    assert door.answer(CHUNKED % b"/short" + b"0\r\n", b"a:b\r\n" * 30_000).status == 413


def test_answer__that_nobody_reads__is_dropped_and_its_connection_ended(door: Door) -> None:
    door.say(b"GET /much HTTP/1.1\r\n\r\n")
    time.sleep(0.1)
    assert len(door.server.server_state.connections) == 1
    door.wait_until_empty()


def test_answer__that_is_read__is_whole(door: Door) -> None:
    assert len(door.answer(b"GET /much HTTP/1.1\r\n\r\n").body) == 30_000_000


def test_requests__some_at_once_on_one_connection__are_answered_in_turn(door: Door) -> None:
    connection = door.say((GET + b"\r\n") * 10)
    found = b""
    while found.count(b'"127.0.0.1"') < 10:
        found += connection.recv(10_000)
    assert found.count(b"HTTP/1.1 200") == 10


def test_requests__too_many_at_once_on_one_connection__end_it(door: Door) -> None:
    door.say(b"GET /slow HTTP/1.1\r\n\r\n" * 40)
    time.sleep(0.1)
    assert not door.server.server_state.connections


def test_upgrade__to_what_is_not_spoken__is_a_plain_request(door: Door) -> None:
    answer = door.answer(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (answer.status, answer.body) == (200, b'"127.0.0.1"')


def test_connections__more_than_there_may_be__are_told_to_come_back(door: Door) -> None:
    held = [door.connect() for _ in range(SHORT.connections)]
    for connection in held:
        connection.sendall(GET)
    refused = door.answer(GET + b"\r\n")
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "too many connections" in refused.detail
    for connection in held:
        connection.close()
    door.wait_until_empty()
    assert door.answer(GET + b"\r\n").status == 200


@pytest.mark.parametrize("request_", [GET + b"\r\n", b"GET /nothing HTTP/1.1\r\n\r\n", b"no HTTP\r\n\r\n"])
def test_answer__whatever_it_is__has_the_usual_headers_and_names_no_server(door: Door, request_: bytes) -> None:
    headers = door.answer(request_).headers
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert (headers["referrer-policy"], headers["cross-origin-resource-policy"]) == ("no-referrer", "same-origin")
    assert "server" not in headers


def test_forwarded_for__of_anybody__does_not_change_the_client(door: Door) -> None:
    assert door.answer(GET + b"X-Forwarded-For: 9.9.9.9\r\n\r\n").body == b'"127.0.0.1"'


def test_end__waits_for_an_answer_and_for_nobody_who_does_not_send_or_read(
    open_door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(replace(SHORT, head_s=60, body_s=60, unread_s=60))
    door.say(GET)
    door.say(b"POST /long HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
    door.say(b"GET /much HTTP/1.1\r\n\r\n")
    at_work = door.say(b"GET /slow HTTP/1.1\r\n\r\n")
    time.sleep(0.1)
    started = time.monotonic()
    door.server.should_exit = True
    assert read(at_work).body == b'"done"'
    door.wait_until_empty()
    assert time.monotonic() - started < 2
    assert not caplog.records


FOREVER = """
    import asyncio, sys
    from fastapi import FastAPI
    from app.web.server import address, listen, run

    app = FastAPI()

    @app.get("/")
    async def forever() -> None:
        print("asked", flush=True)
        await asyncio.sleep(60)

    listener = listen("127.0.0.1", 0)
    print(address(listener), flush=True)
    run(app, listener)
    print("ended", flush=True)
"""


def test_end__told_twice__waits_for_nobody_and_says_nothing_bad() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(FOREVER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        said, complaints = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "ended\n")
    assert "Traceback" not in complaints
    assert time.monotonic() - started < 8
