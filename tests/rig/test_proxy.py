"""The stretch of network that can be cut, before anything is believed that was measured behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from tests.rig.proxy import FaultProxy, Way

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
SOON_S = 0.3


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    """Says hello to everybody."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(ANSWER)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


@pytest.fixture
def proxy(upstream: int) -> Iterator[FaultProxy]:
    with FaultProxy(upstream) as started:
        yield started


def ask(proxy: FaultProxy) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{proxy.port}/", timeout=SOON_S)


def test_open_way__passes_both_ways(proxy: FaultProxy) -> None:
    assert ask(proxy).text == "hello"


@pytest.mark.parametrize("way", [Way.REFUSED, Way.RESET])
def test_way_that_is_cut__is_a_connection_error(proxy: FaultProxy, way: Way) -> None:
    proxy.set(way)
    with pytest.raises(requests.ConnectionError):
        ask(proxy)


def test_hanging_way__is_never_answered(proxy: FaultProxy) -> None:
    proxy.set(Way.HANGING)
    with pytest.raises(requests.ReadTimeout):
        ask(proxy)


def test_failing_way__answers_500(proxy: FaultProxy) -> None:
    proxy.set(Way.FAILING)
    assert ask(proxy).status_code == 500


def test_way_of_garbage__answers_what_is_no_json(proxy: FaultProxy) -> None:
    proxy.set(Way.GARBAGE)
    with pytest.raises(requests.JSONDecodeError):
        ask(proxy).json()


@pytest.mark.parametrize("way", [one for one in Way if one is not Way.OPEN])
def test_way_that_is_open_again__passes_on_the_same_port(proxy: FaultProxy, way: Way) -> None:
    port = proxy.port
    proxy.set(way)
    proxy.set(Way.OPEN)
    assert ask(proxy).text == "hello"
    assert proxy.port == port
