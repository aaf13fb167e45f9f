"""The stream over real connections: every event once and in order, whoever disconnects, prunes, lags or dawdles."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from app.store.database import Database
from app.store.retention import prune_events
from app.types import Prediction
from app.web import stream, watching
from app.wiring import ApiRole
from tests.integration.web.live.conftest import FEEDS, Heard, Served, Stream, wait_until

Add = Callable[..., Prediction]
Serve = Callable[[ApiRole], Served]
MakeRole = Callable[..., ApiRole]


@pytest.fixture
def second_database(database_url: str, database: Database, migrations: object) -> Iterator[Database]:
    """The same one, as another process opens it."""
    other = Database(database_url, migrations)  # type: ignore[arg-type]
    yield other
    other.close()


@pytest.fixture
def api(sqlite_database: Database, make_role: MakeRole, served: Serve) -> Served:
    return served(make_role(sqlite_database))


@contextmanager
def writers(databases: list[Database], add: Add, each: int) -> Iterator[None]:
    """Threads that write forecasts meanwhile, now and then several in a burst."""

    def write(number: int) -> None:
        chance = random.Random(number)
        for place in range(each):
            add(databases[number % len(databases)], number * each + place, feed=FEEDS[number % 2])
            if chance.random() < 0.4:
                time.sleep(chance.random() * 0.05)

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, number) for number in range(4)]
        yield
        for one in writing:
            one.result()


def follow(apis: list[Served], up_to: int, seed: int) -> list[Heard]:
    """Read a little, hang up in the middle of anything, come back to any of the processes; till an event is there."""
    chance, heard, last = random.Random(seed), [], "0"
    while not heard or heard[-1][0] < up_to:
        api = chance.choice(apis)
        said = api.stream(f"?last_event_id={last}") if chance.random() < 0.3 else api.stream(**{"Last-Event-ID": last})
        for line, _ in zip(said.lines(), range(chance.randrange(60)), strict=False):
            event = said.hear(line)
            heard += [event] if event else []
            if heard and heard[-1][0] >= up_to:
                break
        last = said.last_id or last
        said.hang_up()
    return heard


def test_clients__that_disconnect_and_resume_at_random__hear_every_event_once_and_in_order(
    database: Database, second_database: Database, make_role: MakeRole, served: Serve, add: Add
) -> None:
    apis = [served(make_role(one)) for one in (database, second_database)]
    each = 30
    with writers([database, second_database], add, each), ThreadPoolExecutor(3) as pool:
        heard = [pool.submit(follow, apis, 4 * each, seed) for seed in range(3)]
        told = [one.result(timeout=60) for one in heard]
    assert [number for number, _, _ in told[0]] == list(range(1, 4 * each + 1))
    assert {kind for _, kind, _ in told[0]} == {"prediction"}
    assert len({data["id"] for _, _, data in told[0]}) == 4 * each
    assert told[1] == told[2] == told[0]


def read_raw(api: Served, query: str, ends: bytes, into: dict[str, bytes]) -> None:
    said = api.stream(query)
    found = b""
    while ends not in found:
        found += said.answer.readline()
    into[query] = b"".join(part for part in found.splitlines(keepends=True) if not part.startswith(b":"))


def test_processes_on_one_database__tell_the_same_events_in_the_same_bytes_live_and_later(
    database: Database, second_database: Database, make_role: MakeRole, served: Serve, add: Add
) -> None:
    apis = [served(make_role(one)) for one in (database, second_database)]
    lived: list[dict[str, bytes]] = [{}, {}]
    reading = [
        threading.Thread(target=read_raw, args=(api, "?last_event_id=0", b"id: 20\n", into))
        for api, into in zip(apis, lived, strict=True)
    ]
    for thread in reading:
        thread.start()
    for minute in range(20):
        add(database if minute % 3 else second_database, minute)
    for thread in reading:
        thread.join()
    later: dict[str, bytes] = {}
    read_raw(apis[0], "?last_event_id=0", b"id: 20\n", later)
    assert lived[0] == lived[1] == later
    assert later["?last_event_id=0"].startswith(b"retry: 2000\nid: 0\n\nid: 1\nevent: prediction\ndata: {")


def test_stream__without_a_number__begins_with_what_comes(api: Served, sqlite_database: Database, add: Add) -> None:
    add(sqlite_database, 0)
    api.stream("?last_event_id=0").take(1)
    said = api.stream()
    assert said.answer.headers["content-type"].startswith("text/event-stream")
    assert said.answer.headers["cache-control"] == "no-store"
    add(sqlite_database, 1)
    assert [number for number, _, _ in said.take(1)] == [2]


def test_stream__of_some_feeds_and_kinds__has_nothing_else(
    api: Served, sqlite_database: Database, add: Add, prove: Callable[[Database], None]
) -> None:
    live = api.stream("?feed=eth-usdt-4h&kinds=proof,failure")
    for minute in range(3):
        for feed in FEEDS:
            add(sqlite_database, minute, feed=feed)
            prove(sqlite_database)
    found = live.take(3)
    assert {(kind, data["feed"]) for _, kind, data in found} == {("proof", "eth-usdt-4h")}
    resumed = api.stream("?feed=eth-usdt-4h&kinds=proof,failure&last_event_id=0").take(3)
    assert resumed == found
    both = api.stream("?feed=eth-usdt-4h&feed=btc-usdt-4h&last_event_id=0").take(12)
    assert [number for number, _, _ in both] == list(range(1, 13))


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [("?feed=doge", 404, "doge"), ("?kinds=forecast", 400, "kinds"), ("?last_event_id=x", 400, "Last-Event-ID")],
)
def test_stream__of_what_there_is_not__is_a_problem(api: Served, query: str, status: int, words: str) -> None:
    answer = api.get(f"/v1/stream{query}")
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.read().decode()


def test_resume__from_what_was_pruned__is_a_reset_and_goes_on_from_there(
    api: Served, sqlite_database: Database, add: Add
) -> None:
    live = api.stream()
    for minute in range(3):
        add(sqlite_database, minute)
    live.take(3)
    prune_events(sqlite_database, 2**62)
    behind, level = api.stream("?last_event_id=2"), api.stream("?last_event_id=3")
    assert behind.take(1) == [(3, "reset", {"oldest": 4, "newest": 3})]
    add(sqlite_database, 3)
    assert [[number for number, _, _ in said.take(1)] for said in (behind, level)] == [[4], [4]]


def test_resume__from_a_number_that_nobody_has_sent__is_a_reset_and_goes_on_from_there(
    api: Served, sqlite_database: Database, add: Add
) -> None:
    live = api.stream()
    add(sqlite_database, 0)
    live.take(1)
    said = api.stream(**{"Last-Event-ID": "900"})
    assert said.take(1) == [(1, "reset", {"oldest": 1, "newest": 1})]
    add(sqlite_database, 1)
    assert [number for number, _, _ in said.take(1)] == [2]


def test_resume__pruned_while_it_is_read__is_a_reset_and_not_a_gap(
    api: Served, sqlite_database: Database, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page; after the first one, the rest is gone."""
    monkeypatch.setattr(stream, "_PAGE", 2)
    live = api.stream()
    for minute in range(6):
        add(sqlite_database, minute)
    live.take(6)
    page = api.web.state.streams._page

    def page_then_prune(after: int, up_to: int) -> object:
        found = page(after, up_to)
        prune_events(sqlite_database, 2**62)
        return found

    monkeypatch.setattr(api.web.state.streams, "_page", page_then_prune)
    found = api.stream("?last_event_id=0").take(3)
    assert [(number, kind) for number, kind, _ in found] == [(1, "prediction"), (2, "prediction"), (6, "reset")]


def test_resume__at_a_process_that_hears_later__is_no_reset_and_repeats_nothing(
    sqlite_database: Database,
    make_role: MakeRole,
    served: Serve,
    migrations: object,
    add: Add,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other process has written two events and its client comes here, where they are not known yet."""
    monkeypatch.setattr(watching, "_LOOK_EVERY_S", 1.0)
    api = served(make_role(sqlite_database))
    other = Database(sqlite_database.name, migrations)  # type: ignore[arg-type]
    for minute in range(3):
        add(other, minute)
    other.close()
    assert [number for number, _, _ in api.stream("?last_event_id=2").take(1)] == [3]


def test_stream__nothing_happens__has_a_comment_now_and_then(
    sqlite_database: Database, make_role: MakeRole, served: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    said = served(make_role(sqlite_database)).stream()
    for line in said.lines():
        said.hear(line)
        if said.comments == 3:
            break
    assert said.last_id == "0"


def test_stream__of_what_seldom_comes__says_how_far_it_is_all_the_same(
    sqlite_database: Database,
    make_role: MakeRole,
    served: Serve,
    add: Callable[[Database, int], Prediction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    said = served(make_role(sqlite_database)).stream("?kinds=round")
    for number, line in enumerate(said.lines()):
        if number == 0:
            add(sqlite_database, 0)
        said.hear(line)
        if said.last_id == "1":
            break
    assert said.last_id == "1"


REASON = "x" * 100_000


@pytest.fixture
def slow() -> Iterator[socket.socket]:
    """A connection that takes little before it is read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(10)
        yield connection


def test_client__that_reads_too_slowly__is_cut_off_alone_and_resumes_without_a_gap(
    sqlite_database: Database,
    make_role: MakeRole,
    served: Serve,
    slow: socket.socket,
    add: Add,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long reasons of failures fill the connection; no more than a few of them wait for it."""
    monkeypatch.setattr(stream, "MOST_WAITING", 40)
    api = served(make_role(sqlite_database))
    windows, at_once = 120, 15
    for minute in range(windows):
        add(sqlite_database, minute)
    fast = api.stream(f"?last_event_id={windows}")
    slow.connect(("127.0.0.1", api.port))
    slow.sendall(f"GET /v1/stream?last_event_id={windows} HTTP/1.0\r\n\r\n".encode())
    streams = api.web.state.streams
    wait_until(lambda: len(streams) == 2)
    heard: list[Heard] = []
    for kept in range(windows - at_once, -1, -at_once):
        with sqlite_database.unit_of_work() as store:
            store.jobs.shed(kept, REASON, ["ab" * 32], "me", 5)
        heard += fast.take(at_once)
    wait_until(lambda: len(streams) == 1)
    assert [number for number, _, _ in heard] == list(range(windows + 1, 2 * windows + 1))
    part = Stream(socket_answer(slow))
    got = list(part.events())
    assert len(got) < windows
    resumed = api.stream(f"?last_event_id={part.last_id}").take(windows - len(got))
    assert got + resumed == heard


def socket_answer(raw: socket.socket) -> Piece:
    """What has come over a connection till it was closed, behind the headers."""
    found = b""
    while piece := raw.recv(1 << 20):
        found += piece
    return Piece(found.partition(b"\r\n\r\n")[2])


class Piece:
    """Read line by line; a line that was cut off is none."""

    def __init__(self, raw: bytes) -> None:
        self._lines = raw.split(b"\n")[:-1]

    def readline(self) -> bytes:
        return self._lines.pop(0) + b"\n" if self._lines else b""


def test_shutdown__ends_streams_at_once(api: Served) -> None:
    said = api.stream()
    said.answer.readline()
    api.web.state.streams.close()
    started = time.monotonic()
    assert list(said.events()) == []
    assert time.monotonic() - started < 1
    assert list(api.stream().events()) == []


def test_database__away_for_a_while__streams_go_on_where_they_were(
    database: Database,
    make_role: MakeRole,
    served: Serve,
    add: Add,
    postgresql: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "sqlite" in database.name:
        pytest.skip("an SQLite file does not go away")
    for name, seconds in (("_AFTER_FAILURE_S", 0.1), ("_CURRENT_FOR_S", 0.4)):
        monkeypatch.setattr(watching, name, seconds)
    api = served(make_role(database))
    said = api.stream()
    add(database, 0)
    name = sa.make_url(database.name).database
    with postgresql.connect() as server:
        server.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        end_all = sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        # Again and again: a connection that was just being made is not among them the first time.
        wait_until(lambda: server.execute(end_all) and api.status("/v1/stream") == 503)
        assert api.get("/v1/stream").headers["retry-after"] == "2"
        server.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    add(database, 1)
    assert [number for number, _, _ in said.take(2)] == [1, 2]
    wait_until(lambda: api.status("/v1/stream") == 200)
